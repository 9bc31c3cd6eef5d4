"""Laws and golden numbers of nDCG, P@k, mAP@k and mMP."""

import itertools

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.metrics import retrieval

GOLDEN = load_golden("ranking_clustering")
CASES = sorted({key.split("/")[0] for key in GOLDEN if "/ndcg@10/" in key})
NAMES = {
    "ndcg": "ndcg@{}",
    "precision": "precision@{}",
    "map_over_relevant": "map@{}_over_all_relevant",
    "map_over_min": "map@{}_over_min_relevant_k",
    "mmp": "mmp@{}",
}
KS = (1, 5, 10, 50, 100)


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers(case):
    rows = torch.nn.functional.normalize(torch.from_numpy(GOLDEN[f"{case}/embeddings"]).double())
    masks = {name: GOLDEN.get(f"{case}/{name}") for name in ("is_query", "is_gallery")}
    found = retrieval(
        rows, GOLDEN[f"{case}/labels"], metric="ip", ranking_ks=KS, ties="index", **masks
    ).rows.ranking
    for k, (name, key) in itertools.product(KS, NAMES.items()):
        place, values = f"{case}/{key.format(k)}", getattr(found[k], name).numpy()
        np.testing.assert_allclose(values, GOLDEN[f"{place}/rows"], atol=1e-6, err_msg=place)
        expected = GOLDEN[f"{place}/mean_over_answerable"]
        assert np.nanmean(values) == pytest.approx(float(expected), rel=1e-9), place


def slow(hits, k, n_relevant):
    """The scores of one ranking, by their definitions."""
    least = min(n_relevant, k)
    gains = [h / np.log2(i + 1) for i, h in enumerate(hits[:k], 1)]
    precisions = [h * np.mean(hits[:i]) for i, h in enumerate(hits[:k], 1)]
    return {
        "ndcg": sum(gains) / sum(1 / np.log2(i + 1) for i in range(1, least + 1)),
        "precision": sum(hits[:k]) / k,
        "map_over_relevant": sum(precisions) / n_relevant,
        "map_over_min": sum(precisions) / least,
        "mmp": sum(hits[:least]) / least,
    }


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_tied_rows_give_the_mean_over_their_orders(k):
    # of the query 0: a hit, then two hits and two misses at one score, then a miss and a hit
    scores = torch.tensor([9.0, 5.0, 3.0, 3.0, 3.0, 3.0, 2.0, 1.0])
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 0])
    found = retrieval(
        scores[:, None], labels, similarity=lambda q, g: 0 * q + g.T, ranking_ks=[k],
        is_query=torch.arange(8) == 0,
    ).rows.ranking[k]  # fmt: skip
    orders = []
    for order in itertools.permutations((2, 3, 4, 5)):
        hits = (labels[[1, *order, 6, 7]] == 0).astype(float)
        orders.append(slow(hits, k, 4))
    for name in NAMES:
        expected = np.mean([one[name] for one in orders])
        assert float(getattr(found, name)[0]) == pytest.approx(expected, abs=1e-13), name


def test_a_perfect_ranking_scores_1_where_it_can():
    rows = torch.eye(3, dtype=torch.float64).repeat_interleave(8, 0)
    found = retrieval(rows, np.repeat([0, 1, 2], 8), metric="ip", ranking_ks=[3, 20]).rows.ranking
    for k, at in found.items():
        for name in ("ndcg", "map_over_min", "mmp"):
            assert getattr(at, name).tolist() == pytest.approx([1.0] * 24, abs=1e-14), (k, name)
    assert found[3].map_over_relevant.tolist() == pytest.approx([3 / 7] * 24)
    assert found[20].precision.tolist() == pytest.approx([7 / 20] * 24)


def test_cutoffs_agree_with_mean_average_precision_within():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(90, 5)).round(1), rng.integers(0, 6, 90)
    found = retrieval(rows, labels, metric="l2", ranking_ks=[10, 1000], cutoffs=[10, 1000]).rows
    for k in (10, 1000):
        torch.testing.assert_close(
            found.ranking[k].map_over_relevant, found.average_precision_within[k]
        )
