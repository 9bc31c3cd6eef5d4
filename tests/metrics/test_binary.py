"""Laws of ROC, AUROC and average precision."""

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics.binary import (
    auroc,
    auroc_influence,
    average_precision,
    fpr_at_tpr,
    roc,
    weighted_auroc,
)


def rows(n=200, distinct=20, seed=0):
    """Scores with many ties, and positive rows that tend to score more."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, distinct, (n,), generator=generator).double()
    chance = torch.rand(n, generator=generator)
    return scores, chance < (scores + 1) / (distinct + 2)


def pairs(scores, positive):
    """Mean over all pairs, one by one."""
    found = [(p > n) + 0.5 * (p == n) for p in scores[positive].tolist() for n in scores[~positive]]
    return float(np.mean([float(x) for x in found]))


def test_auroc_is_the_share_of_pairs_in_order():
    scores, positive = rows()
    assert auroc(scores, positive) == pytest.approx(pairs(scores, positive), abs=1e-14)


def test_auroc_of_the_opposite_is_its_complement():
    scores, positive = rows(seed=1)
    assert auroc(scores, positive) + auroc(-scores, positive) == pytest.approx(1, abs=1e-14)
    assert auroc(scores, positive) + auroc(scores, ~positive) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("score", [auroc, average_precision, fpr_at_tpr])
def test_rising_maps_and_the_order_of_rows_change_nothing(score):
    scores, positive = rows(seed=2)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(3))
    expected = score(scores, positive)
    assert score(torch.exp(5 * scores), positive) == expected
    assert score(scores[order], positive[order]) == expected
    assert score(1e6 + scores * 1e-9, positive) == expected


def test_large_scores_are_not_squashed():
    # a float32 sigmoid of these is 1 for all
    assert auroc([80.0, 590.0, 100.0], [0, 1, 1]) == 1.0


@pytest.mark.parametrize("positive", [[1, 1, 1], [0, 0, 0]])
def test_one_kind_alone_has_no_auroc(positive):
    assert np.isnan(auroc([1.0, 2.0, 3.0], positive))
    assert np.isnan(fpr_at_tpr([1.0, 2.0, 3.0], positive))


def test_equal_scores_give_a_half():
    assert auroc([7.0] * 6, [1, 0, 1, 0, 0, 0]) == 0.5


def test_weights_count_rows_that_often():
    scores, positive = rows(60, seed=4)
    weights = torch.randint(0, 4, (5, 60), generator=torch.Generator().manual_seed(5))
    found = weighted_auroc(scores, positive)(weights.double())
    for own, value in zip(weights, found.tolist(), strict=True):
        repeated = scores.repeat_interleave(own), positive.repeat_interleave(own)
        assert value == pytest.approx(auroc(*repeated), abs=1e-12)


def test_influence_values_are_the_derivative_by_weights():
    scores, positive = rows(50, seed=7)
    weights = torch.ones(1, 50, dtype=torch.float64, requires_grad=True)
    weighted_auroc(scores, positive)(weights).sum().backward()
    influence = auroc_influence(scores, positive)
    torch.testing.assert_close(influence, 50 * weights.grad[0], rtol=0, atol=1e-12)
    assert float(influence.sum()) == pytest.approx(0, abs=1e-10)


def test_influence_values_give_the_spread_over_new_rows():
    found, errors = [], []
    for seed in range(400):
        scores, positive = rows(150, distinct=50, seed=seed)
        found.append(auroc(scores, positive))
        errors.append(float(auroc_influence(scores, positive).std() / 150**0.5))
    # the standard deviation of 400 values has an error of 3.5 %
    assert np.std(found) == pytest.approx(np.mean(errors), rel=0.12)


def test_roc_counts_rows_at_least_as_large():
    scores, positive = rows(seed=6)
    curve = roc(scores, positive)
    for threshold, true, false in zip(
        curve.thresholds, curve.true_positives, curve.false_positives, strict=True
    ):
        assert true == (scores[positive] >= threshold).sum()
        assert false == (scores[~positive] >= threshold).sum()


@pytest.mark.parametrize("case", ["o0/near_max_probability", "o1/far_knn_10", "o0/far_norm"])
def test_golden_numbers(case, golden):
    stored = golden("ood")
    name, _, key = case.partition("/")
    out, _, score = key.partition("_")
    inside, outside = stored[f"{name}/test/{score}"], stored[f"{name}/{out}/{score}"]
    scores = np.concatenate([inside, outside])
    is_in = np.arange(len(scores)) < len(inside)
    found = {
        "auroc": auroc(scores, is_in),
        "fpr95_in_positive": fpr_at_tpr(scores, is_in),
        "fpr95_out_positive": fpr_at_tpr(-scores, ~is_in),
        "aupr_in": average_precision(scores, is_in),
        "aupr_out": average_precision(-scores, ~is_in),
    }
    for metric, value in found.items():
        assert value == pytest.approx(float(stored[f"{case}/exact_{metric}"]), rel=1e-9), metric


def test_nan_is_refused_with_its_row():
    with pytest.raises(ValueError, match=r"1 are NaN, the first in row 2"):
        auroc([1.0, 2.0, float("nan")], [1, 0, 1])


def test_a_row_that_is_positive_by_half_counts_as_two_halves():
    scores, positive = rows(n=60, seed=8)
    half = torch.arange(60) % 7 == 0
    shares = torch.where(half, 0.5, positive.double())
    # every row twice: the halves once of each kind
    twice, kinds = scores.repeat(2), torch.cat([positive | half, positive & ~half])
    assert auroc(scores, shares) == pytest.approx(auroc(twice, kinds), abs=1e-14)
    weights = torch.randint(0, 4, (5, 60)).double()
    torch.testing.assert_close(
        weighted_auroc(scores, shares)(weights), weighted_auroc(twice, kinds)(weights.repeat(1, 2))
    )
    influence = auroc_influence(twice, kinds).view(2, 60).mean(0)
    torch.testing.assert_close(auroc_influence(scores, shares), influence)


def test_shares_of_positive_rows_lie_between_none_and_all():
    with pytest.raises(ValueError, match="share from 0 to 1"):
        auroc([1, 2], [0.5, 1.5])
