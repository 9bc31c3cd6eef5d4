"""Approximate indexes: exact where everything is searched, and their recall is what they miss."""

import numpy as np
import pytest
import torch

from vmf_embeddings.library.search import search
from vmf_embeddings.search import index_recall, nearest
from vmf_embeddings.search.approximate import (
    INDEXES,
    TRAINING_ROWS_PER_LIST,
    ApproximateIndex,
    check_index,
)
from vmf_embeddings.search.index_recall import reach_recall, wilson_interval
from vmf_embeddings.search.nearest import NearestSearch

faiss = pytest.importorskip("faiss")
N, K = 3000, 10


def noise(n=N, dim=32, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def clusters(n=N, dim=32, n_clusters=100, spread=0.1):
    centres = noise(n_clusters, dim, seed=1)
    return centres[torch.arange(n) % n_clusters] + spread * noise(n, dim, seed=2)


def unit(rows):
    return torch.nn.functional.normalize(rows.double(), dim=1)


def whole(index):
    while not index.searches_all:
        index.double_effort()
    return index


def measured(rows, kind, wanted, metric="l2", seed=0, n_queries=200):
    index = ApproximateIndex(rows, metric, kind, K, seed)
    exclude = torch.arange(n_queries)[:, None]
    exact = NearestSearch(rows, metric=metric)
    return index, reach_recall(index, exact, rows[:n_queries], exclude, wanted, seed)


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("dim", [3, 40])
def test_neighbours_are_those_of_exact_search_where_everything_is_searched(kind, metric, dim):
    rows = noise(700, dim)
    rows[100:200] = rows[:100]  # copies, of which the first comes first
    rows[300:360] = rows[5]  # more of them than neighbours
    index = whole(ApproximateIndex(rows, metric, kind, K, seed=0))
    exclude = torch.arange(400)[:, None]
    columns, scores = nearest(rows[:400], rows, K, metric=metric, exclude=exclude)
    found = index.nearest(rows[:400], exclude)
    assert torch.equal(found[0], columns)
    torch.testing.assert_close(found[1], scores, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_index_of_a_few_rows_finds_them(kind, n):
    rows = noise(n, 8)
    index = whole(ApproximateIndex(rows, "l2", kind, n, seed=0))
    columns, _ = index.nearest(rows, torch.full((n, 1), -1))
    assert torch.equal(columns, nearest(rows, rows, n, metric="l2")[0])


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_the_measured_recall_is_that_of_a_slow_count(kind, metric, monkeypatch):
    monkeypatch.setattr(index_recall, "LOWEST_RECALL", 0.0)
    monkeypatch.setattr(ApproximateIndex, "searches_all", True)  # the least effort
    rows = noise(800) if metric == "l2" else unit(noise(800))
    index, recall = measured(rows, kind, 1.0, metric, n_queries=100)
    values = rows.double().numpy()
    hits = 0
    for query in range(100):
        if metric == "ip":
            scores = values @ values[query]
        else:
            scores = -((values - values[query]) ** 2).sum(1)
        scores[query] = -np.inf
        exact = set(np.argsort(-scores, kind="stable")[:K].tolist())
        columns, _ = index.nearest(rows[query : query + 1], torch.tensor([[query]]))
        hits += len(exact & set(columns[0].tolist()))
    assert recall.recall == pytest.approx(hits / (100 * K), abs=1e-12)
    assert recall.recall < 1


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_clusters_need_few_lists_and_noise_many(kind):
    few, found = measured(clusters(), kind, 0.99)
    assert found.recall >= 0.99 and few.effort <= 4 and not found.searches_all
    many, found = measured(noise(), kind, 0.99)
    assert found.recall >= 0.99 and many.effort > few.n_lists / 4
    assert found.parameters["nprobe"] == many.effort
    half = ApproximateIndex(noise(), "l2", kind, K, seed=0)
    while half.effort < many.effort // 2:
        half.double_effort()
    queries, exclude = noise()[:200], torch.arange(200)[:, None]
    exact = NearestSearch(noise(), metric="l2")(queries, K, exclude=exclude)[0]
    columns = half.nearest(queries, exclude)[0]
    assert (columns[:, :, None] == exact[:, None]).any(2).double().mean() < 0.99


def test_a_recall_that_is_too_low_is_refused_and_one_that_is_lower_than_wanted_is_said(monkeypatch):
    monkeypatch.setattr(ApproximateIndex, "searches_all", True)
    with pytest.raises(ValueError, match=r"recall@10 0\.\d+ .*below 0.95 .*leave index out"):
        measured(noise(), "ivf", 0.99)
    monkeypatch.setattr(index_recall, "LOWEST_RECALL", 0.1)
    _, found = measured(noise(), "ivf", 0.99)
    assert found.recall < found.wanted == 0.99 and f"{found.recall:.4f}" in str(found)


def test_a_graph_that_copies_tear_apart_is_refused_where_lists_are_not():
    rows = noise(2000)
    rows[500:1500] = rows[0]
    rows = rows[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(ValueError, match="index hnsw, .*although everything is searched"):
        measured(rows, "hnsw", 0.99)
    assert measured(rows, "ivf", 0.99)[1].recall >= 0.99


@pytest.mark.parametrize("kind", INDEXES)
def test_the_same_seed_finds_the_same_with_one_thread_and_two(kind):
    rows, before = noise(1000, 8), faiss.omp_get_max_threads()
    found = []
    try:
        for n_threads in (1, 2, 2):
            faiss.omp_set_num_threads(n_threads)
            index = ApproximateIndex(rows, "l2", kind, K, seed=3)
            found.append(index.nearest(rows[:300], torch.full((300, 1), -1)))
            assert faiss.omp_get_max_threads() == n_threads
    finally:
        faiss.omp_set_num_threads(before)
    for columns, scores in found[1:]:
        assert torch.equal(columns, found[0][0]) and torch.equal(scores, found[0][1])


def test_training_takes_at_most_256_rows_a_list(monkeypatch):
    monkeypatch.setattr("vmf_embeddings.search.approximate._n_lists", lambda n_rows: 4)
    sizes = []
    train = faiss.IndexIVFFlat.train
    monkeypatch.setattr(
        faiss.IndexIVFFlat, "train", lambda self, rows: sizes.append(len(rows)) or train(self, rows)
    )
    index = ApproximateIndex(noise(), "l2", "ivf", K, seed=0)
    assert sizes == [4 * TRAINING_ROWS_PER_LIST] == [index.parameters()["training_rows"]]


def test_wilson_intervals_hold_the_fraction_in_95_of_100_draws():
    # Brown, Cai, DasGupta 2001, "Interval Estimation for a Binomial Proportion", formula (4)
    z, p, n = 1.959963984540054, 0.97, 200
    half = z * np.sqrt(n) / (n + z**2) * np.sqrt(p * (1 - p) + z**2 / (4 * n))
    middle = (n * p + z**2 / 2) / (n + z**2)
    assert wilson_interval(p, n) == pytest.approx((middle - half, middle + half), abs=1e-12)
    draws = np.random.default_rng(0).binomial(n, p, 2000)
    held = [low <= p <= high for low, high in (wilson_interval(x / n, n) for x in draws)]
    assert 0.93 <= np.mean(held) <= 0.98
    assert wilson_interval(1.0, 50)[1] == 1 and wilson_interval(0.0, 50)[0] == 0


def test_wilson_intervals_of_some_queries_hold_the_recall_of_all():
    rows = noise(2000)
    index, exclude = ApproximateIndex(rows, "l2", "ivf", K, seed=0), torch.arange(2000)[:, None]
    index.effort = 16
    exact = nearest(rows, rows, K, metric="l2", exclude=exclude)[0]
    found = index.nearest(rows, exclude)[0]
    recalls = (found[:, :, None] == exact[:, None]).any(2).double().mean(1).numpy()
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        low, high = wilson_interval(rng.choice(recalls, 100, replace=False).mean(), 100)
        held.append(low <= recalls.mean() <= high)
    assert 0.5 < recalls.mean() < 0.98 and np.mean(held) >= 0.95


@pytest.mark.parametrize("geometry", ["cosine", "euclidean", "vmf"])
def test_search_by_an_index_finds_the_exact_neighbours_and_says_how_many(geometry):
    rows = clusters(1500, 16)
    exclude = np.arange(1500)
    exact = search(rows.numpy(), rows.numpy(), K, geometry, exclude=exclude)
    found = search(rows.numpy(), rows.numpy(), K, geometry, exclude=exclude, index="ivf")
    assert exact.index is None and found.index.n_queries == 1500
    same = (found.indices[:, :, None] == exact.indices[:, None]).any(2).mean()
    assert found.index.recall == pytest.approx(same, abs=1e-3) and same >= 0.99
    assert f"index ivf, recall@{K}" in str(found.index)


def test_more_neighbours_than_rows_leave_places_empty():
    rows = noise(40, 4).numpy()
    found = search(rows[:3], rows[:5], 8, "euclidean", index="hnsw")
    exact = search(rows[:3], rows[:5], 8, "euclidean")
    assert np.array_equal(found.indices, exact.indices) and found.indices[0, -1] == -1
    np.testing.assert_allclose(found.similarities, exact.similarities, atol=1e-10)
    assert search(rows[:3], rows[:0], 8, index="ivf").index is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": "flat"}, "index=flat is unknown; known: ivf, ivfpq, hnsw"),
        ({"index": "ivf", "geometry": "poincare", "curvature": 1}, "geometry poincare: leave"),
        ({"index": "ivf", "precision": "int8"}, "precision and index: expected one of them"),
        ({"index": "ivf", "rerank": "dba"}, "rerank and index: expected one of them"),
        ({"index": "ivf", "index_recall": 0.5}, "index_recall: expected 0.95 to 1, got 0.5"),
        ({"index": "ivf", "k": 0}, "k must be at least 1"),
        ({"index": "ivf", "k": 1025}, "k=1025 needs 1,025 neighbours .* leave index out"),
    ],
)
def test_what_an_index_cannot_do_is_refused(arguments, message):
    rows = 0.01 * noise(1100, 4).numpy()
    with pytest.raises(ValueError, match=message):
        search(rows[:2], rows, **arguments)


def test_without_faiss_the_message_says_what_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install faiss-cpu, or leave index out"):
        check_index("ivf", "ip", "cosine")
