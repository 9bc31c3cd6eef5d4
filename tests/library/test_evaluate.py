"""`vmf.evaluate` offers what the command `evaluate` does, with the same numbers."""

import json

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.evaluation.runs import make_file, scores_of
from tests.evaluation.test_corruption import EUCLIDEAN, run_folder
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate


def command(folder, *words):
    assert evaluate(parse_evaluate([str(folder), *map(str, words), "--no-figures"])) == 0
    return scores_of(folder)


def as_json(values):
    """Scores as a file has them: what there is no number for is null."""
    if isinstance(values, dict):
        return {key: as_json(value) for key, value in values.items()}
    if isinstance(values, list):
        return [as_json(value) for value in values]
    return None if isinstance(values, float) and np.isnan(values) else values


@pytest.mark.parametrize("options", [{"open_set": True}, {}, {"train_class_counts": [500, 60, 5]}])
def test_intervals_are_those_of_the_command(options, tmp_path):
    file = make_file({"name": "euclidean"}, **options)
    vmf.write(file, tmp_path / "toy_test.npz")
    wanted = command(tmp_path, "--resample", 20, "--seed", 5, "metrics=[uncertainty]")
    found = vmf.evaluate(vmf.read(tmp_path / "toy_test.npz"), metrics=["uncertainty"],
                         resample=20, seed=5)  # fmt: skip
    assert as_json(found["significance"]) == wanted["significance"]
    assert "significance" not in vmf.evaluate(file)


def test_corrupted_rows_are_scored_like_those_of_the_command(tmp_path):
    clean, corrupted = run_folder(tmp_path)
    wanted = command(tmp_path, "--corrupted", tmp_path / "toy_test_corrupted.npz")
    found = vmf.evaluate(clean, corrupted=corrupted)
    assert json.loads(json.dumps(found["corruption"])) == pytest.approx(wanted["corruption"])
    assert found["corruption"] == vmf.evaluate(
        clean, metrics=["corruption"], corrupted=corrupted
    )["corruption"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resample": 1}, "resample: expected 0 or a whole number >= 2, got 1"),
        ({"resample": 2.5}, "resample: expected 0 or a whole number"),
        ({"resample": True}, "resample: expected 0 or a whole number"),
        ({"metrics": ["corruption"]}, "corrupted: expected an EmbeddingFile .* got NoneType"),
        ({"corrupted": np.eye(3)}, "corrupted: expected an EmbeddingFile .* got ndarray"),
        ({"corrupted": make_file(EUCLIDEAN)}, "it holds no corrupted images"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_refused(arguments, message):
    file = make_file(EUCLIDEAN, split_hash=None)
    with pytest.raises(ValueError, match=message):
        vmf.evaluate(file, **arguments)
