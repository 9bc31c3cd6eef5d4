"""Accuracy, likelihood and Brier: laws, special cases, stored reference numbers."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics import (
    accuracy,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    probabilities,
)
from vmf_embeddings.metrics import classification as module

GOLDEN = load_golden("classification_metrics")


@pytest.mark.parametrize("case", [c for c in cases(GOLDEN) if f"{c}/logits" in GOLDEN])
def test_golden(case):
    labels = GOLDEN[f"{case}/ids"]
    predicted = probabilities(GOLDEN[f"{case}/logits"])
    # 1e-6: the stored probabilities and errors come from float32 softmax
    np.testing.assert_allclose(predicted, GOLDEN[f"{case}/probs"], rtol=0, atol=1e-6)
    assert accuracy(predicted, labels) == pytest.approx(GOLDEN[f"{case}/acc"], abs=1e-15)
    confidence, guess = predicted.max(1)
    error = expected_calibration_error(
        confidence, guess.numpy() == labels, norm=2, binning="equal_mass"
    )
    assert error == pytest.approx(GOLDEN[f"{case}/ece_15_p2"], abs=1e-6)


def test_probabilities_are_the_mean_of_the_draws_softmax(monkeypatch):
    logits = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([logits[:, s].double().softmax(1) for s in range(3)]).mean(0)
    torch.testing.assert_close(probabilities(logits), expected, rtol=0, atol=1e-15)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 25)
    torch.testing.assert_close(probabilities(logits), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(probabilities(logits[:, :1]), probabilities(logits[:, 0]))


def test_huge_logits_stay_finite():
    predicted = probabilities(np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32))
    assert negative_log_likelihood(predicted, [0, 1]) == 0.0
    assert negative_log_likelihood(predicted, [1, 1]) == math.inf


def test_likelihood_and_brier_equal_their_written_sums():
    generator = torch.Generator().manual_seed(1)
    predicted = torch.randn(20, 5, generator=generator).double().softmax(1)
    labels = torch.randint(0, 5, (20,), generator=generator)
    likelihood = -np.mean([math.log(predicted[i, labels[i]]) for i in range(20)])
    brier = np.mean(
        [
            sum((predicted[i, c] - (c == labels[i]).double()) ** 2 for c in range(5))
            for i in range(20)
        ]
    )
    assert negative_log_likelihood(predicted, labels) == pytest.approx(likelihood, abs=1e-14)
    assert brier_score(predicted, labels) == pytest.approx(brier, abs=1e-14)


def test_uniform_predictions_have_known_scores():
    predicted = np.full((6, 4), 0.25)
    labels = [0, 1, 2, 3, 0, 1]
    assert negative_log_likelihood(predicted, labels) == pytest.approx(math.log(4))
    assert brier_score(predicted, labels) == pytest.approx(0.75)
    assert accuracy(predicted, labels) == pytest.approx(2 / 6)


@pytest.mark.parametrize("score", [accuracy, brier_score, negative_log_likelihood])
def test_rows_and_labels_must_fit(score):
    with pytest.raises(ValueError, match="labels must be in 0..1"):
        score([[0.5, 0.5]], [2])
    with pytest.raises(ValueError, match=r"\[N, C\]"):
        score([[0.5, 0.5]], [0, 1])
    with pytest.raises(ValueError, match="integers"):
        score([[0.5, 0.5]], [0.5])


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[N, C\] or \[N, S, C\]"):
        probabilities([0.1, 0.2])
