"""Retrieval scores equal a slow loop, the stored reference numbers, and keep their laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import cases, load_golden
from vmf_embeddings import native
from vmf_embeddings.geometry import Cosine, Euclidean, Poincare, PoincareReference
from vmf_embeddings.metrics import retrieval


def slow_scores(rows, labels, ks, is_query, is_gallery):
    """Query by query, neighbour by neighbour, from squared distances."""
    recall, ap, precision, without = {k: [] for k in ks}, [], [], 0
    whole, reciprocal = [], []
    for i in np.flatnonzero(is_query):
        others = [j for j in np.flatnonzero(is_gallery) if j != i]
        others.sort(key=lambda j: (((rows[i] - rows[j]) ** 2).sum(), j))
        hits = [labels[j] == labels[i] for j in others]
        for k in ks:
            recall[k].append(any(hits[:k]))
        reciprocal.append(1 / (hits.index(True) + 1) if any(hits) else 0)
        n_relevant = sum(hits)
        if n_relevant == 0:
            without += 1
            continue
        places = [r for r, hit in enumerate(hits, 1) if hit]
        whole.append(sum(k / r for k, r in enumerate(places, 1)) / n_relevant)
        top = hits[:n_relevant]
        precision.append(sum(top) / n_relevant)
        ap.append(sum(sum(top[: r + 1]) / (r + 1) for r, hit in enumerate(top) if hit) / n_relevant)
    mean = np.mean if ap else (lambda values: math.nan)
    means = mean(ap), mean(precision), mean(whole), np.mean(reciprocal)
    return {k: np.mean(v) for k, v in recall.items()}, means, without


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def both_paths(request):
    """Every test runs with the compiled kernels and without them."""
    if request.param == "compiled" and not native.enabled():
        pytest.skip("numba is not installed or switched off")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(native.SWITCH, "1" if request.param == "compiled" else "0")
        yield


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(1, 8), st.booleans())
def test_with_ties_by_index_equals_a_slow_loop_with_singletons_and_masks(seed, n, n_classes, masks):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(n, 2)).astype(np.float32)
    labels = rng.integers(0, n_classes, size=n) * 7 - 3
    is_query, is_gallery = np.ones(n, bool), np.ones(n, bool)
    if masks:
        is_query, is_gallery = rng.random(n) < 0.6, rng.random(n) < 0.6
        is_query[0] = is_gallery[-1] = True
    ks = (1, 2, 5)
    expected = slow_scores(rows, labels, ks, is_query, is_gallery)
    masks = {"is_query": is_query, "is_gallery": is_gallery}
    scores = retrieval(rows, labels, metric="l2", ks=ks, ties="index", **masks)
    assert scores.recall == pytest.approx(expected[0], abs=1e-15)
    found = (scores.map_at_r, scores.r_precision,
             scores.mean_average_precision, scores.mean_reciprocal_rank)  # fmt: skip
    assert found == pytest.approx(expected[1], abs=1e-14, nan_ok=True)
    assert scores.n_without_positive == expected[2]
    assert scores.n_queries == is_query.sum()


GOLDEN = load_golden("retrieval_metrics")


def golden_rows(case):
    """Projected rows, labels, similarity and metric; one case of a family has its arrays."""
    family = [c for c in cases(GOLDEN) if c.split("_")[0] == case.split("_")[0]]
    owner = next(c for c in [case, *family] if f"{c}/embeddings" in GOLDEN)
    rows = torch.from_numpy(GOLDEN[f"{owner}/embeddings"]).double()
    labels, mode = GOLDEN[f"{owner}/ids"], str(GOLDEN[f"{case}/mode"])
    if mode == "hyperbolic":
        geometry = Poincare(float(GOLDEN[f"{case}/c"]))
        return geometry.project(rows), labels, geometry, None
    geometry = {"l2": Cosine(), "none": Euclidean()}[mode]
    return geometry.project(rows), labels, geometry, geometry.faiss_metric


def assert_golden(case, scores, atol_recall, atol_map):
    assert scores.recall[1] == pytest.approx(float(GOLDEN[f"{case}/recall_at_1"]), abs=atol_recall)
    assert scores.map_at_r == pytest.approx(float(GOLDEN[f"{case}/map_at_r_nanmean"]), abs=atol_map)
    assert scores.n_without_positive == GOLDEN[f"{case}/n_rows_without_positive"]


HYPERBOLIC = [c for c in cases(GOLDEN) if str(GOLDEN[f"{c}/mode"]) == "hyperbolic"]


@pytest.mark.parametrize("case", [c for c in cases(GOLDEN) if c not in HYPERBOLIC])
def test_golden(case):
    rows, labels, _, metric = golden_rows(case)
    scores = retrieval(rows, labels, metric=metric, ties="index")
    assert_golden(case, scores, 1e-15, 1e-12)
    np.testing.assert_allclose(
        scores.rows.average_precision_at_r, GOLDEN[f"{case}/ap_per_row"], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("case", HYPERBOLIC)
def test_hyperbolic_golden(case):
    """With the 2021 distance the numbers are 2021's; the exact one moves few neighbours.

    2021's distance saturates near the border, at c = 1 for many pairs, which then tie: 2/N and 1e-4
    are the tolerances that its numbers come with. The exact distance tells those pairs apart.
    """
    rows, labels, geometry, _ = golden_rows(case)
    saturates = geometry.c == 1

    reference = PoincareReference(geometry.c)
    scores = retrieval(rows, labels, similarity=reference.similarity, ties="index")
    atol_recall = 2 / len(labels) if saturates else 1e-15
    assert_golden(case, scores, atol_recall, 1e-4 if saturates else 1e-12)
    exact = retrieval(rows, labels, similarity=geometry.similarity)
    assert_golden(case, exact, 2 / len(labels), 5e-4 if saturates else 5e-6)


def test_equals_the_numbers_of_a_metric_learning_library():
    try:
        data = load_golden("pml_accuracy")
    except FileNotFoundError:
        pytest.skip("these numbers are in the full golden set only")
    for case in cases(data):
        rows, labels = data[f"{case}/embeddings"], data[f"{case}/labels"]
        scores = retrieval(rows, labels, metric="l2", ties="index")
        # that library leaves queries without a positive out of precision@1 too
        share = scores.recall[1] * scores.n_queries / (scores.n_queries - scores.n_without_positive)
        expected = {
            name: float(data[f"{case}/{name}"])
            for name in ("precision_at_1", "r_precision", "mean_average_precision_at_r")
        }
        assert share == pytest.approx(expected["precision_at_1"], abs=1e-12)
        assert scores.r_precision == pytest.approx(expected["r_precision"], abs=1e-12)
        assert scores.map_at_r == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-12)


def clustered(n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (n,), generator=generator)
    centres = torch.randn(6, 5, generator=generator)
    return centres[labels] + 0.8 * torch.randn(n, 5, generator=generator), labels


def test_scores_ignore_the_order_of_rows_and_the_names_of_classes():
    rows, labels = clustered()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    names = np.array([f"class {9 - label}" for label in labels])
    first = retrieval(rows, labels, metric="l2", ks=(1, 4))
    second = retrieval(rows[order], names[order], metric="l2", ks=(1, 4))
    assert first.recall == second.recall
    assert first.map_at_r == pytest.approx(second.map_at_r, abs=1e-14)
    np.testing.assert_array_equal(first.rows.first_hit[order], second.rows.first_hit)


def test_perfect_clusters_score_one_and_recall_grows_with_k():
    rows, labels = clustered()
    apart = torch.nn.functional.one_hot(labels).double()
    perfect = retrieval(apart, labels, metric="ip", ks=(1, 2))
    assert (perfect.recall[1], perfect.map_at_r, perfect.r_precision) == (1, 1, 1)
    recall = list(retrieval(rows, labels, metric="l2", ks=range(1, 60)).recall.values())
    assert recall == sorted(recall)
    assert recall[-1] == 1.0
    assert recall[0] < 1.0


def test_exact_duplicates_of_another_class_are_misses():
    """Dropping the first neighbour instead of the query itself would score 1/2 here."""
    rows = torch.eye(4).repeat_interleave(2, 0)
    labels = torch.arange(8) % 2 + 2 * (torch.arange(8) // 4)
    assert retrieval(rows, labels, metric="ip").recall[1] == 0.0


def test_query_in_gallery_never_finds_itself_but_others_do():
    rows = torch.tensor([[0.0], [0.1], [9.0]])
    scores = retrieval(
        rows, [0, 0, 1], metric="l2", is_query=[True] * 3, is_gallery=[True, False, True]
    )
    assert scores.rows.first_hit.tolist() == [0, 1, 0]
    assert scores.n_without_positive == 2


@pytest.mark.parametrize("k", [1, 3, 1000])
def test_precision_within_a_cutoff_equals_a_slow_loop(k):
    rows, labels = clustered()
    labels[0] = 99  # alone
    found = retrieval(rows, labels, metric="l2", cutoffs=(k, "class_size"))
    order = torch.cdist(rows, rows).fill_diagonal_(torch.inf).argsort(1)[:, :-1]
    hits = (labels[order] == labels[:, None]).double()
    summands = hits * hits.cumsum(1) / torch.arange(1, len(rows))
    n_relevant = hits.sum(1)
    expected = summands[:, :k].sum(1) / n_relevant
    assert found.map_within(k) == pytest.approx(float(expected.nanmean()), abs=1e-14)
    reference = summands[:, :k].sum(1) / (n_relevant + 1)
    assert found.map_within_reference(k) == pytest.approx(float(reference.mean()), abs=1e-14)
    own = [
        float(s[: int(r) + 1].sum() / (r + 1)) for s, r in zip(summands, n_relevant, strict=True)
    ]
    assert found.map_within_reference("class_size") == pytest.approx(np.mean(own), abs=1e-14)


def test_a_wide_cutoff_is_the_whole_gallery_and_changes_no_other_score():
    rows, labels = clustered()
    plain, wide = (retrieval(rows, labels, metric="l2", cutoffs=c) for c in ((), (1000,)))
    assert wide.map_within(1000) == pytest.approx(plain.mean_average_precision, abs=1e-14)
    assert (wide.recall, wide.map_at_r, wide.r_precision, wide.mean_average_precision) == (
        plain.recall, plain.map_at_r, plain.r_precision, plain.mean_average_precision
    )  # fmt: skip


def test_only_recall_gives_the_same_recall():
    rows, labels = clustered()
    whole = retrieval(rows, labels, metric="l2", ks=(1, 3))
    part = retrieval(rows, labels, metric="l2", ks=(1, 3), only_recall=True)
    assert whole.recall == part.recall
    assert whole.mean_reciprocal_rank == part.mean_reciprocal_rank
    assert math.isnan(part.map_at_r)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": ()}, "must be 1 or more"),
        ({"ks": (0,)}, "must be 1 or more"),
        ({"is_query": np.zeros(3, bool)}, "0 queries"),
        ({"is_gallery": np.zeros(3)}, "must be bool"),
        ({"metric": "cosine"}, "unknown"),
        ({"metric": None}, "got neither"),
        ({"cutoffs": (0,)}, "got 0"),
        ({"cutoffs": ("r",)}, "got 'r'"),
        ({"cutoffs": (5,), "only_recall": True}, "leave only_recall out"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        retrieval(np.ones((3, 2)), [0, 1, 1], **{"metric": "l2", **options})
