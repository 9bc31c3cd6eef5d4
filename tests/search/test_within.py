"""Neighbours among the rows themselves, from half the products, are those of the full matrix."""

import sys

import pytest
import torch

from vmf_embeddings.search import nearest
from vmf_embeddings.search.within import rounds

pytest.importorskip("numba")


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_rounds_hold_every_pair_once_and_no_number_twice(n):
    every = [pair for pairs in rounds(n) for pair in pairs]
    assert sorted(every) == [(i, j) for i in range(n) for j in range(i, n)]
    for pairs in rounds(n):
        met = [number for i, j in pairs for number in {i, j}]
        assert len(met) == len(set(met))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", ["different", "tied", "two values"])
def test_neighbours_are_those_of_the_full_matrix(kind, metric, threads, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.search.within.SIDE", 48)
    monkeypatch.setenv("VMF_EMBEDDINGS_NATIVE", "1")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(700, 40, generator=generator)
    if kind == "tied":
        rows = rows[torch.randint(0, 90, (700,), generator=generator)]
    if kind == "two values":
        rows = rows.sign() * torch.randint(1, 3, (700, 1), generator=generator)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = nearest(rows, rows, 7, metric=metric, exclude=torch.arange(700))
    finally:
        torch.set_num_threads(n_threads)
    expected = nearest(rows, rows, 7, metric=metric, exclude=torch.arange(700), backend="torch")
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_compiled_candidates_serve_rows_among_themselves_alone(monkeypatch):
    monkeypatch.setenv("VMF_EMBEDDINGS_NATIVE", "1")
    called = []
    module = sys.modules[nearest.__module__]
    whole = module.candidates_within

    def noted(*args):
        called.append(args)
        return whole(*args)

    monkeypatch.setattr(module, "candidates_within", noted)
    rows = torch.randn(200, 40)
    nearest(rows[:50], rows, 2, metric="ip")
    nearest(rows, rows, 2, metric="ip", backend="torch")
    assert not called
    nearest(rows, rows.clone(), 2, metric="ip")
    assert len(called) == 1
