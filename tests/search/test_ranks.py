"""Counts of negatives before positives equal a brute-force float64 count, compiled or not."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.quick_cases import mostly_slow
from vmf_embeddings import native
from vmf_embeddings.search import ranks
from vmf_embeddings.search.by_class import by_class
from vmf_embeddings.search.exact import METRICS
from vmf_embeddings.search.full_lines import FullLineCounts
from vmf_embeddings.search.products import Products


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def compiled_and_torch(request, monkeypatch):
    if request.param == "compiled" and not native.enabled():
        pytest.skip("numba is not installed or switched off")
    monkeypatch.setenv(native.SWITCH, "1" if request.param == "compiled" else "0")


@pytest.fixture
def threads():
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def brute_force(rows, codes, queries, gallery, metric, images=None):
    """{query: its ties counted apart, and by row number}: see `counted` for both."""
    rows, codes, places = rows.numpy().astype(np.longdouble), codes.numpy(), gallery.numpy()
    images = np.arange(len(rows)) if images is None else images.numpy()
    shared, by_index = {}, {}
    for q in queries.tolist():
        others = places[images[places] != images[q]]
        products = rows[q] * rows[others]
        scores = products.sum(1) if metric == "ip" else -np.square(rows[q] - rows[others]).sum(1)
        order = np.argsort(-scores, kind="stable")
        scores, own = scores[order], codes[others[order]] == codes[q]
        by_index[q] = np.cumsum(~own)[own].tolist()
        # sums of 40 terms of this type err by far less
        noise = 1e-17 * np.abs(products).sum(1).max()
        shared[q] = [
            (int((scores[~own] > score + noise).sum()),
             *(int((abs(scores[of] - score) <= noise).sum()) for of in (~own, own)))
            for score in scores[own]
        ]  # fmt: skip
    return shared, by_index


def counted(rows, codes, queries, gallery, metric, *, images=None, share_ties=False, **options):
    """{query: negatives before each positive; with `share_ties` also negatives, positives tied}."""
    order = by_class(codes, queries, gallery, images)
    counts = {}
    for ranked in ranks.negatives_before(
        rows, order, metric=metric, share_ties=share_ties, **options
    ):
        lines = range(ranked.first, ranked.last)
        for i, query in enumerate(lines):
            left_out = int(order.class_sizes[query] - order.n_relevant[query])
            left_out = 0 if options.get("best_only") else left_out
            found = [ranked.before, ranked.tied, ranked.n_equal] if share_ties else [ranked.before]
            lists = [values[i].tolist()[left_out:] for values in found]
            counts[int(order.queries[query])] = (
                list(zip(*lists, strict=True)) if share_ties else lists[0]
            )
    return {int(q): counts.get(int(q), []) for q in queries}


def assert_counted(rows, codes, queries, gallery, metric, images=None):
    shared, by_index = brute_force(rows, codes, queries, gallery, metric, images)
    options = {"metric": metric, "images": images}
    assert counted(rows, codes, queries, gallery, **options) == by_index
    assert counted(rows, codes, queries, gallery, share_ties=True, **options) == shared
    # the nearest positive by itself
    alone = counted(rows, codes, queries, gallery, best_only=True, **options)
    assert {q: line[:1] for q, line in by_index.items()} == only_nearest(alone, by_index)
    alone = counted(rows, codes, queries, gallery, best_only=True, share_ties=True, **options)
    assert {q: line[:1] for q, line in shared.items()} == only_nearest(alone, shared)


def only_nearest(found, expected):
    return {q: found[q] if expected[q] else [] for q in found}


def made(kind, n, dim, generator):
    rows = torch.randn(n, dim, generator=generator)
    if kind == "duplicates":
        rows[n // 2 :] = rows[: n - n // 2]
    if kind == "collapsed":  # float32 products cannot tell these apart, float64 ones can
        rows = rows[:1] + 2.0**-18 * torch.randint(0, 2, rows.shape, generator=generator)
    return rows


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", ["plain", "duplicates", "collapsed"])
@pytest.mark.parametrize(
    ("n_classes", "tile", "n_threads"),
    mostly_slow([(30, 768, 1), (2, 768, 1), (30, 17, 3), (2, 17, 3)], [(30, 768, 1), (2, 17, 3)]),
)
def test_counts_equal_brute_force(metric, kind, n_classes, tile, n_threads, monkeypatch, threads):
    """Large classes (75 rows) are scored by a matrix product and sorted, small ones neither."""
    threads(n_threads)
    monkeypatch.setattr(ranks, "TILE", tile)
    monkeypatch.setattr(ranks, "LARGE_CLASS_TILE", tile)
    generator = torch.Generator().manual_seed(n_classes)
    rows = made(kind, 150, 40, generator)
    codes = torch.randint(0, n_classes, (150,), generator=generator)
    everything = torch.arange(150)
    assert_counted(rows, codes, everything, everything, metric)
    assert_counted(rows.double(), codes, everything, everything, metric)
    some, rest = everything[::3], everything[everything % 4 > 0]
    assert_counted(rows, codes, some, rest, metric)
    monkeypatch.setattr(ranks, "MAX_ENTRIES", 200)
    assert_counted(rows, codes, some, rest, metric)


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
        return torch.cat([ranked.before.flatten() for ranked in found])

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


@pytest.fixture(params=["tiles", "lines"])
def by_tiles_and_lines(request, monkeypatch):
    """Counts of tiles, and of whole lines as on a GPU."""
    if request.param == "lines":

        def lines(products, *arguments):
            metric = "l2" if products.squared else "ip"
            return FullLineCounts(products.rows, metric, None, *arguments)

        monkeypatch.setattr(ranks, "_TileCounts", lines)


@pytest.mark.usefixtures("by_tiles_and_lines")
@pytest.mark.parametrize("n_classes", [60, 4])
@pytest.mark.parametrize("longer", [1e6, 1e9])
def test_a_very_long_row_ties_no_others(n_classes, longer):
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(rng.normal(size=(300, 40)).astype(np.float32))
    codes = torch.arange(300) % n_classes
    wanted, _ = brute_force(rows, codes, torch.arange(300), torch.arange(300), "l2")
    every = torch.cat([rows, torch.full((1, 40), longer)])
    of_every = torch.cat([codes, torch.tensor([n_classes])])
    found = counted(every, of_every, torch.arange(301), torch.arange(301), "l2", share_ties=True)
    assert {q: found[q] for q in range(300)} == wanted


@pytest.mark.usefixtures("by_tiles_and_lines")
@pytest.mark.parametrize("n_classes", [40, 4])
@pytest.mark.parametrize("shift", [0.0, 0.1, 1000.0])
def test_equal_distances_tie_beside_a_very_long_row_and_far_from_the_origin(n_classes, shift):
    rng = np.random.default_rng(4)
    codes_of_signs = np.sign(rng.normal(size=(200, 40)))
    # exact numbers, and the same with the rounding of the last bits of 0.1 and 1000
    rows = torch.from_numpy(0.3 * codes_of_signs + shift)
    rows = torch.cat([rows, torch.full((1, 40), 1e6, dtype=torch.float64)])
    classes = torch.arange(201) % n_classes
    classes[200] = n_classes
    exact = torch.from_numpy(np.concatenate([codes_of_signs, np.full((1, 40), 1e6)]))
    every = torch.arange(201)
    found = counted(rows, classes, every, every, "l2", share_ties=True)
    wanted, _ = brute_force(exact, classes, every, every, "l2")
    assert {q: found[q] for q in range(200)} == {q: wanted[q] for q in range(200)}
