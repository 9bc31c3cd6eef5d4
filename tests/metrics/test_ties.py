"""Expected scores of tied rows are the means over all their orders."""

import itertools

import numpy as np
import pytest
import torch

from vmf_embeddings import native
from vmf_embeddings.geometry import Cosine, Euclidean, Poincare, VonMisesFisher
from vmf_embeddings.metrics import marginal_retrieval, retrieval
from vmf_embeddings.metrics.marginal_retrieval import majority
from vmf_embeddings.metrics.ties import recall, reciprocal_rank
from vmf_embeddings.search import ranks

KS, CUTOFFS = (1, 2, 3, 5), (2, 4, 1000, "class_size")


@pytest.fixture(params=["compiled", "torch"])
def compiled_and_torch(request, monkeypatch):
    if request.param == "compiled" and not native.enabled():
        pytest.skip("numba is not installed or switched off")
    monkeypatch.setenv(native.SWITCH, "1" if request.param == "compiled" else "0")


def scores_of_order(hits):
    """All scores of one ranking, from whether each row is a positive."""
    n_relevant = sum(hits)
    found = {f"recall@{k}": float(any(hits[:k])) for k in KS}
    found["mrr"] = 1 / (hits.index(True) + 1) if any(hits) else 0.0
    if n_relevant == 0:
        return found
    precision = [sum(hits[: i + 1]) / (i + 1) * hit for i, hit in enumerate(hits)]
    found["r_precision"] = sum(hits[:n_relevant]) / n_relevant
    found["map@r"] = sum(precision[:n_relevant]) / n_relevant
    found["map"] = sum(precision) / n_relevant
    for cutoff in CUTOFFS:
        most = n_relevant + 1 if cutoff == "class_size" else cutoff
        found[f"within {cutoff}"] = sum(precision[:most]) / n_relevant
    return found


def mean_over_orders(levels, hits):
    """Mean of `scores_of_order` over all orders of rows of equal level, highest first."""
    runs = [[h for lv, h in zip(levels, hits, strict=True) if lv == x] for x in sorted(set(levels))]
    orders = [sorted(set(itertools.permutations(run))) for run in runs[::-1]]  # equally frequent
    every = [scores_of_order(sum(order, ())) for order in itertools.product(*orders)]
    return {name: np.mean([one[name] for one in every]) for name in every[0]}


def found_of(scores, query):
    rows = scores.rows
    found = {f"recall@{k}": rows.recall[k] for k in KS}
    found |= {
        "mrr": rows.reciprocal_rank, "r_precision": rows.r_precision,
        "map@r": rows.average_precision_at_r, "map": rows.average_precision,
    }  # fmt: skip
    found |= {f"within {c}": values for c, values in rows.average_precision_within.items()}
    return {name: float(values[query]) for name, values in found.items()}


def levels_of(rows, query, others):
    """Integers that order the others as the similarities do."""
    return [-int(((rows[query] - rows[j]) ** 2).sum()) for j in others]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.usefixtures("compiled_and_torch")
def test_every_score_is_its_mean_over_all_orders_of_tied_rows(masks):
    rng = np.random.default_rng(int(masks))
    rows, labels = rng.integers(0, 2, size=(12, 3)), rng.integers(0, 3, size=12)
    is_query, is_gallery = np.ones(12, bool), np.ones(12, bool)
    if masks:
        is_query, is_gallery = np.arange(12) % 3 > 0, np.arange(12) % 4 > 0
    scores = retrieval(
        rows.astype(np.float32), labels, metric="l2", ks=KS, cutoffs=CUTOFFS, is_query=is_query,
        is_gallery=is_gallery,
    )  # fmt: skip
    only = retrieval(
        rows.astype(np.float32), labels, metric="l2", ks=KS, is_query=is_query,
        is_gallery=is_gallery, only_recall=True,
    )  # fmt: skip
    for place, query in enumerate(np.flatnonzero(is_query)):
        others = [j for j in np.flatnonzero(is_gallery) if j != query]
        hits = [bool(labels[j] == labels[query]) for j in others]
        expected = mean_over_orders(levels_of(rows, query, others), hits)
        found = found_of(scores, place)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-13)
        for k in KS:
            assert float(only.rows.recall[k][place]) == pytest.approx(expected[f"recall@{k}"])
        assert float(only.rows.reciprocal_rank[place]) == pytest.approx(expected["mrr"])


