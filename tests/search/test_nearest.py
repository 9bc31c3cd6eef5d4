"""Neighbours are those of a slow loop, in every backend, ties and self-exclusion included."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vmf_embeddings.search import NearestSearch, nearest
from vmf_embeddings.search import candidates as candidates_module
from vmf_embeddings.search import exact as exact_module
from vmf_embeddings.search.exact import METRICS, first_identical_row, top_k
from vmf_embeddings.search.nearest import uses_faiss

BACKENDS = ["torch", "faiss"]


def slow_nearest(queries, gallery, k, metric, exclude):
    """One query at a time, one gallery row at a time, Python's own sort."""
    answer = np.full((len(queries), k), -1)
    queries, gallery = queries.double().numpy(), gallery.double().numpy()
    for i, query in enumerate(queries):
        scored = []
        for j, row in enumerate(gallery):
            if j != exclude[i]:
                score = (query * row).sum() if metric == "ip" else -((query - row) ** 2).sum()
                scored.append((-score, j))
        found = [j for _, j in sorted(scored)[:k]]
        answer[i, : len(found)] = found
    return answer


def random_rows(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize(("n_gallery", "dim", "k"), [(40, 3, 5), (300, 40, 2), (5, 64, 9)])
def test_agrees_with_a_slow_loop(backend, metric, n_gallery, dim, k):
    gallery, queries = random_rows(n_gallery, dim, 0), random_rows(30, dim, 1)
    exclude = torch.arange(30) % (n_gallery + 1) - 1
    indices, scores = nearest(queries, gallery, k, metric=metric, exclude=exclude, backend=backend)
    np.testing.assert_array_equal(indices, slow_nearest(queries, gallery, k, metric, exclude))
    assert torch.equal(scores == -torch.inf, indices == -1)
    expected = METRICS[metric](queries.double(), gallery.double()).gather(1, indices.clamp_min(0))
    found = indices >= 0
    # 1e-12: float64 sums of at most 64 products, in another order
    torch.testing.assert_close(scores[found], expected[found], rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_go_to_the_lowest_index_on_grids_full_of_duplicates(data):
    dim = data.draw(st.integers(1, 40))
    n = data.draw(st.integers(1, 60))
    k = data.draw(st.integers(1, 12))
    seed = data.draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-1, 2, (n, dim), generator=generator).float()
    rows = rows[torch.randint(0, n, (n,), generator=generator)]
    metric = data.draw(st.sampled_from(["ip", "l2"]))
    exclude = torch.arange(n)
    answers = [
        nearest(rows, rows, k, metric=metric, exclude=exclude, backend=b)[0] for b in BACKENDS
    ]
    assert torch.equal(*answers)
    np.testing.assert_array_equal(answers[0], slow_nearest(rows, rows, k, metric, exclude))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_neighbours_closer_than_float32_can_tell_are_still_ordered(backend, metric):
    """Rows 1e-5 apart beside a norm of 1: squared distances drown in float32's 1e-7."""
    generator = torch.Generator().manual_seed(3)
    centre = torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
    rows = centre + 1e-5 * torch.randn(3000, 64, generator=generator)
    indices, _ = nearest(rows[:20], rows, 5, metric=metric, backend=backend)
    np.testing.assert_array_equal(indices, slow_nearest(rows[:20], rows, 5, metric, [-1] * 20))


def test_the_backends_agree_to_the_index_where_candidates_are_used():
    rows = torch.nn.functional.normalize(random_rows(2000, 48, 5), dim=1)
    for metric in ("ip", "l2"):
        both = [
            nearest(rows, rows, 10, metric=metric, exclude=torch.arange(2000), backend=b)
            for b in BACKENDS
        ]
        assert torch.equal(both[0][0], both[1][0])
        assert torch.equal(both[0][1], both[1][1])
        own = nearest(rows, rows, 10, similarity=METRICS[metric], exclude=torch.arange(2000))
        assert torch.equal(own[0], both[0][0])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("dim", [2, 16, 48])
def test_the_backends_order_neighbours_alike_that_differ_in_the_last_digits_only(dim, metric):
    """Rows 1e-8 apart: their scores differ by what another order of summation would change."""
    generator = torch.Generator().manual_seed(dim)
    centres = torch.randn(400, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(2000, dim, generator=generator, dtype=torch.float64)
    rows = torch.nn.functional.normalize(centres.repeat(5, 1) + 1e-8 * noise, dim=1)
    own = torch.arange(2000)
    both = [nearest(rows, rows, 5, metric=metric, exclude=own, backend=b) for b in BACKENDS]
    assert torch.equal(both[0][0], both[1][0])


def test_self_is_left_out_by_index_not_by_rank():
    """Among exact duplicates the query need not come first, yet it alone must be missing."""
    rows = torch.ones(6, 4)
    indices, _ = nearest(rows, rows, 5, metric="ip", exclude=torch.arange(6), backend="torch")
    for i in range(6):
        assert indices[i].tolist() == [j for j in range(6) if j != i]


def test_any_similarity_can_be_searched_and_blocks_do_not_matter(monkeypatch):
    rows = random_rows(50, 4, 7)

    def manhattan(queries, gallery):
        return -torch.cdist(queries, gallery, p=1)

    whole = nearest(rows, rows, 7, similarity=manhattan)
    monkeypatch.setattr(exact_module, "BLOCK_ELEMENTS", 130)
    assert torch.equal(whole[0], nearest(rows, rows, 7, similarity=manhattan)[0])
    expected = manhattan(rows.double(), rows.double()).sort(1, descending=True).indices[:, :7]
    assert torch.equal(whole[0], expected)


def test_candidate_blocks_do_not_matter(monkeypatch):
    rows = random_rows(700, 40, 8)
    whole = nearest(rows, rows, 3, metric="l2", backend="torch")
    monkeypatch.setattr(candidates_module, "BLOCK_ELEMENTS", 5000)
    part = nearest(rows, rows, 3, metric="l2", backend="torch")
    assert torch.equal(whole[0], part[0])
    assert torch.equal(whole[1], part[1])


def test_a_prepared_gallery_answers_as_the_function_does():
    rows = random_rows(200, 33, 9)
    search = NearestSearch(rows, metric="ip", backend="torch")
    for k in (1, 2, 150, 250):
        assert torch.equal(search(rows, k)[0], nearest(rows, rows, k, metric="ip")[0])


def test_no_query_and_no_gallery_row_are_fine():
    assert nearest(torch.zeros(0, 3), torch.ones(4, 3), 2, metric="ip")[0].shape == (0, 2)
    assert (
        nearest(torch.ones(2, 3), torch.zeros(0, 3), 2, metric="ip")[0].tolist() == [[-1] * 2] * 2
    )


def test_first_identical_row_finds_duplicates_and_both_zeros():
    rows = torch.tensor([[1.0, 0.0], [2.0, 3.0], [1.0, -0.0], [2.0, 3.0], [3.0, 2.0]]).double()
    assert first_identical_row(rows).tolist() == [0, 1, 0, 1, 4]
    assert first_identical_row(rows[[0, 1, 4]]) is None


def test_top_k_cuts_ties_at_the_lowest_columns():
    scores = torch.tensor([[1.0, 2.0, 1.0, 1.0, 0.0, 2.0]])
    columns, values = top_k(scores, 4)
    assert columns.tolist() == [[1, 5, 0, 2]]
    assert values.tolist() == [[2.0, 2.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "fais", "metric": "ip"}, "known: auto, torch, faiss"),
        ({"metric": "cosine"}, "known: ip, l2"),
        ({}, "needs a similarity or a metric"),
        ({"backend": "faiss", "similarity": METRICS["ip"]}, "search=torch"),
    ],
)
def test_wrong_arguments_say_what_to_type(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearest(torch.ones(2, 3), torch.ones(2, 3), 1, **arguments)


def test_wrong_values_are_refused():
    good = torch.ones(2, 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        nearest(good, good, 0, metric="ip")
    with pytest.raises(ValueError, match="differ in columns"):
        nearest(torch.ones(2, 4), good, 1, metric="ip")
    with pytest.raises(ValueError, match="gallery holds NaN"):
        nearest(good, good * torch.nan, 1, metric="ip")
    with pytest.raises(ValueError, match="queries hold NaN"):
        nearest(good * torch.inf, good, 1, metric="ip")


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dim", [4, 40])
def test_several_rows_can_be_left_out_for_each_query(metric, backend, dim):
    generator = torch.Generator().manual_seed(dim)
    rows = torch.randn(700, dim, generator=generator)
    exclude = torch.randint(-1, 700, (50, 30), generator=generator)
    found, _ = nearest(rows[:50], rows, 3, metric=metric, exclude=exclude, backend=backend)
    allowed, _ = nearest(rows[:50], rows, 700, metric=metric)
    for line, left_out, every in zip(found, exclude, allowed, strict=True):
        kept = every[~torch.isin(every, left_out)]
        assert torch.equal(line, kept[:3])
    with pytest.raises(ValueError, match=r"\[50\] or \[50, E\]"):
        nearest(rows[:50], rows, 3, metric=metric, exclude=exclude[:7])


def test_auto_leaves_the_rows_of_a_gpu_to_torch():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    has_faiss = importlib.util.find_spec("faiss") is not None
    assert [uses_faiss("auto", device) for device in (cpu, cuda)] == [has_faiss, False]
    assert all(uses_faiss("faiss", device) for device in (cpu, cuda))
    assert not any(uses_faiss("torch", device) for device in (cpu, cuda))
