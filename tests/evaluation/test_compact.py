"""Laws and golden numbers of scores by length, number format and re-ranking."""

import dataclasses

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.conftest import cases, load_golden
from tests.evaluation.runs import make_file, make_run, scores_of
from vmf_embeddings.cli import evaluate_arguments
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.embeddings import save_embeddings
from vmf_embeddings.evaluation.figures.dimensions import draw_dimensions
from vmf_embeddings.evaluation.options import PRECISIONS
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.evaluation.table_lines import rows_of
from vmf_embeddings.search import PRECISIONS as OF_SEARCH

GOLDEN = load_golden("compact")
each_case = pytest.mark.parametrize("case", cases(GOLDEN))
COSINE, EUCLIDEAN, VMF = {"name": "cosine"}, {"name": "euclidean"}, {"name": "vmf"}
WAYS = ("k_reciprocal", "alpha_qe", "dba")


def golden(case: str, name: str) -> np.ndarray:
    return GOLDEN[f"{case}/{name}"]


def of_row(section: dict[str, float], row: str) -> dict[str, float]:
    return {k.removeprefix(f"{row}/"): v for k, v in section.items() if k.startswith(f"{row}/")}


def clusters(n: int = 60, dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 6
    return rng.normal(size=(6, dim))[labels] + rng.normal(size=(n, dim)), labels


def test_the_names_of_number_formats_are_those_of_search():
    assert PRECISIONS == OF_SEARCH


@each_case
@pytest.mark.parametrize("geometry", ("cosine", "euclidean"))
def test_prefixes_score_as_in_the_golden_numbers(case, geometry):
    rows, labels, dims = (golden(case, k) for k in ("embeddings", "labels", "dims"))
    found = vmf.evaluate(
        rows, labels, geometry=geometry, ks=[1, 4], ties="index", dims=dims.tolist()
    )["compact"]
    for place, dim in enumerate(dims):
        own, key = of_row(found, f"{dim}/float32"), f"prefix_{place}/{geometry}"
        assert own["recall@1"] == pytest.approx(golden(case, f"{key}/exact_recall@1"), abs=1e-12)
        assert own["recall@4"] == pytest.approx(golden(case, f"{key}/exact_recall@4"), abs=1e-12)
        assert own["map@r"] == pytest.approx(golden(case, f"{key}/exact_map@r"), abs=1e-9)


@each_case
def test_number_formats_score_as_in_the_golden_numbers(case):
    rows, labels, kept = (golden(case, k) for k in ("unit_rows", "labels", "is_calibration"))
    found = vmf.evaluate(
        rows, labels, ks=[1, 4], ties="index", precision=["int8", "ubinary"],
        train_embeddings=rows[kept],
    )["compact"]  # fmt: skip
    dim = rows.shape[1]
    names = {"int8": "int8_dequantised", "ubinary": "binary_hamming",
             "ubinary_signs": "binary_rescored_signs_x4",
             "ubinary_rescored": "binary_rescored_float_rows_x4"}  # fmt: skip
    for row, key in names.items():
        own = of_row(found, f"{dim}/{row}")
        assert own["recall@1"] == pytest.approx(golden(case, f"{key}/exact_recall@1"), abs=1e-12)
        assert own["recall@4"] == pytest.approx(golden(case, f"{key}/exact_recall@4"), abs=1e-12)
        if f"{case}/{key}/exact_map@r" in GOLDEN:
            assert own["map@r"] == pytest.approx(golden(case, f"{key}/exact_map@r"), abs=1e-9)
    assert of_row(found, f"{dim}/ubinary")["bytes_per_row"] == dim // 8


@pytest.mark.parametrize("geometry", ("cosine", "euclidean", "vmf"))
def test_all_dimensions_score_as_usual_and_a_prefix_as_a_file_of_it(geometry):
    rows, labels = clusters()
    found = vmf.evaluate(rows, labels, geometry=geometry, dims=[4], precision=["float32"])
    whole = of_row(found["compact"], "16/float32")
    assert {k: whole[k] for k in found["retrieval"]} == found["retrieval"]
    assert whole["overlap@10"] == 1
    alone = vmf.evaluate(rows[:, :4], labels, geometry=geometry)["retrieval"]
    own = of_row(found["compact"], "4/float32")
    assert {k: own[k] for k in alone} == pytest.approx(alone, abs=1e-12)
    assert own["bytes_per_row"] == 16


@pytest.mark.parametrize(("multiplier", "ks"), [(6, [1, 2, 4, 8]), (10**12, [1, 10**12])])
def test_enough_candidates_rank_as_float_rows_do(multiplier, ks):
    rows, labels = clusters()
    options = {"precision": ["binary"], "rescore_multiplier": multiplier}
    found = vmf.evaluate(rows, labels, ks=ks, **options)
    rescored = of_row(found["compact"], "16/binary_rescored")
    assert rescored["overlap@10"] == 1
    wanted = found["retrieval"]
    assert {k: rescored[k] for k in wanted} == pytest.approx(wanted, abs=1e-12)


def test_queries_and_gallery_apart_are_compared_in_every_format():
    rows, labels = clusters()
    is_query = np.arange(60) < 20
    found = vmf.evaluate(
        rows, labels, is_query=is_query, is_gallery=~is_query, dims=[8],
        precision=["float32", "int8", "binary"], rescore_multiplier=4, rerank=WAYS,
    )  # fmt: skip
    for row in ("16/float32", "16/binary_rescored"):  # 40 candidates are the whole gallery
        own = of_row(found["compact"], row)
        assert {k: own[k] for k in found["retrieval"]} == pytest.approx(found["retrieval"])
    assert of_row(found["compact"], "16/int8")["overlap@10"] > 0.9


def test_a_rotation_of_training_rows_does_not_change_principal_components():
    rows, labels = clusters()
    train, _ = clusters(seed=1)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))
    plain, turned = (
        vmf.evaluate(x, labels, dims=[3], train_embeddings=t)["compact"]
        for x, t in ((rows, train), (rows @ rotation, train @ rotation))
    )
    assert "pca_16/float32/recall@1" not in plain
    for name, value in of_row(plain, "pca_3/float32").items():
        assert turned[f"pca_3/float32/{name}"] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("geometry", ("cosine", "vmf"))
