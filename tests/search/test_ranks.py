"""Counts of negatives before positives equal a brute-force float64 count, compiled or not."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from vmf_embeddings import native
from vmf_embeddings.search import ranks
from vmf_embeddings.search.by_class import by_class
from vmf_embeddings.search.exact import METRICS
from vmf_embeddings.search.products import Products


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def compiled_and_torch(request, monkeypatch):
    if request.param == "compiled" and not native.enabled():
        pytest.skip("numba is not installed or switched off")
    if request.param == "torch":
        monkeypatch.setenv(native.SWITCH, "0")


def brute_force(rows, codes, queries, gallery, metric):
    """{query: sorted counts of rows of other classes before each row of its own}."""
    rows, codes, places = rows.double().numpy(), codes.numpy(), gallery.numpy()
    counts = {}
    for q in queries.tolist():
        if metric == "ip":
            scores = (rows[q] * rows[places]).sum(1)
        else:
            scores = -np.square(rows[q] - rows[places]).sum(1)
        ordered = places[np.lexsort((places, -scores))]
        ordered = ordered[ordered != q]
        own = codes[ordered] == codes[q]
        counts[q] = np.cumsum(~own)[own].tolist()
    return counts


def counted(rows, codes, queries, gallery, metric, **options):
    order = by_class(codes, queries, gallery)
    counts = {}
    for first, last, before in ranks.negatives_before(rows, order, metric=metric, **options):
        for q, own, line in zip(
            order.queries[first:last], order.self_positions[first:last], before, strict=True
        ):
            counts[int(q)] = line.tolist()[int(own >= 0) :]
    return {int(q): counts.get(int(q), []) for q in queries}


def made(kind, n, dim, generator):
    rows = torch.randn(n, dim, generator=generator)
    if kind == "duplicates":
        rows[n // 2 :] = rows[: n - n // 2]
    if kind == "collapsed":  # float32 products cannot tell these apart, float64 ones can
        rows = rows[:1] + 2.0**-18 * torch.randint(0, 2, rows.shape, generator=generator)
    return rows


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", ["plain", "duplicates", "collapsed"])
@pytest.mark.parametrize(("n_classes", "tile"), [(30, 768), (2, 768), (30, 17), (2, 17)])
def test_counts_equal_brute_force(metric, kind, n_classes, tile, monkeypatch):
    """Large classes (75 rows) are scored by a matrix product and sorted, small ones neither."""
    monkeypatch.setattr(ranks, "TILE", tile)
    monkeypatch.setattr(ranks, "LARGE_CLASS_TILE", tile)
    generator = torch.Generator().manual_seed(n_classes)
    rows = made(kind, 150, 40, generator)
    codes = torch.randint(0, n_classes, (150,), generator=generator)
    everything = torch.arange(150)
    expected = brute_force(rows, codes, everything, everything, metric)
    assert counted(rows, codes, everything, everything, metric) == expected
    assert counted(rows.double(), codes, everything, everything, metric) == expected
    some, rest = everything[::3], everything[everything % 4 > 0]
    expected = brute_force(rows, codes, some, rest, metric)
    assert counted(rows, codes, some, rest, metric) == expected
    monkeypatch.setattr(ranks, "MAX_ENTRIES", 200)
    assert counted(rows, codes, some, rest, metric) == expected


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_error_bounds_hold_for_float32_products(metric):
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(200, 300, generator=generator, dtype=torch.float64) * 7 + 1
    numbers = torch.arange(200)
    products = Products(rows, metric)
    order = by_class(torch.zeros(200, dtype=torch.int64), numbers, numbers)
    left, right = (
        products.operand(numbers, torch.float32, is_query=is_query) for is_query in (True, False)
    )
    exact = METRICS[metric](rows, rows) / (1 if metric == "ip" else 2)
    error = ((left @ right.T).double() - exact).abs().amax(1)
    assert (error <= products.error_bounds(order, torch.float32)).all()


@pytest.mark.parametrize("metric", ["ip", "l2", None])
def test_counts_of_the_processes_add_up_to_the_counts_of_one(metric, monkeypatch):
    """Each process counts its own tiles only, and not none."""
    monkeypatch.setattr(ranks, "TILE", 16)
    monkeypatch.setattr(ranks, "LARGE_CLASS_TILE", 16)
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(100, 40, generator=generator)
    codes = torch.randint(0, 20, (100,), generator=generator)
    order = by_class(codes, torch.arange(100), torch.arange(100))
    options = {"metric": metric, "similarity": METRICS["ip"]}

    class Process:
        size = 3

        def __init__(self, rank):
            self.rank = rank

        def add(self, counts):
            pass

    def flat(process_group=None):
        found = ranks.negatives_before(rows, order, process_group=process_group, **options)
        return torch.cat([before.flatten() for *_, before in found])

    parts = torch.stack([flat(Process(rank)) for rank in range(3)])
    assert torch.equal(parts.sum(0), flat())
    assert (parts.sum(1) > 0).all()


def test_progress_increases_to_one():
    told = []
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 40)))
    codes = torch.arange(50) % 7
    numbers = torch.arange(50)
    counted(rows, codes, numbers, numbers, "ip", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_nearly_equal_rows_are_ordered_as_exact_arithmetic_orders_them(metric):
    """Rows that differ by 1e-5 in some coordinates: scores agree in up to ten digits."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(1, 40, generator=generator)
    rows = rows + 1e-5 * torch.randint(0, 2, (34, 40), generator=generator)
    codes = torch.randint(0, 5, (34,), generator=generator)
    exact = [[Fraction(float(value)) for value in row] for row in rows]

    def score(i, j):
        if metric == "ip":
            return sum(a * b for a, b in zip(exact[i], exact[j], strict=True))
        return -sum((a - b) ** 2 for a, b in zip(exact[i], exact[j], strict=True))

    expected = {}
    for q in range(34):
        others = sorted((j for j in range(34) if j != q), key=lambda j: (-score(q, j), j))
        own = codes[others] == codes[q]
        expected[q] = (~own).cumsum(0)[own].tolist()
    assert counted(rows, codes, torch.arange(34), torch.arange(34), metric) == expected