@pytest.mark.parametrize("n_classes", [2, 40])
@pytest.mark.usefixtures("compiled_and_torch")
def test_scores_of_tied_rows_ignore_the_order_of_rows(n_classes, monkeypatch):
    """Codes of signs: cosines tie, but their sums round differently in every order and tile."""
    monkeypatch.setattr(ranks, "TILE", 32)
    monkeypatch.setattr(ranks, "LARGE_CLASS_TILE", 32)
    generator = torch.Generator().manual_seed(n_classes)
    rows = torch.randint(0, 2, (240, 35), generator=generator).double() * 2 - 1
    rows[200:] = rows[:40]  # some coincide
    rows[7] = rows[8] = 0  # and two have no direction
    labels = torch.randint(0, n_classes, (240,), generator=generator)
    order = torch.randperm(240, generator=generator)
    unit = Cosine().project(rows)
    one = retrieval(unit, labels, metric="ip", ks=KS, cutoffs=CUTOFFS)
    # the inner products of the signs themselves are whole numbers, without any rounding
    rows[7] = rows[8] = 0
    for values, chosen in ((unit, order), (rows, torch.arange(240))):
        other = retrieval(values[chosen], labels[chosen], metric="ip", ks=KS, cutoffs=CUTOFFS)
        for query in range(0, 240, 7):
            place = int((chosen == query).nonzero())
            assert found_of(other, place) == pytest.approx(
                found_of(one, query), abs=1e-12, nan_ok=True
            )
    assert int(one.rows.tied.sum()) > 200


@pytest.mark.parametrize(
    "geometry", [Cosine(), Euclidean(), VonMisesFisher(), Poincare(0.5)], ids=lambda g: g.name
)
@pytest.mark.usefixtures("compiled_and_torch")
def test_rows_that_all_coincide_score_what_chance_does(geometry):
    labels = np.arange(60) % 4
    for order in (labels, np.sort(labels)):
        rows = geometry.project(torch.full((60, 8), 0.3, dtype=torch.float64))
        scores = retrieval(
            rows, order, similarity=geometry.similarity, metric=geometry.faiss_metric, ks=(1, 8)
        )
        assert scores.recall[1] == pytest.approx(14 / 59, abs=1e-12)
        miss = np.prod([(45 - i) / (59 - i) for i in range(8)])
        assert scores.recall[8] == pytest.approx(1 - miss, abs=1e-12)
        assert scores.r_precision == pytest.approx(14 / 59, abs=1e-12)
        assert bool(scores.rows.tied.all())


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize(("n", "n_classes"), [(300, 100), (300, 2)])
def test_without_ties_the_rules_agree_to_the_last_bit(metric, n, n_classes):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, 40, generator=generator)
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    options = {"metric": metric, "ks": KS, "cutoffs": CUTOFFS}
    by_rule = [retrieval(rows, labels, ties=t, **options) for t in ("expected", "index")]
    one, other = (vars(scores.rows) for scores in by_rule)
    for name, values in one.items():
        if not isinstance(values, dict):
            values, others = {0: values}, {0: other[name]}
        else:
            others = other[name]
        for key in values:
            torch.testing.assert_close(values[key], others[key], rtol=0, atol=0, equal_nan=True)


def test_the_first_hit_of_a_long_run_is_exact():
    """C(n, j) / C(t, j) for p = 1 is 1 - j / t; 1 / rank is a difference of harmonic numbers."""
    before, one, many = torch.tensor([5]), torch.tensor([1]), torch.tensor([9_999])
    assert float(recall(before, one, many, 1005)) == pytest.approx(0.1, abs=1e-12)
    expected = sum(1 / i for i in range(6, 10_006)) / 10_000
    assert float(reciprocal_rank(before, one, many)) == pytest.approx(expected, abs=1e-15)
    assert float(recall(before, many, one, 6)) == pytest.approx(0.9999, abs=1e-12)


def test_votes_over_draws_are_independent():
    """Two of three votes: p^2 (3 - 2 p) for equal p."""
    p = torch.tensor([0.0, 0.25, 1.0]).double()
    torch.testing.assert_close(majority(p.repeat(3, 1)), p**2 * (3 - 2 * p))
    alike, labels = np.ones((4, 2)), [0, 0, 1, 1]
    found = marginal_retrieval([alike] * 3, labels, metric="l2")
    assert found.recall[1] == pytest.approx(7 / 27)  # p = 1/3
    assert found.mean_reciprocal_rank == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_an_unknown_rule_for_ties_is_refused():
    with pytest.raises(ValueError, match="known: expected, index"):
        retrieval(np.eye(3), [0, 1, 1], metric="ip", ties="lowest")
