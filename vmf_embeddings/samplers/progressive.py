"""Progressively balanced sampling: from instance-balanced to class-balanced over the epochs.

Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
https://arxiv.org/abs/1910.09217, equation 2.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.base import check_positive
from vmf_embeddings.samplers.weighted import WeightedSampler


class ProgressiveSampler(WeightedSampler):
    """p_k(e) = (1 - e / E) n_k / N + (e / E) / C in epoch e of E.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        balanced_at_last: True = e / (E - 1) instead of e / E, as in the paper's code, so that the
            last epoch is class-balanced; False = as in the paper.
        seed: >= 0.
    """

    balances = True
    needs_length = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, balanced_at_last: bool, seed: int
    ) -> None:
        super().__init__(labels, batch_size=batch_size, seed=seed)
        self.balanced_at_last = balanced_at_last
        self.n_epochs: int | None = None

    def configure(self, *, n_epochs: int) -> None:
        """Sets the number of epochs E, >= 1."""
        check_positive(n_epochs=n_epochs)
        self.n_epochs = n_epochs

    def class_probabilities(self) -> np.ndarray:
        """Class probabilities [C] of this epoch; uniform from epoch E on.

        Raises:
            ValueError: `configure` was not called.
        """
        if self.n_epochs is None:
            raise ValueError(
                "the progressive sampler needs the number of epochs: call configure(n_epochs=…) "
                "before the first epoch"
            )
        span = max(self.n_epochs - self.balanced_at_last, 1)
        fraction = min(self.epoch / span, 1.0)
        counts = self.classes.counts
        return (1 - fraction) * counts / counts.sum() + fraction / len(counts)