def test_no_neighbour_added_and_lambda_1_score_as_usual(geometry):
    rows, labels = clusters()
    options = {"n": 0, "lambda": 1.0}
    ways = WAYS if geometry == "cosine" else WAYS[1:]
    found = vmf.evaluate(rows, labels, geometry=geometry, rerank=ways, rerank_options=options)
    for way in ("none", *ways):
        own = of_row(found["reranked"], way)
        assert own == pytest.approx(found["retrieval"], abs=1e-12)


def test_ranking_again_changes_scores_and_ignores_the_order_of_rows():
    rows, labels = clusters()
    order = np.random.default_rng(3).permutation(60)
    options = {"k1": 8, "k2": 3, "n": 4}
    found, shuffled = (
        vmf.evaluate(x, y, rerank=WAYS, rerank_options=options)["reranked"]
        for x, y in ((rows, labels), (rows[order], labels[order]))
    )
    assert found == pytest.approx(shuffled, abs=1e-9)
    assert len({round(found[f"{way}/map@r"], 6) for way in ("none", *WAYS)}) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dims": [17]}, "--dims 17.*16 dimensions"),
        ({"dims": [1], "geometry": "vmf"}, "--dims 1: dim must be at least 2"),
        ({"dims": [0]}, "dims: expected whole numbers >= 1"),
        ({"precision": ["int4"]}, "precision: expected some of float32"),
        ({"precision": "int8"}, "precision: expected some of"),
        ({"rerank": ["qe"]}, "rerank: expected some of k_reciprocal"),
        ({"rerank": ["dba"], "rerank_options": {"k": 3}}, "rerank_options.*k1, k2"),
        ({"rerank": ["k_reciprocal"], "rerank_options": {"k1": 0}}, "k1 >= 1"),
        ({"geometry": "euclidean", "rerank": ["alpha_qe"]}, "cosine.*euclidean"),
        ({"geometry": "poincare", "curvature": 1.0, "rerank": ["k_reciprocal"]}, "poincare"),
        ({"geometry": "poincare", "curvature": 1.0, "precision": ["int8"]}, "poincare"),
        ({"dims": [4], "train_embeddings": np.ones((3, 5))}, "5 dimensions"),
    ],
)
def test_mistakes_are_refused_by_name(options, words):
    rows, labels = clusters()
    with pytest.raises(ValueError, match=words):
        vmf.evaluate(0.1 * rows, labels, **options)


def run_command(*arguments: str) -> int:
    return evaluate(evaluate_arguments.parse_evaluate([*map(str, arguments), "--no-figures"]))


def logits_of_weights(file, **meta):
    """The file with the logits of its class weights by cosine, and more meta data."""
    z, w = (x / np.linalg.norm(x, axis=1, keepdims=True)
            for x in (file.embeddings, file.class_weights))  # fmt: skip
    logits = (z @ w.T / file.temperature).astype(np.float32)
    return dataclasses.replace(file, logits=logits, meta={**file.meta, **meta})


def test_the_command_writes_and_prints_tables_with_the_training_file_beside(tmp_path, capsys):
    own = {"train_identity": "a" * 64, "epoch": 3}
    test = logits_of_weights(make_file(COSINE, dim=8, **own))
    train = make_file(COSINE, dim=8, **own, split="train", split_hash="def")
    save_embeddings(tmp_path / "toy_test.npz", test)
    save_embeddings(tmp_path / "toy_train.npz", train)
    arguments = ("--dims", "2", "4,8", "--precision", "float32", "int8", "binary")
    assert run_command(tmp_path, *arguments, "--rerank", *WAYS, "--k1", "5", "--expand-n", "3") == 0
    found, printed = scores_of(tmp_path), capsys.readouterr().out
    assert found["compact_about"]["ranges_from"].endswith("toy_train.npz")
    assert found["compact_about"]["pca_from"].endswith("toy_train.npz")
    assert found["reranked_about"]["k_reciprocal"] == {"k1": 5, "k2": 6, "lambda": 0.3}
    whole = of_row(found["compact"], "8/float32")
    assert whole["accuracy"] == found["classification"]["accuracy"]
    assert whole["recall@1"] == found["retrieval"]["recall@1"]
    rows = list(rows_of(list(found["compact"])))
    assert [r for r in rows if r.startswith("2/")] == [
        "2/float32", "2/int8", "2/binary", "2/binary_signs", "2/binary_rescored"
    ]  # fmt: skip
    assert {"pca_2/float32", "pca_4/float32"} <= set(rows)
    assert "4 by PCA" in printed and "8, binary, rescored by float rows" in printed
    assert "+ k-reciprocal" in printed and "transductive" in printed


