"""From the classes of the data to all classes alike, epoch by epoch.

Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
https://arxiv.org/abs/1910.09217, equation 2.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.base import positive
from vmf_embeddings.samplers.weighted import WeightedSampler


class ProgressiveSampler(WeightedSampler):
    """p_k(e) = (1 - e / E) n_k / N + (e / E) / C in epoch e of E.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        balanced_at_last: whether e / (E - 1) stands for e / E, so that the last epoch is balanced,
            as in the paper's code; otherwise, as in the paper, it stops one step before.
        seed: >= 0.
    """

    balances = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, balanced_at_last: bool, seed: int
    ) -> None:
        super().__init__(labels, batch_size=batch_size, seed=seed)
        self.balanced_at_last = balanced_at_last
        self.n_epochs: int | None = None

    def configure(self, *, n_epochs: int) -> None:
        """Told E, >= 1, before the first epoch."""
        positive(n_epochs=n_epochs)
        self.n_epochs = n_epochs

    def class_probabilities(self) -> np.ndarray:
        """The mixture of this epoch, [C]; balanced from epoch E on.

        Raises:
            ValueError: nobody has said how many epochs there are.
        """
        if self.n_epochs is None:
            raise ValueError(
                "the progressive sampler mixes by epoch and total: call configure(n_epochs=…) "
                "before the first epoch"
            )
        span = max(self.n_epochs - self.balanced_at_last, 1)
        share = min(self.epoch / span, 1.0)
        counts = self.classes.counts
        return (1 - share) * counts / counts.sum() + share / len(counts)
