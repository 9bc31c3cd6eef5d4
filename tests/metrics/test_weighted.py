"""Scores as functions of weights of rows are those of rows that are repeated as often."""

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics.calibration import expected_calibration_error
from vmf_embeddings.metrics.classification import macro_f1
from vmf_embeddings.metrics.corruption import spearman_pooled, weighted_spearman_pooled
from vmf_embeddings.metrics.resampling import bootstrap, percentile_interval
from vmf_embeddings.metrics.selective import risk_coverage
from vmf_embeddings.metrics.weighted_calibration import WeightedCalibrationError
from vmf_embeddings.metrics.weighted_classes import WeightedMacroF1
from vmf_embeddings.metrics.weighted_risk import LastCurves, weighted_risk

RISKS, COVERAGES = (0.01, 0.3, 0.6), (0.1, 0.5, 0.95, 1.0)
N, C = 40, 5


def draws(rng, n=N):
    """Weights [6, n]: of ones, of one row alone, and of draws with replacement."""
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(4)]
    return np.stack([np.ones(n, int), np.eye(n, dtype=int)[3], *drawn])


def in_double(weights):
    return torch.from_numpy(weights).double()


@pytest.mark.parametrize("kind", ["plain", "tied", "all tied", "shares", "all right", "all wrong"])
def test_risk_and_coverage(kind):
    rng = np.random.default_rng(0)
    confidence, wrong = rng.random(N), rng.random(N) < 0.4
    if "tied" in kind:
        confidence = np.round(confidence * (kind == "tied") * 4)
    if kind == "shares":
        wrong = np.where(rng.random(N) < 0.5, rng.random(N), wrong)
    if kind in ("all right", "all wrong"):
        wrong = np.full(N, kind == "all wrong")
    weights = draws(rng)
    found = weighted_risk(confidence, wrong, risks=RISKS, coverages=COVERAGES)
    for number, own in enumerate(weights):
        curve = risk_coverage(np.repeat(confidence, own), np.repeat(wrong, own))
        wanted = {
            **{name: getattr(curve, name) for name in
               ("aurc", "lowest_aurc", "e_aurc", "normalised_aurc", "augrc")},
            **{f"coverage_at_risk_{r:g}": curve.coverage_at_risk(r) for r in RISKS},
            **{f"risk_at_coverage_{c:g}": curve.risk_at_coverage(c) for c in COVERAGES},
        }  # fmt: skip
        values = {name: float(score(in_double(weights))[number]) for name, score in found.items()}
        assert values == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_scores_of_some_rows_share_the_curves_of_the_last_draws():
    rng = np.random.default_rng(1)
    confidence, wrong, rows = rng.random((2, 10)), rng.random((2, 10)) < 0.4, torch.arange(5, 15)
    last, weights = LastCurves(), [in_double(draws(rng, 20)) for _ in range(2)]
    shared = [
        weighted_risk(*one, rows=rows, last=last) for one in zip(confidence, wrong, strict=True)
    ]
    alone = [weighted_risk(*one) for one in zip(confidence, wrong, strict=True)]
    for own in (weights[0], weights[1], weights[0]):
        for name in ("augrc", "aurc"):
            for with_others, by_itself in zip(shared, alone, strict=True):
                values = with_others[name](own), by_itself[name](own[:, rows])
                torch.testing.assert_close(*values, rtol=0, atol=0, equal_nan=True)


def test_macro_f1_of_rows():
    rng = np.random.default_rng(2)
    guess, labels = rng.integers(0, C, N), rng.integers(0, C - 1, N)
    weights = draws(rng)
    found = WeightedMacroF1(guess, labels, C).over_rows(in_double(weights)).tolist()
    wanted = [macro_f1(np.eye(C)[np.repeat(guess, own)], np.repeat(labels, own)) for own in weights]
    assert found == pytest.approx(wanted, abs=1e-12)


