"""Validation counts what evaluation counts."""

from types import SimpleNamespace

import torch

from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.training.validate import recall_at, recall_at_1

METHOD = SimpleNamespace(geometry=Euclidean())


def recall(labels, points, **masks):
    masks = {"is_query": None, "is_gallery": None, **masks}
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
    split = SimpleNamespace(labels=torch.tensor([0, 1, 1, 0]), is_query=None, is_gallery=None)
    points = torch.tensor([0.0, 0.1, 5.0, 5.2])[:, None]
    # own labels are second from 0.0, third from 0.1, and so on by symmetry of the labels
    assert recall_at((1, 2, 3, 9), METHOD, points, split, "torch") == [0.0, 0.5, 1.0, 1.0]
