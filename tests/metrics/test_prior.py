"""Class frequencies taken out of logits and put in: the golden numbers and laws."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden, variants
from vmf_embeddings.metrics.prior import (
    choose_tau,
    class_recall,
    estimated_prior,
    first_rows,
    log_frequencies,
    long_tailed_counts,
    predictions,
    recall_means,
    weighted_share,
)

GOLDEN = load_golden("longtail_posthoc")
CASES = [case for case in cases(GOLDEN) if case.startswith("p")]
TEST_SETS = variants(GOLDEN, "em_prior")


def arrays(case):
    return (
        GOLDEN[f"{case}/test_logits"],
        torch.from_numpy(GOLDEN[f"{case}/test_labels"]),
        GOLDEN[f"{case}/train_counts"],
    )


@pytest.mark.parametrize("case", CASES)
def test_the_chosen_strength_and_its_recalls_are_the_golden_ones(case):
    logits, labels, counts = arrays(case)
    prior = log_frequencies(counts)
    choice = choose_tau(GOLDEN[f"{case}/valid_logits"], GOLDEN[f"{case}/valid_labels"], prior)
    assert choice.tau == float(GOLDEN[f"{case}/chosen_tau"])
    np.testing.assert_allclose(
        choice.macro_accuracy, GOLDEN[f"{case}/valid_macro_accuracy"], rtol=1e-12
    )
    own = {"macro_accuracy": "arithmetic_mean", "worst_class": "worst"}
    for name, tau in (("tau_0", 0), ("tau_1", 1), ("tau_chosen", choice.tau)):
        recall = class_recall(predictions(logits, labels, -tau * prior).guess, labels, len(counts))
        place = f"{case}/{name}"
        np.testing.assert_allclose(recall, GOLDEN[f"{place}/recall_per_class"], rtol=1e-12)
        for score, value in recall_means(recall).items():
            expected = float(GOLDEN[f"{place}/{own.get(score, score)}"])
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), (name, score)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("test_set", TEST_SETS)
def test_test_sets_of_other_frequencies_are_the_golden_ones(case, test_set):
    logits, labels, train = arrays(case)
    prior, n_rows = log_frequencies(train), int(labels.bincount().max())
    ratio = 1 if test_set == "prior_uniform" else int(test_set.partition("ward")[2])
    counts = long_tailed_counts(train, ratio, n_rows, backward="back" in test_set)
    place = f"{case}/{test_set}"
    assert counts.tolist() == GOLDEN[f"{place}/test_counts"].tolist()
    kept, share = first_rows(labels, counts), counts.double() / counts.sum()
    estimate = estimated_prior(logits[kept.numpy()], prior)
    np.testing.assert_allclose(estimate, GOLDEN[f"{place}/em_prior"], rtol=1e-8, atol=1e-9)
    found = {
        "plain": predictions(logits, labels, torch.zeros(len(train))),
        "uniform_prior": predictions(logits, labels, -prior),
        "true_prior": predictions(logits, labels, share.log() - prior),
        "em_prior": predictions(logits, labels, estimate.log() - prior),
    }
    weights = counts[labels].double() / n_rows
    for name, one in found.items():
        right = (one.guess == labels).double()
        expected = float(GOLDEN[f"{place}/accuracy_{name}"])
        assert float(right[kept].mean()) == pytest.approx(expected, rel=1e-12), name
        weighted = GOLDEN.get(f"{place}/weighted_accuracy_{name}", None)
        if weighted is not None:
            assert weighted_share(right, weights) == pytest.approx(float(weighted), rel=1e-12)
    nll = float(-found["true_prior"].log_p[kept].mean())
    assert nll == pytest.approx(float(GOLDEN[f"{place}/nll_true_prior"]), rel=1e-9)


def test_a_ratio_of_1_is_a_uniform_test_set_in_both_directions():
    for backward in (False, True):
        assert long_tailed_counts([5, 50, 9], 1, 7, backward=backward).tolist() == [7, 7, 7]
    with pytest.raises(ValueError, match="rho must be at least 1"):
        long_tailed_counts([5, 50, 9], 0.5, 7, backward=False)


def test_backward_turns_the_order_of_classes_around():
    train = [300, 5, 40, 100]
    forward = long_tailed_counts(train, 8, 80, backward=False)
    assert forward.tolist() == [80, 10, 20, 40]
    assert long_tailed_counts(train, 8, 80, backward=True).tolist() == [10, 80, 40, 20]
    assert long_tailed_counts([3], 8, 80, backward=True).tolist() == [80]


def test_the_first_rows_of_each_class_are_kept_in_order():
    labels = [1, 0, 1, 2, 1, 0]
    assert first_rows(labels, [1, 2, 5]).tolist() == [0, 1, 2, 3]
    assert first_rows(labels, [0, 0, 0]).tolist() == []


def some_logits(n=3000, seed=0, draws=None):
    """Logits that are the log posterior of classes with frequencies .6, .3, .1."""
    rng = np.random.default_rng(seed)
    prior = np.array([0.6, 0.3, 0.1])
    labels = rng.choice(3, n, p=prior)
    x = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    logits = 1.5 * x + np.log(prior)
    if draws is not None:
        logits = logits[:, None] + 0.1 * rng.normal(size=(n, draws, 3))
    return logits, labels, prior


def test_the_true_prior_is_best_where_logits_are_calibrated():
    logits, labels, prior = some_logits()
    for test_set in ([0.1, 0.3, 0.6], [1 / 3] * 3, [0.8, 0.1, 0.1]):
        weights = (np.array(test_set) / prior)[labels]
        right = {
            name: predictions(logits, labels, offset).guess == torch.from_numpy(labels)
            for name, offset in (
                ("plain", np.zeros(3)),
                ("uniform", -np.log(prior)),
                ("true", np.log(test_set) - np.log(prior)),
            )
        }
        best = weighted_share(right["true"], weights)
        assert best >= weighted_share(right["plain"], weights) - 0.005
        assert best >= weighted_share(right["uniform"], weights) - 0.005


def test_estimated_frequencies_are_near_the_true_ones_and_weights_repeat_rows():
    logits, labels, prior = some_logits()
    wanted = np.array([0.1, 0.3, 0.6])
    estimate = estimated_prior(logits, np.log(prior), (wanted / prior)[labels])
    np.testing.assert_allclose(estimate, wanted, atol=0.03)
    twice = np.repeat(np.arange(len(labels)), 1 + labels)
    repeated = estimated_prior(logits[twice], np.log(prior))
    torch.testing.assert_close(
        repeated, estimated_prior(logits, np.log(prior), 1.0 + labels), rtol=0, atol=1e-9
    )


def test_the_offset_is_added_to_every_draw():
    logits, labels, prior = some_logits(n=50, draws=4)
    found = predictions(logits, labels, -np.log(prior))
    mean = (torch.from_numpy(logits) - torch.from_numpy(np.log(prior))).softmax(-1).mean(1)
    assert found.guess.tolist() == mean.argmax(1).tolist()
    own = mean[torch.arange(50), torch.from_numpy(labels)].log()
    torch.testing.assert_close(found.log_p, own)


def test_a_class_without_images_counts_as_the_smallest_that_has_some():
    found = log_frequencies([8, 0, 2]).exp()
    torch.testing.assert_close(found, torch.tensor([8, 2, 2], dtype=torch.float64) / 12)
    for counts in ([0, 0], [-1, 2], [[1, 2]]):
        with pytest.raises(ValueError, match="counts must be"):
            log_frequencies(counts)


def test_equal_frequencies_change_no_prediction_and_tau_1_is_chosen_among_equals():
    logits, labels, _ = some_logits(n=100)
    prior = log_frequencies([7, 7, 7])
    before = predictions(logits, labels, np.zeros(3)).guess
    assert predictions(logits, labels, -prior).guess.tolist() == before.tolist()
    assert choose_tau(logits, labels, prior).tau == 1


def test_means_of_recall_leave_out_classes_without_rows_and_are_0_with_one_never_right():
    found = recall_means([1.0, math.nan, 0.5])
    assert found["macro_accuracy"] == 0.75 and found["worst_class"] == 0.5
    assert found["geometric_mean"] == pytest.approx(0.5**0.5)
    assert found["harmonic_mean"] == pytest.approx(2 / 3)
    never = recall_means([1.0, 0.0, 0.0])
    assert (never["geometric_mean"], never["harmonic_mean"]) == (0, 0)
    assert never["classes_never_right"] == 2
    all_right = recall_means(np.ones(30))
    assert {v for k, v in all_right.items() if k != "classes_never_right"} == {1.0}
    assert recall_means(np.r_[np.zeros(3), np.ones(27)])["worst_tenth"] == 0
    with pytest.raises(ValueError, match="no class has rows"):
        recall_means([math.nan])
