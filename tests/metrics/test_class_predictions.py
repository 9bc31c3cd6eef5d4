"""Predictions by blocks are those of all probabilities at once."""

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics import (
    brier_score,
    negative_log_likelihood,
    probabilities,
)
from vmf_embeddings.metrics.class_predictions import ClassPredictions


@pytest.mark.parametrize("shape", [(11, 5), (11, 3, 5)])
@pytest.mark.parametrize("some", [False, True])
def test_blocks_and_columns_are_parts_of_all_probabilities(shape, some, monkeypatch):
    for name in ("_BLOCK_ELEMENTS", "_COLUMN_ELEMENTS"):
        monkeypatch.setattr(f"vmf_embeddings.metrics.class_predictions.{name}", 30)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=shape).astype(np.float32)
    rows = np.array([7, 2, 9, 3, 0, 1]) if some else None
    labels = rng.integers(0, 5, 6 if some else 11)
    chosen = logits if rows is None else logits[rows]
    made = ClassPredictions(logits, labels, rows)
    for predicted, scaled in ((made, chosen), (made.rescaled(lambda z: z / 4), chosen / 4)):
        whole = probabilities(torch.from_numpy(scaled).double())
        torch.testing.assert_close(predicted.probabilities, whole)
        torch.testing.assert_close(torch.stack([c.clone() for c in predicted.columns()], 1), whole)
        confidence, guess = whole.max(1)
        torch.testing.assert_close(predicted.confidence, confidence)
        assert torch.equal(predicted.guess, guess)
        assert torch.equal(predicted.correct, guess == torch.from_numpy(labels))
        nll, brier = float(predicted.log_losses.mean()), float(predicted.squared_errors.mean())
        assert nll == pytest.approx(negative_log_likelihood(whole, labels))
        assert brier == pytest.approx(brier_score(whole, labels))
