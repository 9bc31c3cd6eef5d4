"""Embeddings of new images, whose labels are unknown."""

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.evaluation.loading import load_evaluated_file

ROWS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def new_images(**more) -> vmf.EmbeddingFile:
    return vmf.EmbeddingFile(
        ROWS,
        paths=np.array(["a.png", "b.png", "c/ü.png", "d.png"]),
        confidence=np.arange(4.0),
        predicted=np.array(["cat", "dog", "cat", "cat"]),
        probability=np.full(4, 0.5),
        meta={"geometry": {"name": "cosine"}, "confidence_name": "norm"},
        **more,
    )


def test_what_is_written_without_labels_is_read_back(tmp_path):
    vmf.write(new_images(), tmp_path / "new.npz")
    back = vmf.read(tmp_path / "new.npz")
    assert back.ids is None and back.meta["confidence_name"] == "norm"
    for name in ("embeddings", "paths", "confidence", "predicted", "probability"):
        np.testing.assert_array_equal(getattr(back, name), getattr(new_images(), name))
    assert back.confidence.dtype == back.probability.dtype == np.float32


def test_scores_need_labels(tmp_path):
    vmf.write(new_images(), tmp_path / "new.npz")
    options = parse_evaluate([str(tmp_path / "new.npz")])
    with pytest.raises(ValueError, match=r"has no labels.*vmf-embeddings search QUERY --in"):
        load_evaluated_file(tmp_path / "new.npz", tmp_path, options)
    with pytest.raises(ValueError, match="labels: the EmbeddingFile has none"):
        vmf.evaluate(new_images())


def test_labels_can_be_given_later():
    kinds = ["cat", "dog", "cat", "dog"]
    wanted = vmf.evaluate(ROWS, kinds, ks=[1])
    assert vmf.evaluate(new_images(), kinds, ks=[1]) == wanted


@pytest.mark.parametrize("name", ["confidence", "predicted", "probability"])
def test_one_value_for_each_row(name):
    with pytest.raises(ValueError, match=f"embeddings .* and {name} .* differ in rows"):
        vmf.EmbeddingFile(ROWS, **{name: np.ones(3)})
