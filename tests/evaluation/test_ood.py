"""The section `ood`: rows of other data told from the scored ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings

GOLDEN = load_golden("ood")
COSINE = {"name": "cosine"}
WEIGHTS = "c0ffee" * 8


def golden_file(split, **changes) -> EmbeddingFile:
    labels = GOLDEN[f"o0/{split}_labels"] if split in ("test", "train") else None
    file = EmbeddingFile(
        embeddings=GOLDEN[f"o0/{split}_embeddings"], ids=labels, logits=GOLDEN[f"o0/{split}_logits"]
    )
    return replace(file, **changes)


def golden_scores(**changes):
    arguments = {
        "train_embeddings": golden_file("train"),
        "ood": {name: golden_file(name) for name in ("near", "far")},
        "geometry": "cosine",
    }
    return vmf.evaluate(golden_file("test"), **{**arguments, **changes})["ood"]


def test_scores_of_every_detector_are_the_golden_ones():
    found = golden_scores()
    keys = [key for key in GOLDEN if key.startswith("o0/") and "/exact_" in key]
    assert len(keys) == 2 * 13 * 5
    for key in keys:
        _, variant, score = key.split("/")
        name, _, detector = variant.partition("_")
        value = found[f"{name}/{detector}/{score.removeprefix('exact_')}"]
        assert value == pytest.approx(float(GOLDEN[key]), rel=1e-9), key


def test_means_over_files_come_last():
    found = golden_scores()
    for score in ("auroc", "fpr95_in_positive", "aupr_out"):
        both = [found[f"{name}/knn_10/{score}"] for name in ("near", "far")]
        assert found[f"mean of the files/knn_10/{score}"] == pytest.approx(np.mean(both))
    rows = list(dict.fromkeys(key.split("/")[0] for key in found))
    assert rows == ["near", "far", "mean of the files"]


def test_the_scored_rows_against_themselves_are_at_one_half():
    test = golden_file("test", ids=None)
    # a last bit tells them apart, so that they are not refused
    same = replace(test, embeddings=np.nextafter(test.embeddings.astype(np.float32), np.inf))
    found = golden_scores(ood={"same": same})
    areas = {key: value for key, value in found.items() if key.endswith("/auroc")}
    for name in ("max_probability", "max_logit", "energy", "negative_entropy"):
        assert areas.pop(f"same/{name}/auroc") == 0.5
    for key, value in areas.items():  # only a row and itself are ordered by that bit
        assert value == pytest.approx(0.5, abs=1 / len(test.embeddings)), key


def test_the_scored_rows_are_no_other_data_in_whatever_order_and_type():
    test, order = golden_file("test"), np.random.default_rng(0).permutation
    rows = test.embeddings
    for same in (rows, rows.astype(np.float32), order(rows), rows[:5], np.repeat(rows, 2, axis=0)):
        with pytest.raises(ValueError, match="--ood 'a': it holds the rows that are scored"):
            vmf.evaluate(test, geometry="cosine", ood={"a": same})
    others = np.concatenate([rows, golden_file("near").embeddings[:1]])
    assert "ood" in vmf.evaluate(test, geometry="cosine", ood={"a": others})


def test_rows_of_a_network_that_maps_all_to_one_point_are_told_apart_by_chance():
    rows = np.ones((20, 3), np.float32)
    found = vmf.evaluate(rows, np.arange(20) % 4, ood={"a": rows[:10]}, train_embeddings=rows)
    areas = {value for key, value in found["ood"].items() if key.endswith("/auroc")}
    assert areas == {0.5}


def test_mahalanobis_of_unit_rows_is_that_of_rows_scaled_to_length_one():
    files = [golden_file(split) for split in ("test", "train", "near")]

    def scored(lengths):
        test, train, near = (
            replace(one, embeddings=one.embeddings.astype(np.float64) * length(one.embeddings))
            for one, length in zip(files, lengths, strict=True)
        )
        return vmf.evaluate(test, geometry="cosine", train_embeddings=train, ood={"near": near})

    def unit(rows):
        return 1 / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)

    rng = np.random.default_rng(0)
    longer = [lambda rows: rng.lognormal(size=(len(rows), 1))] * 3
    found, normalised = scored(longer)["ood"], scored([unit] * 3)["ood"]
    for name in ("mahalanobis", "relative_mahalanobis"):
        for score in ("auroc", "fpr95_in_positive", "aupr_out"):
            wanted = pytest.approx(normalised[f"near/{name}/{score}"], abs=1e-9)
            assert found[f"near/{name}_unit/{score}"] == wanted
            assert normalised[f"near/{name}_unit/{score}"] == wanted


def test_swapping_in_and_out_gives_one_minus_the_auroc():
    train = golden_file("train")
    labels = np.zeros(len(GOLDEN["o0/near_embeddings"]), int)
    there = golden_scores(ood={"other": golden_file("near")})
    back = vmf.evaluate(
        golden_file("near", ids=labels), train_embeddings=train, geometry="cosine",
        ood={"other": golden_file("test", ids=None)},
    )["ood"]  # fmt: skip
    for key in (key for key in there if key.endswith("/auroc")):
        assert there[key] + back[key] == pytest.approx(1, abs=1e-12), key


def test_the_interval_is_over_classes_of_in_and_rows_of_out():
    found = golden_scores(ood={"near": golden_file("near")})
    row = "near/mahalanobis"
    classes, rng = GOLDEN["o0/test_labels"], np.random.default_rng(0)
    inside, outside = (GOLDEN[f"o0/{split}/mahalanobis"] for split in ("test", "near"))
    draws = []
    for _ in range(400):
        chosen = rng.choice(np.unique(classes), len(np.unique(classes)))
        some = np.concatenate([inside[classes == c] for c in chosen])
        other = rng.choice(outside, len(outside))
        draws.append((some[:, None] > other[None]).mean())
    error = (found[f"{row}/auroc_high"] - found[f"{row}/auroc_low"]) / 2 / 1.96
    assert error == pytest.approx(np.std(draws), rel=0.2)


def test_other_data_without_a_name_is_refused():
    file = golden_file("test")
    with pytest.raises(ValueError, match=r'ood: expected \{"name": .*, got ndarray'):
        vmf.evaluate(file, geometry="cosine", ood=file.embeddings)


def test_without_training_rows_only_logits_and_length_tell(caplog):
    found = golden_scores(train_embeddings=None)
    detectors = {key.split("/")[1] for key in found}
    assert detectors == {"max_probability", "max_logit", "energy", "negative_entropy", "norm"}
    assert "needs training rows" in caplog.text and "--train FILE" in caplog.text


def test_few_training_rows_offer_fewer_neighbours(caplog):
    few = golden_file("train").embeddings[:20]
    found = golden_scores(train_embeddings=few)
    assert "near/knn_10/auroc" in found and "near/knn_50/auroc" not in found
    assert "no knn_50: there are 20 training rows" in caplog.text
    assert "needs classes of the training rows" in caplog.text


def test_one_training_class_has_no_relative_distance(caplog):
    train = golden_file("train")
    one = replace(train, ids=np.zeros(len(train.ids), int), logits=None)
    found = golden_scores(train_embeddings=one)
    assert "near/mahalanobis/auroc" in found and "near/relative_mahalanobis/auroc" not in found
    assert "with one class it is 0 for every row" in caplog.text


def test_weighted_scores_are_those_of_repeated_rows():
    from tests.evaluation.test_uncertainty import context_of
    from vmf_embeddings.evaluation.context import Context
    from vmf_embeddings.evaluation.options import EvaluationOptions
    from vmf_embeddings.evaluation.sections import ood

    def table(file):
        options = EvaluationOptions(paths=(), ood=(("near", golden_file("near")),))
        return ood.score(Context(context_of(file).evaluated, options))

    file = golden_file("test")
    weights = np.random.default_rng(0).integers(0, 3, len(file.ids))
    repeated = np.repeat(np.arange(len(file.ids)), weights)
    more = replace(file, embeddings=file.embeddings[repeated], ids=file.ids[repeated],
                   logits=file.logits[repeated])  # fmt: skip
    found = table(file).weighted["near/energy/auroc"](torch.from_numpy(weights)[None].double())
    assert float(found) == pytest.approx(table(more).rows["near/energy"]["auroc"], abs=1e-12)


def of_one_network(drawn, **meta) -> EmbeddingFile:
    """Rows drawn by a seed of their own, of a network trained with seed 0."""
    file = make_file(COSINE, seed=drawn)
    described = {"weights": WEIGHTS, "train_identity": "of the training rows", "seed": 0}
    return replace(file, meta={**file.meta, **described, **meta})


def other_file(folder, name="shapes_test.npz", **meta):
    path = folder / name
    described = {"dataset": "shapes", "split_hash": "other", **meta}
    save_embeddings(path, of_one_network(8, **described))
    return path


def run_with_training_file(folder):
    save_embeddings(folder / "toy_train.npz", of_one_network(3, split="train", split_hash="t"))
    save_embeddings(folder / "toy_test.npz", of_one_network(0))
    return folder


def evaluate_with(folder, *arguments):
    return evaluate(parse_evaluate([str(folder / "toy_test.npz"), *map(str, arguments)]))


def test_the_command_prints_stores_and_draws(tmp_path, capsys):
    folder = run_with_training_file(tmp_path / "run")
    other = other_file(tmp_path)
    assert evaluate_with(folder, "--ood", other) == 0
    printed = capsys.readouterr().out
    assert "    shapes\n    detector " in printed and "FPR95 %, in positive" in printed
    about = scores_of(folder)["ood_about"]
    assert about["files"]["shapes"] == {
        "file": str(other), "n_in": 36, "n_out": 36, "in_per_out": 1.0, "not_offered": [],
    }  # fmt: skip
    assert about["training_rows"].endswith("toy_train.npz")
    assert (folder / "ood.png").stat().st_size > 10_000
    with np.load(folder / "toy_test_curves.npz") as curves:
        assert 34 <= curves["ood/shapes/norm/n_in"].sum() <= 36


def test_a_threshold_may_come_from_the_validation_file(tmp_path):
    folder = run_with_training_file(tmp_path / "run")
    valid = of_one_network(5, split="valid", split_hash="v")
    save_embeddings(folder / "toy_valid.npz", valid)
    other = other_file(tmp_path)
    second = other_file(tmp_path, "again.npz")
    assert evaluate_with(folder, "--ood", other, second, "--no-figures") == 0
    lengths = np.linalg.norm(valid.embeddings, axis=1)
    threshold = np.sort(lengths)[::-1][int(np.ceil(0.95 * len(lengths))) - 1]
    accepted = np.linalg.norm(of_one_network(8).embeddings, axis=1) >= threshold
    found = scores_of(folder)["ood"]
    assert found["shapes/norm/fpr95_from_valid"] == pytest.approx(accepted.mean())
    assert found["shapes 2/norm/auroc"] == found["shapes/norm/auroc"]


def test_a_name_stands_for_the_file_in_the_folder_of_each_run(tmp_path):
    folder = run_with_training_file(tmp_path / "run")
    other_file(folder)
    assert evaluate_with(folder, "--ood", "shapes_test.npz", "--no-figures") == 0
    assert "shapes/norm/auroc" in scores_of(folder)["ood"]


def test_replications_have_means_over_their_own_files(tmp_path, capsys):
    areas = []
    for seed in (1, 2):
        folder = tmp_path / f"seed_{seed}"
        own = {"seed": seed, "weights": f"of seed {seed}"}
        save_embeddings(folder / "toy_test.npz", of_one_network(seed, **own))
        other_file(folder, "shapes.npz", **own)
    assert evaluate(parse_evaluate([str(tmp_path), "--ood", "shapes.npz", "--no-figures"])) == 0
    for seed in (1, 2):
        areas.append(scores_of(tmp_path / f"seed_{seed}")["ood"]["shapes/norm/auroc"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "    norm " in line)
    assert f"{50 * sum(areas):.2f} +/- " in line


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"weights": "others"}, "from another network than the rows that are scored"),
        ({"dataset": "toy"}, "it is of the data set that is scored, toy"),
        ({"split_hash": "abc"}, "it holds the rows that are scored"),
        ({"split_hash": "of the training rows"}, "it holds the rows that the run was trained on"),
    ],
)
def test_files_that_say_nothing_on_other_data_are_refused(tmp_path, capsys, meta, message):
    folder = run_with_training_file(tmp_path / "run")
    assert evaluate_with(folder, "--ood", other_file(tmp_path, **meta)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("classes", "code"), [((5, 6, 7), 0), ((2, 6, 7), 2)])
def test_an_open_set_is_other_data_where_no_class_is_shared(tmp_path, capsys, classes, code):
    folder = run_with_training_file(tmp_path / "run")
    path = folder / "toy_test.npz"
    scored = load_embeddings(path)
    save_embeddings(path, replace(scored, original_ids=scored.ids))
    other = of_one_network(8, split="valid", split_hash="v")
    numbers = np.asarray(classes)[other.ids % 3]
    save_embeddings(folder / "unseen.npz", replace(other, original_ids=numbers))
    assert evaluate_with(folder, "--ood", folder / "unseen.npz", "--no-figures") == code
    assert ("of the data set that is scored" in capsys.readouterr().err) == (code == 2)


def compared_runs(tmp_path):
    """Two runs on the same rows, each with embeddings of other data of its own."""
    folders = []
    for seed in (1, 2):
        folder, own = tmp_path / f"run_{seed}", {"seed": seed, "weights": f"of seed {seed}"}
        save_embeddings(folder / "toy_test.npz", of_one_network(seed, **own))
        folders.append((folder, other_file(folder, "shapes.npz", **own)))
    return folders


def test_a_path_is_one_runs_file_and_runs_compared_with_it_have_theirs_of_that_name(tmp_path):
    (first, shapes), (second, others) = compared_runs(tmp_path)
    words = ["--against", second, "--resample", "10", "--no-figures"]
    assert evaluate_with(first, *words, "--ood", "shapes.npz") == 0
    wanted = scores_of(first)
    assert "ood/shapes/norm/auroc" in wanted["against"]["scores"]
    for path in (shapes, others):
        assert evaluate_with(first, *words, "--ood", path) == 0
        assert scores_of(first)["ood"] == wanted["ood"]
        assert scores_of(first)["against"] == wanted["against"]


def test_a_run_without_a_file_of_its_own_is_told_which_one_is_missing(tmp_path, capsys):
    (first, shapes), (second, others) = compared_runs(tmp_path)
    others.unlink()
    assert evaluate_with(first, "--against", second, "--ood", shapes, "--no-figures") == 2
    said = capsys.readouterr().err
    assert "another network" in said and f"{others}, which is not there" in said


def test_no_file_a_missing_file_and_an_empty_one_are_refused(tmp_path, capsys):
    folder = run_with_training_file(tmp_path / "run")
    assert evaluate_with(folder, "--metrics", "ood") == 2
    assert "add --ood FILE" in capsys.readouterr().err
    assert evaluate_with(folder, "--ood", "nowhere.npz") == 2
    assert "--ood nowhere.npz: there is no such file, here or in" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"ood\['x'\]: expected finite numbers \[N, D\]"):
        vmf.evaluate(np.eye(3), [0, 1, 1], ood={"x": np.zeros((0, 3))})


def test_embedded_images_without_logits_keep_their_largest_probability(tmp_path):
    folder = run_with_training_file(tmp_path / "run")
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    file = EmbeddingFile(
        rows, predicted=np.array(["a"] * 20), probability=np.full(20, 0.5, np.float32),
        meta={"weights": WEIGHTS, "geometry": COSINE},
    )  # fmt: skip
    save_embeddings(tmp_path / "new.npz", file)
    assert evaluate_with(folder, "--ood", tmp_path / "new.npz", "--no-figures") == 0
    found = scores_of(folder)
    assert "new/max_probability/auroc" in found["ood"] and "new/energy/auroc" not in found["ood"]
    assert "energy" in found["ood_about"]["files"]["new"]["not_offered"]


def test_a_file_that_does_not_name_its_network_is_scored_and_said(tmp_path, capsys):
    folder = run_with_training_file(tmp_path / "run")
    np.save(tmp_path / "other.npy", np.random.default_rng(0).normal(size=(20, 3)))
    assert evaluate_with(folder, "--ood", tmp_path / "other.npy", "--no-figures") == 0
    printed = capsys.readouterr().out
    assert "nothing states that other is of the network that is scored" in printed


@pytest.mark.parametrize(
    ("geometry", "length"),
    [({"name": "vmf"}, "kappa"), ({"name": "poincare", "c": 0.1}, "distance_to_origin")],
)
def test_every_geometry_has_the_detectors_of_its_length_and_of_draws(geometry, length):
    draws = 4 if geometry["name"] == "vmf" else None
    file, other = (
        replace(make_file(geometry, seed=seed, n_draws=draws), examples=None) for seed in (0, 1)
    )
    other = replace(other, meta={**other.meta, "dataset": "other", "split_hash": "x", "seed": 0})
    found = vmf.evaluate(file, ood={"other": other})["ood"]
    assert {f"other/{name}/auroc" for name in (length, "energy", "max_probability")} <= {*found}
