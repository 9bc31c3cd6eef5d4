"""Temperature and vector scaling: the golden optima, and laws of the fits."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics.scaling import fit_temperature, fit_vector_scaling, mean_nll

GOLDEN = load_golden("calibration")
CASES = cases(GOLDEN)


def nll(case, split, scaled=lambda z: z):
    rows = torch.from_numpy(GOLDEN[f"{case}/{split}_logits"])
    return mean_nll(rows, torch.from_numpy(GOLDEN[f"{case}/{split}_labels"]), scaled)


def some_logits(n=200, n_classes=4, seed=0, scale=3.0, draws=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    shape = (n, n_classes) if draws is None else (n, draws, n_classes)
    signal = np.eye(n_classes)[labels] if draws is None else np.eye(n_classes)[labels][:, None]
    return scale * (signal + rng.normal(size=shape)), labels


@pytest.mark.parametrize("case", CASES)
def test_the_temperature_is_the_golden_optimum(case):
    fitted = fit_temperature(GOLDEN[f"{case}/valid_logits"], GOLDEN[f"{case}/valid_labels"])
    assert fitted.settled
    assert fitted.value == pytest.approx(float(GOLDEN[f"{case}/temperature"]), rel=1e-8)
    for split in ("valid", "test"):
        for time, scaled in (("before", lambda z: z), ("after", fitted)):
            expected = float(GOLDEN[f"{case}/{split}_nll_{time}"])
            assert nll(case, split, scaled) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_vector_scaling_is_the_golden_optimum(case):
    fitted = fit_vector_scaling(GOLDEN[f"{case}/valid_logits"], GOLDEN[f"{case}/valid_labels"])
    assert fitted.settled
    assert nll(case, "valid", fitted) == pytest.approx(GOLDEN[f"{case}/vector_valid_nll"], rel=1e-9)
    np.testing.assert_allclose(fitted.scale, GOLDEN[f"{case}/vector_scale"], rtol=1e-4)
    np.testing.assert_allclose(fitted.bias, GOLDEN[f"{case}/vector_bias"], rtol=1e-4, atol=1e-5)
    assert float(fitted.bias.sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("draws", [None, 3])
def test_scaled_logits_are_fitted_to_a_temperature_as_many_times_as_large(draws):
    logits, labels = some_logits(draws=draws)
    once = fit_temperature(logits, labels).value
    assert fit_temperature(2.5 * logits, labels).value == pytest.approx(2.5 * once, rel=1e-6)


def test_optimal_logits_have_the_temperature_1():
    logits, labels = some_logits()
    again = fit_temperature(logits / fit_temperature(logits, labels).value, labels)
    assert again.value == pytest.approx(1, rel=1e-10)


def test_a_constant_of_each_row_changes_no_fit_and_classes_may_be_impossible():
    logits, labels = some_logits()
    moved = logits + 100 * np.random.default_rng(1).normal(size=(len(logits), 1))
    once = fit_temperature(logits, labels).value
    assert fit_temperature(moved, labels).value == pytest.approx(once, rel=1e-9)
    longer = np.c_[logits, np.full(len(logits), -np.inf)]
    assert fit_temperature(longer, labels).value == pytest.approx(once, rel=1e-12)
    with pytest.raises(ValueError, match="impossible classes"):
        fit_vector_scaling(longer, labels)


@pytest.mark.parametrize("draws", [None, 3])
def test_no_other_temperature_is_more_likely(draws):
    logits, labels = some_logits(draws=draws)
    fitted = fit_temperature(logits, labels)
    rows, own = torch.from_numpy(logits), torch.from_numpy(labels)
    best = mean_nll(rows, own, fitted)
    for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2):
        assert mean_nll(rows, own, lambda z, t=fitted.value * factor: z / t) > best


def test_draws_of_one_are_no_draws():
    logits, labels = some_logits()
    once = fit_temperature(logits, labels).value
    assert fit_temperature(logits[:, None], labels).value == pytest.approx(once, rel=1e-6)


@pytest.mark.parametrize("shape", [(30, 2), (30, 4, 2)])
def test_rows_that_are_all_right_have_no_optimum(shape):
    logits = np.zeros(shape)
    logits[..., 0] = 1
    fitted = fit_temperature(logits, np.zeros(30, int))
    assert not fitted.settled
    assert fitted.value == pytest.approx(math.exp(-6), rel=1e-3)


def test_constant_logits_settle_nowhere_and_stay_constant():
    fitted = fit_temperature(np.ones((10, 3)), np.arange(10) % 3)
    assert not fitted.settled and fitted.value > 0


def test_vector_scaling_needs_ten_rows_for_each_class_and_no_draws():
    logits, labels = some_logits(n=39)
    with pytest.raises(ValueError, match="it needs 40 rows, 10 for each class, and there are 39"):
        fit_vector_scaling(logits, labels)
    with pytest.raises(ValueError, match="with draws"):
        fit_vector_scaling(*some_logits(draws=2))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 7], [0, 1, -1]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        fit_temperature(np.zeros((3, 2)), labels)
