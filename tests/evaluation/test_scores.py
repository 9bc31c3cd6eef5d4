"""A file's scores are those of the metrics on its arrays."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from tests.evaluation.runs import make_file
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation import row_pairs
from vmf_embeddings.evaluation import scores as module
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.metrics import retrieval

OPTIONS = EvaluationOptions(paths=(Path("x"),))


def evaluated_of(file, geometry):
    return EvaluatedFile(Path("x/toy_test.npz"), Path("x"), file, from_meta(geometry))


@pytest.mark.parametrize(
    "geometry", [{"name": "cosine"}, {"name": "euclidean"}, {"name": "poincare", "c": 0.1}]
)
def test_retrieval_compares_rows_as_the_geometry_does(geometry):
    file = make_file(geometry)
    found = score(evaluated_of(file, geometry), OPTIONS).sections
    assert set(found) == {"classification", "retrieval"}
    space = from_meta(geometry)
    rows = space.project(torch.from_numpy(file.embeddings).double())
    expected = retrieval(rows, file.ids, similarity=space.similarity, ks=(1, 2, 4, 8))
    assert found["retrieval"]["map@r"] == pytest.approx(expected.map_at_r, abs=1e-12)
    assert found["retrieval"]["recall@4"] == expected.recall[4]


@pytest.mark.parametrize("geometry", [{"name": "cosine"}, {"name": "euclidean"}, {"name": "vmf"}])
@pytest.mark.parametrize("dim", [3, 40])
def test_rows_score_as_if_all_were_projected_in_float64(monkeypatch, geometry, dim):
    monkeypatch.setattr(row_pairs, "_BLOCK_ROWS", 7)
    file = make_file(geometry, dim=dim)
    file.embeddings[20:24] = file.embeddings[0]  # ties
    evaluated, space = evaluated_of(file, geometry), from_meta(geometry)
    rows = space.project(torch.from_numpy(file.embeddings).double())
    torch.testing.assert_close(row_pairs.rows_to_compare(evaluated).double(), rows, rtol=0, atol=0)
    expected = retrieval(rows, file.ids, metric=space.faiss_metric, ks=(1, 2, 4, 8))
    found = module.score(evaluated, OPTIONS).sections["retrieval"]
    assert found["map@r"] == expected.map_at_r
    assert found["mean_average_precision"] == expected.mean_average_precision
    assert [found[f"recall@{k}"] for k in (1, 2, 4, 8)] == list(expected.recall.values())


def test_rows_that_are_compared_as_they_are_are_not_copied():
    file = make_file({"name": "euclidean"})
    rows = row_pairs.rows_to_compare(evaluated_of(file, {"name": "euclidean"}))
    assert rows.dtype == torch.float32
    if not rows.is_cuda:
        assert rows.data_ptr() == file.embeddings.ctypes.data


def test_closed_sets_have_macro_scores_and_top_5_where_it_says_something():
    found = score(evaluated_of(make_file({"name": "cosine"}), {"name": "cosine"}), OPTIONS).sections
    assert {"macro_accuracy", "macro_f1"} <= set(found["classification"])
    assert "top_5_accuracy" not in found["classification"]  # three classes
    assert found["classification"]["macro_accuracy"] == pytest.approx(
        found["classification"]["accuracy"]  # as many rows of each class
    )


def test_classes_that_the_network_was_never_shown_are_few_shot_ones():
    file = make_file({"name": "cosine"}, train_class_counts=[500, 60])
    found = score(evaluated_of(file, {"name": "cosine"}), OPTIONS)
    assert found.shots.train_counts.tolist() == [500, 60, 0]
    assert set(found.sections["shots"]) == {"many", "medium", "few"}
    longer = make_file({"name": "cosine"}, train_class_counts=[500, 60, 5, 4])
    with pytest.raises(ValueError, match="4 classes, the logits 3"):
        score(evaluated_of(longer, {"name": "cosine"}), OPTIONS)


def test_vmf_is_scored_by_draws_and_by_expected_cosine():
    file = make_file({"name": "vmf"}, open_set=True)
    found = score(evaluated_of(file, {"name": "vmf"}), OPTIONS).sections
    assert set(found) == {"retrieval", "sampled_retrieval"}
    again = score(evaluated_of(file, {"name": "vmf"}), OPTIONS).sections
    assert found == again
    other = dataclasses.replace(OPTIONS, seed=5)
    assert score(evaluated_of(file, {"name": "vmf"}), other).sections != found


def test_draws_of_very_sure_laws_score_as_their_directions():
    file = make_file({"name": "vmf"}, open_set=True)
    sure = dataclasses.replace(file, embeddings=1e7 * file.embeddings)
    found = score(evaluated_of(sure, {"name": "vmf"}), OPTIONS).sections
    cosine = score(evaluated_of(file, {"name": "cosine"}), OPTIONS).sections["retrieval"]
    assert found["sampled_retrieval"]["recall@1"] == cosine["recall@1"]
    assert found["sampled_retrieval"]["map@r"] == pytest.approx(cosine["map@r"], abs=1e-3)
    assert found["retrieval"]["map@r"] == pytest.approx(cosine["map@r"], abs=1e-3)


def test_large_closed_sets_are_retrieved_from_only_on_demand(monkeypatch):
    monkeypatch.setattr(module, "CHEAP_ROWS", 10)
    monkeypatch.setattr(module, "CHEAP_ROWS_SAMPLED", 10)
    closed = evaluated_of(make_file({"name": "vmf"}, n_draws=3), {"name": "vmf"})
    assert set(score(closed, OPTIONS).sections) == {"classification"}
    asked = score(closed, dataclasses.replace(OPTIONS, recall=(3,))).sections
    assert {"recall@1", "recall@3", "map@r"} <= set(asked["retrieval"])
    assert "sampled_retrieval" in asked
    opened = evaluated_of(make_file({"name": "vmf"}, open_set=True), {"name": "vmf"})
    assert "retrieval" in score(opened, OPTIONS).sections


def test_a_closed_set_with_one_row_per_class_has_no_retrieval():
    file = make_file({"name": "cosine"})
    first = np.unique(file.ids, return_index=True)[1]
    single = EmbeddingFile(file.embeddings[first], file.ids[first], logits=file.logits[first])
    assert set(score(evaluated_of(single, {"name": "cosine"}), OPTIONS).sections) == {
        "classification"
    }


def test_query_and_gallery_of_the_file_are_respected():
    file = make_file({"name": "cosine"}, open_set=True)
    is_query = np.arange(len(file.ids)) % 2 == 0
    split = dataclasses.replace(file, is_query=is_query, is_gallery=~is_query)
    found = score(evaluated_of(split, {"name": "cosine"}), OPTIONS).sections["retrieval"]
    rows = torch.nn.functional.normalize(torch.from_numpy(file.embeddings).double(), dim=1)
    expected = retrieval(rows, file.ids, metric="ip", is_query=is_query, is_gallery=~is_query)
    assert found["map@r"] == pytest.approx(expected.map_at_r, abs=1e-12)
    assert found["map@r"] != retrieval(rows, file.ids, metric="ip").map_at_r


def test_golden_classification_through_a_file():
    data = load_golden("classification_metrics")
    for case in (c for c in cases(data) if f"{c}/logits" in data):
        ids = data[f"{case}/ids"]
        file = dataclasses.replace(
            make_file({"name": "cosine"}),
            embeddings=np.random.default_rng(0).normal(size=(len(ids), 3)),
            ids=ids, logits=data[f"{case}/logits"], examples=None,
        )  # fmt: skip
        found = score(evaluated_of(file, {"name": "cosine"}), OPTIONS).sections["classification"]
        assert found["accuracy"] == pytest.approx(float(data[f"{case}/acc"]), abs=1e-15)
        # 1e-6: the reference's softmax is in float32
        error = float(data[f"{case}/ece_15_p2"])
        assert found["ece_l2_equal_mass"] == pytest.approx(error, abs=1e-6)
