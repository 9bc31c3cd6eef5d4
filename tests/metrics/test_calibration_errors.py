"""Errors of calibration: the golden numbers, slow restatements, and what chance alone gives."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics import (
    classwise_calibration_errors,
    expected_calibration_error,
    probabilities,
)
from vmf_embeddings.metrics.calibration_chance import (
    error_if_calibrated,
    expected_error_if_calibrated,
)
from vmf_embeddings.metrics.calibration_errors import (
    confidence_gap,
    debiased_squared_error,
    maximum_calibration_error,
)
from vmf_embeddings.metrics.smooth_calibration import (
    smooth_calibration_error,
    smooth_calibration_error_at,
)

GOLDEN = load_golden("calibration")
PLACES = [(case, time) for case in cases(GOLDEN) for time in ("before", "after", "vector")]


def predicted(case, time):
    logits = torch.from_numpy(GOLDEN[f"{case}/test_logits"]).double()
    if time == "after":
        logits = logits / float(GOLDEN[f"{case}/temperature"])
    if time == "vector":
        scale, bias = GOLDEN[f"{case}/vector_scale"], GOLDEN[f"{case}/vector_bias"]
        logits = logits * torch.from_numpy(scale) + torch.from_numpy(bias)
    return probabilities(logits)


def hits(case, time):
    confidence, guess = predicted(case, time).max(1)
    return confidence, guess == torch.from_numpy(GOLDEN[f"{case}/test_labels"])


@pytest.mark.parametrize(("case", "time"), PLACES)
def test_errors_of_confidences_are_the_golden_ones(case, time):
    confidence, correct = hits(case, time)
    squared = debiased_squared_error(confidence, correct)
    found = {
        "ece_l1_equal_width_15": expected_calibration_error(confidence, correct),
        "mce_equal_width_15": maximum_calibration_error(confidence, correct, least_rows=1),
        "mce_equal_width_10": maximum_calibration_error(
            confidence, correct, n_bins=10, least_rows=1
        ),
        "ece_l2_debiased_squared_15": squared,
        "ece_l2_debiased_15": max(0, squared) ** 0.5,
        "ece_l2_debiased_squared_10": debiased_squared_error(confidence, correct, 10),
        "expected_ece_if_calibrated_15": expected_error_if_calibrated(confidence),
    }
    for name, value in found.items():
        expected = float(GOLDEN[f"{case}/{time}/exact_{name}"])
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), name
    smooth = smooth_calibration_error(confidence, correct)
    assert smooth == pytest.approx(float(GOLDEN[f"{case}/{time}/exact_smece"]), abs=1e-4)
    at = smooth_calibration_error_at(confidence, correct, 0.05)
    assert at == pytest.approx(float(GOLDEN[f"{case}/{time}/exact_smece_at_0.05"]), abs=1e-4)


@pytest.mark.parametrize(("case", "time"), PLACES)
def test_errors_of_classes_are_the_golden_ones(case, time):
    p, labels = predicted(case, time), GOLDEN[f"{case}/test_labels"]
    wide = classwise_calibration_errors(p, labels)
    np.testing.assert_allclose(
        wide, GOLDEN[f"{case}/{time}/exact_classwise_ece_per_class_15"], rtol=1e-9, atol=1e-12
    )
    found = {
        "classwise_ece_equal_width_15": wide,
        "classwise_ece_equal_mass_15": classwise_calibration_errors(
            p, labels, binning="equal_mass"
        ),
        "thresholded_adaptive_15": classwise_calibration_errors(
            p, labels, binning="equal_mass", above=1e-3
        ),
    }
    for name, values in found.items():
        expected = float(GOLDEN[f"{case}/{time}/exact_{name}"])
        assert float(values.nanmean()) == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize("above", [None, 0.0, 0.2])
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_errors_of_classes_with_ties_are_those_of_rows_sorted_one_by_one(n_bins, above):
    rng = np.random.default_rng(n_bins)
    p = torch.from_numpy(rng.integers(0, 6, (61, 3)) / 5.0)  # most rows tie, 0 and 1 too
    labels = rng.integers(0, 2, 61)  # no row is of the last class
    for binning in ("equal_width", "equal_mass"):
        found = classwise_calibration_errors(p, labels, n_bins=n_bins, binning=binning, above=above)
        for c in range(3):
            kept = [i for i in range(61) if above is None or p[i, c] > above]
            kept.sort(key=lambda i, c=c: float(p[i, c]))  # stable
            excess = [0.0] * n_bins
            for place, i in enumerate(kept):
                wide = min(max(math.ceil(float(p[i, c] * n_bins)) - 1, 0), n_bins - 1)
                own = wide if binning == "equal_width" else place * n_bins // len(kept)
                excess[own] += float(labels[i] == c) - float(p[i, c])
            assert float(found[c]) == pytest.approx(sum(map(abs, excess)) / len(kept), abs=1e-12)


def test_groups_by_prediction_are_the_golden_ones():
    groups = torch.from_numpy(GOLDEN["c1/group_of_class"])
    guess = predicted("c1", "after").argmax(1)
    confidence, correct = hits("c1", "after")
    for number, name in enumerate(("many", "medium", "few")):
        own = groups[guess] == number
        error = expected_calibration_error(confidence[own], correct[own])
        gap = confidence_gap(confidence[own], correct[own])
        for value, score in ((error, "ece"), (gap, "gap")):
            expected = GOLDEN[f"c1/after/exact_{score}_{name}_by_prediction"]
            assert value == pytest.approx(float(expected), rel=1e-9), (name, score)


def test_with_one_bin_every_error_is_the_absolute_gap():
    confidence, correct = hits("c0", "before")
    gap = abs(confidence_gap(confidence, correct))
    for binning in ("equal_width", "equal_mass"):
        error = expected_calibration_error(confidence, correct, n_bins=1, binning=binning)
        assert error == pytest.approx(gap)
    assert maximum_calibration_error(confidence, correct, n_bins=1) == pytest.approx(gap)
    assert smooth_calibration_error_at(confidence, correct, 50) == pytest.approx(gap, abs=1e-9)


def test_constant_logits_have_the_gap_of_guessing():
    confidence, guess = probabilities(np.zeros((30, 5))).max(1)
    correct = guess == torch.arange(30) % 5
    assert confidence_gap(confidence, correct) == pytest.approx(0, abs=1e-12)
    assert confidence_gap(confidence, torch.ones(30)) == pytest.approx(0.2 - 1)


def test_the_smooth_error_falls_with_the_width_and_equals_it_once():
    confidence, correct = hits("c0", "after")
    widths = (0.001, 0.01, 0.05, 0.2, 1)
    at = [smooth_calibration_error_at(confidence, correct, width) for width in widths]
    assert at == sorted(at, reverse=True) and at[0] <= 1
    own = smooth_calibration_error(confidence, correct)
    assert smooth_calibration_error_at(confidence, correct, own) == pytest.approx(own, abs=1e-6)
    assert smooth_calibration_error([1.0, 1.0], [0, 0]) == pytest.approx(1)
    assert smooth_calibration_error([1.0, 0.0], [1, 0]) == 0


def test_the_smooth_error_is_a_sum_over_rows_and_mirror_images():
    confidence, correct = hits("c1", "before")
    middles, width = (torch.arange(400) + 0.5) / 400, 0.07
    images = torch.cat([sign * confidence + 2 * j for j in (-1, 0, 1) for sign in (1, -1)])
    kernel = torch.exp(-((middles[:, None] - images) ** 2) / 2 / width**2) / width
    kernel = kernel.view(400, 6, -1).sum(1) / math.sqrt(2 * math.pi)
    slow = (kernel @ (correct.double() - confidence) / len(confidence)).abs().mean()
    found = smooth_calibration_error_at(confidence, correct, width)
    assert found == pytest.approx(float(slow), rel=1e-4)


def test_what_chance_gives_is_the_mean_of_drawn_errors():
    rng = np.random.default_rng(0)
    confidence = torch.from_numpy(rng.uniform(0.2, 1, 300))
    drawn = [
        expected_calibration_error(confidence, rng.random(300) < confidence.numpy())
        for _ in range(400)
    ]
    found = error_if_calibrated(confidence, generator=torch.Generator().manual_seed(0))
    assert found.expected == pytest.approx(np.mean(drawn), rel=0.03)
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.low == pytest.approx(low, rel=0.1) and found.high == pytest.approx(high, rel=0.1)


def test_large_bins_are_those_of_the_normal_distribution(monkeypatch):
    confidence = torch.from_numpy(np.random.default_rng(1).uniform(0.2, 1, 3000))
    exact = error_if_calibrated(confidence, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("vmf_embeddings.metrics.calibration_chance._EXACT_ROWS", 0)
    normal = error_if_calibrated(confidence, generator=torch.Generator().manual_seed(0))
    for part in ("expected", "low", "high"):
        assert getattr(normal, part) == pytest.approx(getattr(exact, part), rel=0.08), part


def test_certain_rows_leave_nothing_to_chance():
    assert expected_error_if_calibrated([1.0, 1.0, 1.0]) == 0
    found = error_if_calibrated([1.0, 1.0 + 1e-7])
    assert (found.low, found.expected, found.high) == (0, 0, 0)


def test_small_bins_do_not_count_as_the_largest_gap():
    confidence = np.r_[np.full(10, 0.5), 0.9]
    correct = np.r_[np.arange(10) < 4, 0]
    assert maximum_calibration_error(confidence, correct) == pytest.approx(0.1)
    assert maximum_calibration_error(confidence, correct, least_rows=1) == pytest.approx(0.9)
    assert math.isnan(maximum_calibration_error([0.5], [1]))


def test_a_class_that_no_row_has_above_the_threshold_is_left_out():
    found = classwise_calibration_errors([[1.0, 0.0], [1.0, 0.0]], [0, 1], above=0.5)
    assert float(found[0]) == pytest.approx(0.5) and math.isnan(float(found[1]))


def test_a_bin_of_one_row_is_not_corrected():
    assert debiased_squared_error([0.6, 0.9], [1, 1], 15) == pytest.approx((0.16 + 0.01) / 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: smooth_calibration_error([], []),
        lambda: expected_error_if_calibrated([]),
        lambda: classwise_calibration_errors(np.zeros((0, 2)), np.zeros(0, int)),
        lambda: smooth_calibration_error_at([0.5], [1], 0),
    ],
)
def test_nothing_to_score_is_refused(call):
    with pytest.raises(ValueError, match="N >= 1|above 0"):
        call()
