"""Draws with replacement, their intervals, and tests of two runs on the same rows."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import load_golden
from vmf_embeddings.metrics.paired_tests import sign_flip_p, signs
from vmf_embeddings.metrics.resampling import (
    bootstrap,
    drawn_weights,
    percentile_interval,
    times_drawn,
    weighted_class_mean,
    weighted_mean,
)
from vmf_embeddings.metrics.standard_errors import (
    error_over_classes,
    error_over_rows,
    interval_95,
    wilson_95,
)
from vmf_embeddings.metrics.t_tests import paired_t, t_interval, welch

GOLDEN = load_golden("significance")
CASES = [(case, score, run) for case in ("s0", "s1") for score in ("hit", "ap")
         for run in ("a", "b", "difference")]  # fmt: skip


def golden(key: str):
    return GOLDEN[key]


def values_of(case: str, score: str, run: str) -> np.ndarray:
    if run == "difference":
        return golden(f"{case}/{score}/b") - golden(f"{case}/{score}/a")
    return golden(f"{case}/{score}/{run}")


@pytest.mark.parametrize(("case", "score", "run"), CASES)
def test_stored_draws_give_the_golden_means_errors_and_intervals(case, score, run):
    values, place = values_of(case, score, run), f"{case}/{score}/{run}"
    labels, classes = golden(f"{case}/labels"), golden(f"{case}/classes")
    codes = torch.from_numpy(np.searchsorted(classes, labels))
    rows = times_drawn(torch.from_numpy(golden(f"{case}/resample_rows")), len(values))
    drawn = times_drawn(torch.from_numpy(golden(f"{case}/resample_classes")), len(classes))
    mean = weighted_mean(values)
    for weights, prefix in ((rows, ""), (drawn[:, codes], "class_")):
        found = mean(weights).numpy()
        np.testing.assert_allclose(found, golden(f"{place}/{prefix}bootstrap_means"), rtol=1e-9)
        assert found.std(ddof=1) == pytest.approx(golden(f"{place}/{prefix}bootstrap_se"), rel=1e-9)
        np.testing.assert_allclose(
            percentile_interval(found), golden(f"{place}/{prefix}percentile_95"), rtol=1e-9
        )
    assert error_over_rows(values) == pytest.approx(golden(f"{place}/se_rows"), rel=1e-9)
    expected = golden(f"{place}/se_classes_linearised")
    assert error_over_classes(values, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", ["s0", "s1"])
@pytest.mark.parametrize("score", ["hit", "ap"])
def test_signs_are_the_golden_ones(case, score):
    found, place = signs(values_of(case, score, "difference")), f"{case}/{score}"
    assert found.n_better == golden(f"{place}/n_b_better")
    assert found.n_worse == golden(f"{place}/n_a_better")
    assert found.n_equal == golden(f"{place}/n_tied")
    assert found.p == pytest.approx(golden(f"{place}/exact_sign_test_p"), rel=1e-9)


def test_all_flips_of_signs_give_the_golden_probability_and_random_ones_come_near():
    differences = golden("flip/differences")
    exact = float(golden("flip/exact_p_two_sided"))
    assert float(sign_flip_p(differences)) == exact
    # a thirteenth unit of difference 0 changes nothing; many more are drawn at random
    assert float(sign_flip_p(np.r_[differences, 0.0])) == exact
    many = np.random.default_rng(0).normal(0.05, 1, size=900)
    p = float(sign_flip_p(many, n_draws=4000))
    z = many.mean() / (np.sqrt(np.mean(many**2)) / 30)
    assert p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.03)
    assert 0 < float(sign_flip_p(np.ones(500))) == 1 / 2001


@pytest.mark.parametrize("case", ["few", "five", "unequal", "one"])
def test_means_over_seeds_are_the_golden_ones(case):
    a, b = golden(f"seeds_{case}/a"), golden(f"seeds_{case}/b")
    for run, values in (("a", a), ("b", b)):
        found, place = t_interval(values), f"seeds_{case}/{run}"
        assert found.mean == pytest.approx(golden(f"{place}/mean"), rel=1e-9)
        if len(values) == 1:
            assert math.isnan(found.standard_error) and math.isnan(found.low)
            continue
        assert found.standard_error == pytest.approx(golden(f"{place}/standard_error"), rel=1e-9)
        np.testing.assert_allclose(
            (found.low, found.high), golden(f"{place}/t_interval_95"), rtol=1e-9
        )
    found = welch(a, b)
    if case == "one":
        assert math.isnan(found.p) and found.mean == pytest.approx(b.mean() - a[0])
        return
    assert found.degrees == pytest.approx(golden(f"seeds_{case}/welch_df"), rel=1e-9)
    assert found.p == pytest.approx(golden(f"seeds_{case}/welch_p"), rel=1e-9)
    np.testing.assert_allclose(
        (found.low, found.high), golden(f"seeds_{case}/welch_difference_95"), rtol=1e-9
    )
    if len(a) == len(b):
        p = golden(f"seeds_{case}/paired_t_p")
        assert paired_t(a, b).p == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("case", ["s0", "s1"])
@pytest.mark.parametrize("run", ["a", "b"])
def test_wilson_intervals_are_the_golden_ones_and_never_a_point(case, run):
    hits = golden(f"{case}/hit/{run}")
    np.testing.assert_allclose(
        wilson_95(hits.sum(), len(hits)), golden(f"{case}/hit/{run}/wilson_95"), rtol=1e-7
    )
    low, high = wilson_95(0, 30)
    assert low == 0 and 0.05 < high < 0.2
    assert all(map(math.isnan, wilson_95(0, 0)))


def test_where_nothing_differs_by_more_than_chance_five_percent_of_flips_say_so():
    rng, classes, n_trials = np.random.default_rng(4), np.repeat(np.arange(40), 3), 400
    # rows of a class move together: rows flipped one by one are too sure
    moves = rng.normal(size=(n_trials, 40))[:, classes] + 0.3 * rng.normal(size=(n_trials, 120))
    rates = [float((sign_flip_p(moves, given, 500) <= 0.05).double().mean())
             for given in (classes, None)]  # fmt: skip
    # the standard deviation of a rate is 0.011
    assert rates[0] == pytest.approx(0.05, abs=0.033)
    assert rates[1] > 0.15


def test_a_run_against_itself_differs_nowhere_and_swapping_flips_signs():
    a, b = values_of("s0", "ap", "a"), values_of("s0", "ap", "b")
    labels = golden("s0/labels")
    assert signs(a - a).p == 1 and float(sign_flip_p(a - a, labels)) == 1
    there, back = signs(b - a), signs(a - b)
    assert (there.n_better, there.n_worse) == (back.n_worse, back.n_better)
    assert there.p == back.p
    assert float(sign_flip_p(b - a, labels)) == float(sign_flip_p(a - b, labels))
    assert welch(a[:5], b[:5]).mean == -welch(b[:5], a[:5]).mean
    assert welch(a[:5], a[:5]).p == 1
    assert paired_t(a[:5], a[:5]).p == 1
    forth, home = (
        percentile_interval(bootstrap({"d": weighted_mean(d)}, len(d), 200, seed=3)["d"])
        for d in (b - a, a - b)
    )
    assert forth == pytest.approx((-home[1], -home[0]), abs=1e-12)


def test_one_row_per_class_is_drawn_as_rows_are():
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = {"mean": weighted_mean(values)}
    rows = bootstrap(scores, 50, 100, seed=5)
    classes = bootstrap(scores, 50, 100, classes=np.arange(50), seed=5)
    assert torch.equal(rows["mean"], classes["mean"])
    assert error_over_rows(values) == pytest.approx(error_over_classes(values, np.arange(50)))


def test_blocks_do_not_change_the_draws(monkeypatch):
    whole = torch.cat(list(drawn_weights(40, 30, seed=1)))
    monkeypatch.setattr("vmf_embeddings.metrics.resampling._BLOCK_ELEMENTS", 40 * 7)
    parts = list(drawn_weights(40, 30, seed=1))
    assert len(parts) == 5 and torch.equal(torch.cat(parts), whole)
    assert bool((whole.sum(1) == 40).all())


def test_errors_of_draws_are_the_closed_forms_within_a_twentieth():
    rng = np.random.default_rng(1)
    classes = np.repeat(np.arange(150), 8)
    values = rng.normal(size=150)[classes] + rng.normal(size=1200)
    for given, error in ((None, error_over_rows(values)),
                         (classes, error_over_classes(values, classes))):  # fmt: skip
        draws = bootstrap({"mean": weighted_mean(values)}, 1200, 2000, classes=given)["mean"]
        assert float(draws.std()) == pytest.approx(error, rel=0.05)
    # a quarter of the rows: twice the width
    wide, narrow = (
        np.diff(percentile_interval(bootstrap({"m": weighted_mean(v)}, len(v), 1000)["m"]))[0]
        for v in (values[::4], values)
    )
    assert wide / narrow == pytest.approx(2, rel=0.15)


def test_values_that_are_nan_are_left_out_under_every_draw():
    values = np.array([1.0, np.nan, 0.0, np.nan, 1.0])
    weights = next(drawn_weights(5, 60, seed=2))
    known = np.isfinite(values)
    expected = (weights.numpy()[:, known] @ values[known]) / weights.numpy()[:, known].sum(1)
    np.testing.assert_allclose(weighted_mean(values)(weights), expected, rtol=1e-12)
    assert signs(values - np.array([0.0, 1, 1, 1, 1])).n_equal == 1
    none = bootstrap({"m": weighted_mean(np.full(4, np.nan))}, 4, 10)["m"]
    assert all(map(math.isnan, percentile_interval(none)))


def test_the_mean_over_classes_is_that_of_a_loop_over_drawn_rows():
    rng = np.random.default_rng(3)
    classes, values = rng.integers(0, 6, 40), rng.random(40)
    score = weighted_class_mean(values, classes)
    numbers = rng.integers(0, 40, (20, 40))
    found = score(times_drawn(torch.from_numpy(numbers), 40))
    for line, rows in enumerate(numbers):
        own = [values[rows][classes[rows] == c].mean() for c in np.unique(classes[rows])]
        assert float(found[line]) == pytest.approx(np.mean(own), rel=1e-12)
    assert float(score(torch.ones(1, 40))) == pytest.approx(
        np.mean([values[classes == c].mean() for c in np.unique(classes)]), rel=1e-12
    )


def test_a_single_class_has_no_spread_over_classes():
    draws = bootstrap({"m": weighted_mean([0.0, 1.0, 1.0])}, 3, 50, classes=[7, 7, 7])["m"]
    assert percentile_interval(draws) == pytest.approx((2 / 3, 2 / 3))
    assert math.isnan(error_over_classes([0.0, 1.0, 1.0], [7, 7, 7]))


def coverage(n_trials: int, n_classes: int, n_draws: int) -> float:
    """Part of simulated files whose interval over classes holds the mean of the population."""
    rng, n_held = np.random.default_rng(11), 0
    classes = np.repeat(np.arange(n_classes), 5)
    for trial in range(n_trials):
        # hits of classes of different difficulty: the mean over all classes is 0.6
        rate = rng.beta(3, 2, n_classes)
        hits = (rng.random(5 * n_classes) < rate[classes]).astype(float)
        found = bootstrap({"m": weighted_mean(hits)}, len(hits), n_draws, classes=classes,
                          seed=trial)["m"]  # fmt: skip
        low, high = percentile_interval(found)
        n_held += low <= 0.6 <= high
    return n_held / n_trials


def test_intervals_over_classes_hold_the_mean_of_all_classes():
    # 300 trials of 0.95: the standard deviation is 0.0126, three of them on either side
    assert coverage(300, 80, 400) == pytest.approx(0.95, abs=0.038)


@pytest.mark.slow
def test_intervals_over_classes_cover_93_to_97_percent():
    assert 0.93 <= coverage(3000, 120, 1000) <= 0.97


def test_rows_are_too_sure_where_classes_differ():
    rng = np.random.default_rng(5)
    classes = np.repeat(np.arange(40), 25)
    values = (rng.random(1000) < rng.beta(2, 2, 40)[classes]).astype(float)
    scores = {"m": weighted_mean(values)}
    rows, by_class = (
        np.diff(percentile_interval(bootstrap(scores, 1000, 500, classes=c)["m"]))[0]
        for c in (None, classes)
    )
    assert by_class > 2 * rows
    low, high = interval_95(values.mean(), error_over_classes(values, classes))
    assert by_class == pytest.approx(high - low, rel=0.15)