def test_without_a_training_file_it_is_said_whose_ranges_are_used(tmp_path, capsys):
    make_run(tmp_path, COSINE, dim=8)
    assert run_command(tmp_path, "--dims", "4", "--precision", "int8") == 0
    printed = capsys.readouterr().out
    assert "ranges of bytes are those of the scored rows" in printed
    assert "--pca-from names one" in printed
    assert "prefixes are not scored by classification" in printed  # random logits


@pytest.mark.parametrize(
    ("change", "words"),
    [({"train_identity": "b" * 64}, "another network"), ({"split_hash": "abc"}, "that are scored")],
)
def test_rows_of_another_network_and_the_scored_rows_are_refused(tmp_path, capsys, change, words):
    own = {"train_identity": "a" * 64}
    save_embeddings(tmp_path / "toy_test.npz", make_file(COSINE, dim=8, **own))
    other = make_file(COSINE, dim=8, **{**own, "split": "train", "split_hash": "def", **change})
    save_embeddings(tmp_path / "other.npz", other)
    arguments = ("--precision", "int8", "--calibrate-on", tmp_path / "other.npz")
    assert run_command(tmp_path / "toy_test.npz", *arguments) == 2
    assert words in capsys.readouterr().err


def test_separate_heads_are_said_not_to_be_in_the_file(tmp_path, capsys):
    prefixes = {"dims": [8, 4], "separate_heads": True}
    file = logits_of_weights(make_file(COSINE, dim=8), prefixes=prefixes)
    save_embeddings(tmp_path / "toy_test.npz", file)
    assert run_command(tmp_path, "--dims", "4") == 0
    assert "class weights of its own" in capsys.readouterr().out


def test_many_clipped_values_are_said_and_recorded(tmp_path, capsys):
    test = make_file(COSINE, dim=8)
    narrow = dataclasses.replace(test, embeddings=np.eye(8, dtype=np.float32)[[0] * 35 + [1]])
    save_embeddings(tmp_path / "toy_test.npz", test)
    save_embeddings(tmp_path / "narrow.npz", dataclasses.replace(narrow, meta={"split": "train"}))
    arguments = ("--precision", "int8", "--calibrate-on", tmp_path / "narrow.npz")
    assert run_command(tmp_path / "toy_test.npz", *arguments) == 0
    unit = test.embeddings / np.linalg.norm(test.embeddings, axis=1, keepdims=True)
    low, high = np.zeros(8), np.array([1, 1, *[0] * 6])
    outside = ((unit < low) | (unit > high)).mean()
    assert scores_of(tmp_path)["compact_about"]["fraction_clipped"]["8"] == pytest.approx(outside)
    assert f"{100 * outside:.1f} % of the values" in capsys.readouterr().out


def test_a_figure_has_a_line_for_each_format_and_none_for_one_length_alone(tmp_path):
    rows = {
        f"{dim}/{kind}": {"recall@1": 0.5, "map@r": 0.25}
        for dim in (2, 8)
        for kind in ("float32", "binary_rescored")
    }
    rows["pca_2/float32"] = {"recall@1": 0.4, "map@r": 0.2}
    figure = draw_dimensions(ScoreTable(rows), "title")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"float32", "binary, rescored", "principal components"}
    assert lines["float32"].get_xdata().tolist() == [2, 8]
    assert lines["principal components"].get_ydata().tolist() == [40]
    assert draw_dimensions(ScoreTable({"8/float32": rows["8/float32"]}), "title") is None


def test_replications_are_averaged_with_their_standard_error(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / str(seed), COSINE, dim=8, seed=seed)
    assert run_command(tmp_path, "--dims", "4") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("    4, float32"))
    assert "+/-" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dims", "0"], "1 or more"),
        (["--precision", "int9"], "did you mean int8"),
        (["--rerank", "kreciprocal"], "did you mean k_reciprocal"),
        (["--lambda", "1.5"], "0 to 1"),
        (["--expand-alpha", "-1"], "from 0"),
        (["--rescore-multiplier", "0"], "1 or more"),
    ],
)
def test_arguments_out_of_range_exit_with_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as error:
        evaluate_arguments.parse_evaluate(["run", *arguments])
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def test_nothing_is_printed_unless_asked_for(tmp_path):
    make_run(tmp_path, COSINE)
    assert run_command(tmp_path) == 0
    assert not {"compact", "reranked"} & scores_of(tmp_path).keys()