def test_macro_f1_of_classes_that_are_drawn_is_that_of_copies_of_their_own():
    """Each copy is a class with its rows; other rows that are predicted as it are all copies'."""
    rng = np.random.default_rng(3)
    guess, labels = rng.integers(0, C, N), rng.integers(0, C - 1, N)
    times = np.stack([np.ones(C, int), *(np.bincount(rng.integers(0, C - 1, C - 1), minlength=C)
                                         for _ in range(5))])  # fmt: skip
    times[:, C - 1] = 0  # a class that has no rows, and is predicted all the same
    times[0] = 1
    found = WeightedMacroF1(guess, labels, C).over_classes(in_double(times[:, labels])).tolist()
    for own, value in zip(times, found, strict=True):
        scores = []
        for c in range(C):
            others = sum(own[labels[i]] for i in range(N) if guess[i] == c and labels[i] != c)
            right, n = ((guess == c) & (labels == c)).sum(), (labels == c).sum()
            copies = own[c] if n else int(others > 0)
            scores += [2 * right / max(1, n + right + others)] * copies
        assert value == pytest.approx(np.mean(scores), abs=1e-12)
    assert found[0] == pytest.approx(macro_f1(np.eye(C)[guess], labels), abs=1e-12)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
@pytest.mark.parametrize("tied", [False, True])
def test_calibration_errors(norm, binning, tied):
    rng = np.random.default_rng(4)
    confidence, correct = rng.random(N), rng.random(N) < 0.6
    confidence = np.round(confidence, 1) if tied else confidence
    weights = draws(rng)
    for n_bins in (1, 4, 15, 60):
        how = {"n_bins": n_bins, "norm": norm, "binning": binning}
        found = WeightedCalibrationError(confidence, correct, **how)(in_double(weights)).tolist()
        wanted = [
            expected_calibration_error(np.repeat(confidence, own), np.repeat(correct, own), **how)
            for own in weights
        ]
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "tied", "constant"])
def test_rank_correlation_with_the_levels(kind):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(N, 3)) - np.array([0, 0.5, 1])
    values = {"plain": values, "tied": np.round(values), "constant": np.ones((N, 3))}[kind]
    weights, levels = draws(rng), [0.0, 0.25, 0.5]
    found = weighted_spearman_pooled(values, levels)(in_double(weights)).tolist()
    wanted = [spearman_pooled(np.repeat(values, own, axis=0), levels) for own in weights]
    assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def population(rng, n):
    """Rows of two models: class, confidences, whether right, guess; and confidences by level."""
    labels, sure = rng.integers(0, C, n), rng.uniform(0.3, 1, n)
    right = rng.random(n) < 0.2 + 0.75 * sure
    guess = np.where(right, labels, (labels + rng.integers(1, C, n)) % C)
    other_sure = np.clip(sure + rng.normal(0, 0.1, n), 0.2, 1)
    other_right = rng.random(n) < 0.15 + 0.7 * other_sure
    falls = rng.uniform(0.3, 1.7, (n, 1)) * np.array([0, 0.3, 0.6])
    levels = rng.normal(size=(n, 1)) - falls + rng.normal(0, 0.3, (n, 3))
    errors = [WeightedCalibrationError(c, r) for c, r in ((sure, right), (other_sure, other_right))]
    scores = weighted_risk(sure, ~right, risks=(0.3,), coverages=(0.5,))
    chosen = ("e_aurc", "augrc", "coverage_at_risk_0.3", "risk_at_coverage_0.5")
    return {
        **{name: scores[name] for name in chosen},
        "macro_f1": WeightedMacroF1(guess, labels, C).over_rows,
        "spearman": weighted_spearman_pooled(levels, [0, 1, 2]),
        "ece": errors[0],
        "difference of ece": lambda weights: errors[0](weights) - errors[1](weights),
    }


@pytest.mark.slow
def test_intervals_of_draws_hold_the_score_of_the_population_in_95_percent():
    rng, n, n_samples = np.random.default_rng(0), 600, 400
    whole = population(rng, 400_000)
    one = torch.ones(1, 400_000, dtype=torch.float64)
    wanted = {name: float(score(one)[0]) for name, score in whole.items()}
    held = dict.fromkeys(wanted, 0)
    for sample in range(n_samples):
        drawn = bootstrap(population(rng, n), n, 400, seed=sample)
        for name, values in drawn.items():
            low, high = percentile_interval(values)
            held[name] += low <= wanted[name] <= high
    # the draws of one model's calibration error lie above it: no interval
    assert held.pop("ece") < 0.8 * n_samples
    # that of a difference is wide rather than narrow
    assert held.pop("difference of ece") >= 0.95 * n_samples
    for name, times in held.items():
        assert 0.93 <= times / n_samples <= 0.97, name
