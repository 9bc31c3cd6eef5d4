"""Laws and golden numbers of verification."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.metrics.binary import auroc, roc
from vmf_embeddings.metrics.verification import (
    FARS,
    best_threshold,
    equal_error_rate,
    fold_accuracy,
    similarity_histogram,
    tar_at_far,
)

GOLDEN = load_golden("verification")


def golden_pairs(case):
    rows, labels = GOLDEN[f"{case}/embeddings"].astype(np.float64), GOLDEN[f"{case}/labels"]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    i, j = np.triu_indices(len(rows), 1)
    return (unit @ unit.T).round(12)[i, j], labels[i] == labels[j]


@pytest.mark.parametrize("case", ["v0", "v1", "v2"])
def test_golden_numbers(case):
    scores, same = golden_pairs(case)
    curve = roc(scores, same)

    def expected(name):
        return pytest.approx(float(GOLDEN[f"{case}/exact_{name}"]), rel=1e-9, nan_ok=True)

    assert (curve.n_positive, curve.n_negative) == (
        GOLDEN[f"{case}/n_positive"], GOLDEN[f"{case}/n_negative"],
    )  # fmt: skip
    assert auroc(scores, same) == expected("auc")
    assert equal_error_rate(curve) == expected("eer")
    for far in FARS:
        at = tar_at_far(curve, far)
        if far * curve.n_negative < 1:
            assert math.isnan(at.tar)
            continue
        assert at.tar == expected(f"tar_at_far_{far:g}")
        assert at.far == expected(f"far_reached_{far:g}")
        assert at.threshold == expected(f"threshold_at_far_{far:g}")
    assert best_threshold(curve, balanced=False).accuracy == expected("best_accuracy")
    assert best_threshold(curve).accuracy == expected("best_balanced_accuracy")
    found = similarity_histogram(curve, GOLDEN[f"{case}/histogram_edges"])
    for counts, name in zip(found, ("same", "different"), strict=True):
        np.testing.assert_array_equal(counts, GOLDEN[f"{case}/histogram_{name}"])


def test_ten_folds_are_the_golden_ones():
    first, second = (
        torch.nn.functional.normalize(torch.from_numpy(GOLDEN[f"pairs/{name}"]).double())
        for name in ("first", "second")
    )
    found = fold_accuracy(((first * second).sum(1) * 1e12).round() / 1e12, GOLDEN["pairs/same"])
    np.testing.assert_allclose(found.accuracy, GOLDEN["pairs/exact_fold_accuracy"], rtol=1e-12)
    np.testing.assert_allclose(
        found.thresholds,
        GOLDEN["pairs/exact_fold_threshold_median_of_best_midpoints"],
        rtol=1e-9,
    )
    assert found.mean == pytest.approx(float(GOLDEN["pairs/exact_accuracy_mean"]), rel=1e-12)
    assert found.standard_error == pytest.approx(
        float(GOLDEN["pairs/exact_accuracy_standard_error"]), rel=1e-9
    )


def pairs(n=500, seed=0, distinct=40):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, n)
    return scores, rng.random(n) < (scores + 1) / (distinct + 2)


def test_tar_is_the_largest_one_that_the_far_allows():
    scores, same = pairs()
    curve = roc(scores, same)
    for far in (0.01, 0.03, 0.2, 1.0):
        allowed = [
            np.mean(scores[same] >= t) for t in (*set(scores), np.inf)
            if np.mean(scores[~same] >= t) <= far
        ]  # fmt: skip
        assert tar_at_far(curve, far).tar == pytest.approx(max(allowed), abs=1e-15)


def test_a_far_of_one_pair_in_n_is_reached_whatever_its_rounding():
    for n in range(1, 200):
        same = np.r_[True, np.zeros(n, bool)]
        assert tar_at_far(roc(np.r_[0.5, 1.0, np.zeros(n - 1)], same), 1 / n).tar == 1


def test_tar_rises_with_the_far_and_ends_at_1():
    curve = roc(*pairs(seed=1))
    tars = [tar_at_far(curve, far).tar for far in np.linspace(0.01, 1, 50)]
    assert tars == sorted(tars)
    assert tars[-1] == 1


def test_swapping_the_kinds_and_the_sign_keeps_the_equal_error_rate():
    scores, same = pairs(seed=2)
    turned = equal_error_rate(roc(-scores, ~same))
    assert equal_error_rate(roc(scores, same)) == pytest.approx(turned, abs=1e-14)


def test_where_no_pair_is_similar_enough_nothing_is_accepted():
    found = tar_at_far(roc([3.0, 2.0, 2.0, 1.0], [0, 1, 0, 0]), 0.5)
    assert (found.tar, found.n_accepted, found.threshold) == (0.0, 1, 3.0)
    none = tar_at_far(roc([3.0, 3.0, 3.0, 1.0], [0, 0, 0, 1]), 0.5)
    assert (none.tar, none.n_accepted, none.threshold) == (0.0, 0, math.inf)


def test_accepting_nothing_may_be_most_accurate_but_is_not_balanced():
    scores, same = np.r_[np.full(95, 0.5), np.full(5, 0.4)], np.r_[np.zeros(95), np.ones(5)] > 0
    curve = roc(scores, same)
    assert best_threshold(curve, balanced=False).accuracy == 0.95
    assert best_threshold(curve).accuracy == 0.5
