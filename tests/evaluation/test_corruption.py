"""The section `corruption`: how the confidences of a run fall as its images get worse."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.evaluation.runs import make_file, scores_of
from tests.test_extract import SPEED, untrained  # noqa: F401 - a fixture
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.datasets.corruption import Corruptions, corrupted_split
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings
from vmf_embeddings.evaluation.confidences import confidences
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.corrupted_rows import confidences_of, grids
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.extract import ExtractionJob, extract
from vmf_embeddings.metrics.corruption import spearman_per_row, spearman_pooled

EUCLIDEAN = {"name": "euclidean"}
LEVELS = {"crop": (0.25, 0.5), "noise": (0.1, 0.2, 0.3)}


def corrupted_of(clean: EmbeddingFile, **meta) -> EmbeddingFile:
    """Rows that shrink with the level, with a little noise."""
    rng = np.random.default_rng(1)
    cells = [("clean", 0.0), *((name, x) for name, own in LEVELS.items() for x in own)]
    n = len(clean.ids)
    level = np.repeat([x for _, x in cells], n)
    scale = (1 - level + 0.05 * rng.random(len(level)) * (level > 0))[:, None]
    return EmbeddingFile(
        embeddings=np.tile(clean.embeddings, (len(cells), 1)) * scale,
        ids=np.tile(clean.ids, len(cells)),
        logits=np.tile(clean.logits, (len(cells), 1)) * scale,
        source=np.tile(np.arange(n), len(cells)),
        corruption=np.repeat([name for name, _ in cells], n),
        level=level,
        meta={**clean.meta, "split_hash": "corrupted", "source_hash": "abc", **meta},
    )


def run_folder(folder, **changes):
    clean = make_file(EUCLIDEAN)
    save_embeddings(folder / "toy_test.npz", clean)
    file = replace(corrupted_of(clean), **changes)
    save_embeddings(folder / "toy_test_corrupted.npz", file)
    return clean, file


def context_of(folder):
    path = folder / "toy_test.npz"
    options = EvaluationOptions(paths=(path,), search="torch")
    return Context(load_evaluated_file(path, path, options), options)


def run(*words):
    return evaluate(parse_evaluate([*map(str, words), "--no-figures"], "evaluate"))


def test_scores_are_those_of_the_table_of_confidences(tmp_path):
    clean, file = run_folder(tmp_path)
    assert run(tmp_path, "metrics=[uncertainty]") == 0
    found, n = scores_of(tmp_path)["corruption"], len(clean.ids)
    norm = np.linalg.norm(file.embeddings.astype(np.float64), axis=1)
    crop = torch.from_numpy(norm[: 3 * n].reshape(3, n).T)
    levels = [0.0, *LEVELS["crop"]]
    assert found["crop/norm/spearman_pooled"] == pytest.approx(spearman_pooled(crop, levels))
    of_rows = spearman_per_row(crop, levels)
    assert found["crop/norm/spearman_per_row"] == pytest.approx(float(of_rows.mean())) == 1
    assert found["noise/max_probability/less_confident_when_corrupted"] == 1
    assert found["crop/norm/spearman_pooled"] < 1


def test_confidences_of_clean_rows_in_the_corrupted_file_are_those_of_the_scored_file(tmp_path):
    clean, file = run_folder(tmp_path)
    context = context_of(tmp_path)
    wanted, found = confidences(context), confidences_of(context, file)
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert torch.allclose(found[name][: len(clean.ids)], values, rtol=1e-12), name


def test_the_order_of_rows_changes_nothing_and_gaps_are_refused(tmp_path):
    clean, file = run_folder(tmp_path)
    mixed = np.random.default_rng(2).permutation(len(file.ids))
    fields = ("embeddings", "ids", "logits", "source", "corruption", "level")
    taken = {name: getattr(file, name)[mixed] for name in fields}
    order = [grid for grid in grids(replace(file, **taken))]
    for grid in grids(file):
        (other,) = [one for one in order if one.corruption == grid.corruption]
        assert np.array_equal(mixed[other.rows], grid.rows)
        assert np.array_equal(other.levels, grid.levels)
    for lost in (0, 40, len(file.ids) - 1):
        kept = {name: np.delete(getattr(file, name), lost, 0) for name in fields}
        with pytest.raises(ValueError, match="not every image has .* at every level"):
            list(grids(replace(file, **kept)))


def test_only_corrupted_images_of_the_scored_rows_are_taken(tmp_path, capsys):
    clean, file = run_folder(tmp_path)
    other = tmp_path / "other.npz"
    for changes, words in (
        ({"meta": {**file.meta, "source_hash": "def"}}, "those of another split"),
        ({"meta": {**file.meta, "seed": 7}}, "another network"),
        ({"ids": np.roll(file.ids, 1)}, "not those that are scored"),
        ({"source": None, "corruption": None, "level": None}, "no corrupted images"),
    ):
        save_embeddings(other, replace(file, **changes))
        assert run(tmp_path / "toy_test.npz", "--corrupted", other) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "toy_test_corrupted.npz").unlink()
    assert run(tmp_path, "metrics=[corruption]") == 2
    assert "mode=corrupt" in capsys.readouterr().err
    assert run(tmp_path, "metrics=[uncertainty]") == 0
    assert "corruption" not in scores_of(tmp_path)


def test_corrupted_rows_are_not_scored_as_rows_of_the_split(tmp_path, capsys):
    run_folder(tmp_path)
    assert run(tmp_path) == 0
    assert scores_of(tmp_path)["n"] == 36 if "n" in scores_of(tmp_path) else True
    assert run(tmp_path / "toy_test_corrupted.npz") == 2
    assert "holds corrupted images" in capsys.readouterr().err


def test_the_three_keys_belong_together():
    with pytest.raises(ValueError, match="source, corruption, level belong together"):
        EmbeddingFile(embeddings=np.eye(2), ids=[0, 1], source=[0, 1])


@pytest.mark.parametrize("store", ("npz", "folder"))
def test_an_extraction_writes_what_evaluation_reads(untrained, tmp_path, store):  # noqa: F811
    dataset, method = untrained
    checkpoint = {"method_state_dict": method.state_dict(), "epoch": 3}
    job = ExtractionJob(
        method, dataset, checkpoint, ("test",), tmp_path, method_name="classifier", seed=1,
        batch_size=256, num_workers=0, execution=SPEED, store=store,
    )  # fmt: skip
    extract(job)
    levels = {"crop": (0.5,), "occlusion": (0.2, 0.6)}
    (path,) = extract(
        replace(job, corrupted=partial(corrupted_split, corruptions=Corruptions(levels)))
    )
    ending = "npz" if store == "npz" else "emb"
    assert path.name == f"digits_lt_test_corrupted.{ending}"
    clean, found = (
        load_embeddings(path.with_name(f"digits_lt_test.{ending}")),
        load_embeddings(path),
    )
    n = len(clean.ids)
    assert len(found.ids) == 4 * n
    # the same pixels in batches of another size
    assert np.allclose(found.embeddings[:n], clean.embeddings, atol=1e-5)
    assert found.corruption[::n].tolist() == ["clean", "crop", "occlusion", "occlusion"]
    assert found.meta["source_hash"] == clean.meta["split_hash"] != found.meta["split_hash"]
    examples = load_embeddings(path.with_name("digits_lt_test_corrupted_examples.npz"))
    assert examples.pictures.shape == (16, 1, 28, 28)
    found_at = found.embeddings[examples.source[0]]
    assert np.array_equal(examples.embeddings[0], found_at)
    words = [tmp_path, "metrics=[corruption]"]
    assert evaluate(parse_evaluate([*map(str, words)], "evaluate")) == 0
    assert (tmp_path / "corruption.png").stat().st_size > 10_000
