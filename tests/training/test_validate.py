"""Validation counts what evaluation counts."""

from types import SimpleNamespace

import pytest
import torch

from vmf_embeddings.geometry import Cosine, Euclidean, Poincare
from vmf_embeddings.metrics import retrieval
from vmf_embeddings.training.validate import accuracy, recall_at, recall_at_1, top_accuracies

METHOD = SimpleNamespace(geometry=Euclidean())


def recall(labels, points, **masks):
    masks = {"is_query": None, "is_gallery": None, "paths": None, **masks}
    split = SimpleNamespace(labels=torch.tensor(labels), **masks)
    return recall_at_1(METHOD, torch.tensor(points)[:, None], split, "torch")


def test_query_is_never_its_own_neighbour():
    assert recall([0, 1, 1], [0.0, 0.1, 5.0]) == 1 / 3
    assert recall([0, 0, 1], [0.0, 0.1, 5.0]) == 2 / 3


def test_only_queries_ask_and_only_the_gallery_answers():
    labels, points = [0, 1, 0], [0.0, 0.1, 5.0]
    query = torch.tensor([True, False, False])
    gallery = torch.tensor([True, False, True])
    assert recall(labels, points, is_query=query) == 0.0
    assert recall(labels, points, is_query=query, is_gallery=gallery) == 1.0


def test_query_without_any_candidate_is_a_miss():
    only = torch.tensor([True, False])
    assert recall([0, 0], [0.0, 1.0], is_query=only, is_gallery=only) == 0.0


def test_recall_grows_with_k_up_to_all_candidates():
    split = SimpleNamespace(
        labels=torch.tensor([0, 1, 1, 0]), is_query=None, is_gallery=None, paths=None
    )
    points = torch.tensor([0.0, 0.1, 5.0, 5.2])[:, None]
    # own labels are second from 0.0, third from 0.1, and so on by symmetry of the labels
    assert recall_at((1, 2, 3, 9), METHOD, points, split, "torch") == [0.0, 0.5, 1.0, 1.0]


def test_rows_of_the_query_s_own_image_are_not_compared_with_it():
    labels, points = [0, 0, 1, 0], [0.0, 0.0, 0.1, 5.0]
    assert recall(labels, points) == 0.5
    assert recall(labels, points, paths=["a", "./a", "b", "c"]) == 0.0


@pytest.mark.parametrize("geometry", [Euclidean(), Cosine(), Poincare(0.5)], ids=lambda g: g.name)
def test_tied_rows_share_their_ranks_as_in_evaluation(geometry):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(-1, 2, (60, 40), generator=generator).float() / 8
    rows[20:40], rows[50:] = rows[:20], 0
    labels = torch.randint(0, 6, (60,), generator=generator)
    split = SimpleNamespace(labels=labels, is_query=None, is_gallery=None, paths=None)
    method, ks = SimpleNamespace(geometry=geometry), (1, 3, 59, 70)
    unit = geometry.project(rows)
    expected = retrieval(
        unit, labels, similarity=geometry.similarity, metric=geometry.faiss_metric, ks=ks
    )
    assert recall_at(ks, method, rows, split, "torch") == pytest.approx(
        [expected.recall[k] for k in ks], abs=1e-12
    )
    assert bool((expected.rows.recall[1] % 1 > 0).any())


def test_top_k_accuracies_are_those_of_a_sorted_list_of_classes():
    logits = torch.randn(23, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(23) % 7
    method = SimpleNamespace(predict=lambda rows: rows.softmax(-1))
    order = logits.argsort(1, descending=True).tolist()
    ranks = [row.index(label) for row, label in zip(order, labels.tolist(), strict=True)]
    expected = [sum(rank < k for rank in ranks) / 23 for k in (1, 5, 7)]
    assert top_accuracies((1, 5, 7), method, logits, labels, 10) == pytest.approx(expected)
    assert accuracy(method, logits, labels, 10) == pytest.approx(expected[0])
    assert expected[0] < expected[1] < expected[2] == 1
