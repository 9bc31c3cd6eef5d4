"""Calibration error: bins as documented, reference numbers, laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics import expected_calibration_error, reliability_bins

GOLDEN = load_golden("classification_metrics")
ECE_CASES = [c for c in cases(GOLDEN) if f"{c}/confidence" in GOLDEN]


@pytest.mark.parametrize("case", ECE_CASES)
@pytest.mark.parametrize("norm", [1, 2])
def test_golden(case, norm):
    error = expected_calibration_error(
        GOLDEN[f"{case}/confidence"],
        GOLDEN[f"{case}/correct"],
        n_bins=int(GOLDEN[f"{case}/n_bins"]),
        norm=norm,
        binning="equal_mass",
    )
    assert error == pytest.approx(GOLDEN[f"{case}/ece_p{norm}"], abs=1e-14)


@pytest.mark.parametrize("case", ECE_CASES)
def test_bins_hold_the_rows_of_the_reference(case):
    bins = reliability_bins(
        GOLDEN[f"{case}/confidence"], GOLDEN[f"{case}/correct"], int(GOLDEN[f"{case}/n_bins"])
    )
    numbers, counts = np.unique(GOLDEN[f"{case}/bins"], return_counts=True)
    np.testing.assert_array_equal(bins.count, counts)


def slow_equal_width(confidence, correct, n_bins, norm):
    total = 0.0
    for b in range(n_bins):
        inside = (confidence > b / n_bins) & (confidence <= (b + 1) / n_bins)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap**norm
    return total ** (1 / norm)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_equal_width_equals_a_loop_over_bins(n_bins, norm):
    rng = np.random.default_rng(n_bins)
    confidence, correct = rng.uniform(0.1, 1, 500), rng.random(500) < 0.6
    expected = slow_equal_width(confidence, correct.astype(float), n_bins, norm)
    error = expected_calibration_error(confidence, correct, n_bins=n_bins, norm=norm)
    assert error == pytest.approx(expected, abs=1e-14)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 20))
def test_bins_partition_the_rows_and_l2_is_never_below_l1(seed, n, n_bins):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(n), rng.random(n) < 0.5
    for binning in ("equal_mass", "equal_width"):
        bins = reliability_bins(confidence, correct, n_bins, binning)
        assert bins.count.sum() == n
        assert (bins.count * bins.confidence).sum() == pytest.approx(confidence.sum())
        assert (bins.count * bins.accuracy).sum() == pytest.approx(correct.sum())
        errors = [
            expected_calibration_error(
                confidence, correct, n_bins=n_bins, norm=norm, binning=binning
            )
            for norm in (1, 2)
        ]
        assert 0 <= errors[0] <= errors[1] + 1e-12 <= 1 + 1e-12
    mass = reliability_bins(confidence, correct, n_bins, "equal_mass").count
    assert mass.max() - mass.min() <= 1


def test_a_calibrated_forecast_has_no_error_and_a_boastful_one_has_all():
    calibrated = np.repeat([0.25, 0.75], 4)
    correct = [1, 0, 0, 0, 1, 1, 1, 0]
    assert expected_calibration_error(calibrated, correct) == pytest.approx(0, abs=1e-15)
    assert expected_calibration_error(np.ones(4), np.zeros(4), norm=2) == 1.0


def test_extreme_confidences_fall_into_the_first_and_last_bin():
    bins = reliability_bins([0.0, 1.0, 0.5], [0, 1, 1], 2, "equal_width")
    assert bins.count.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], [1, 0]), "both be"),
        (([], []), "N >= 1"),
        (([1.5], [1]), "not logits"),
        (([0.5], [1], 0), "n_bins"),
        (([0.5], [1], 3, "mass"), "equal_mass or equal_width"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(*arguments)
    with pytest.raises(ValueError, match="norm must be"):
        expected_calibration_error([0.5], [1], norm=3)
