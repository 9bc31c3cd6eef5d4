"""A sampler that learns the probabilities with which classes are drawn.

Ren et al. 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", section 4 and
algorithm 1, https://arxiv.org/abs/2007.10740, drawing a class and then one of its images.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive
from vmf_embeddings.samplers.class_aware import round_robin_images
from vmf_embeddings.samplers.classes import Classes


class MetaSampler(BatchSampler):
    """Class k has probability n_k sigmoid(psi_k) / sum_j n_j sigmoid(psi_j); psi is learned.

    A batch has `batch_size` training images, then `meta_batch_size` meta images. The class of a
    training image is the one with the largest logit log n_k + log sigmoid(psi_k) + Gumbel noise;
    gradients are those of the softmax of these logits (straight-through estimator). Meta images are
    from a held-out part of each class, which is not trained on, with classes in round-robin order.
    After every batch the training step calls `learn` with the derivatives of the loss of the meta
    images; the next batch is drawn with the updated psi. So batches must not be drawn in advance,
    and a resumed run needs `state_dict`.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: training images per batch B, >= 1; floor(N / B) batches make an epoch, at least
            one.
        meta_batch_size: meta images per batch M, >= 1.
        meta_share: fraction of each class that is held out for the meta loss, in (0, 1): at least
            one image and never all; a single image of a class is used for both.
        learning_rate: of Adam for psi, >= 0.
        init_power: >= 0; initially sigmoid(psi_k) is in proportion to n_k^-init_power. 0 = all 1/2,
            which gives the class frequencies of the data.
        seed: >= 0.
    """

    learns = True

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        meta_batch_size: int,
        meta_share: float,
        learning_rate: float,
        init_power: float,
        seed: int,
    ) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size, meta_batch_size=meta_batch_size)
        for name, value in {"learning_rate": learning_rate, "init_power": init_power}.items():
            if not (0 <= value < np.inf):
                raise ValueError(f"sampler.{name} must be >= 0, got {value}")
        if not 0 < meta_share < 1:
            raise ValueError(f"sampler.meta_share must be in (0, 1), got {meta_share}")
        self.batch_size, self.meta_batch_size = batch_size, meta_batch_size
        self.train_classes, self.meta_classes = _train_and_meta(self.labels, meta_share, seed)
        self.psi = torch.from_numpy(
            _initial_psi(self.train_classes.counts, init_power)
        ).requires_grad_()
        self.adam = torch.optim.Adam([self.psi], lr=learning_rate)
        self._drawn: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        rng, m = self.generator(), self.meta_batch_size
        for batch in range(len(self)):
            noise = rng.gumbel(size=(self.batch_size, len(self.train_classes)))
            logits = self.class_logits() + noise
            classes = logits.argmax(1)
            self._drawn = logits, classes
            numbers = rng.integers(self.train_classes.counts[classes])
            train = self.train_classes.image(classes, numbers)
            first = (self.epoch * len(self) + batch) * m
            meta = round_robin_images(self.meta_classes, 1, first, m, seed=self.seed).ravel()
            yield torch.from_numpy(np.concatenate([train, meta]))

    def class_logits(self) -> np.ndarray:
        """log(n_k sigmoid(psi_k)), [C]: logits of the class of a training image."""
        return np.log(self.train_classes.counts) - np.logaddexp(0, -self.psi.detach().numpy())

    def class_probabilities(self) -> np.ndarray:
        """Probabilities [C] of the class of a training image."""
        return _softmax(self.class_logits())

    def learn(self, slopes: Tensor) -> None:
        """Updates psi by one step of Adam that decreases the meta loss.

        Args:
            slopes: [B], derivative of the meta loss with respect to the sample weight of each
                training image of the last batch, at weight 1.

        Raises:
            ValueError: no batch was drawn, or it had another number of training images.
        """
        if self._drawn is None or len(slopes) != self.batch_size:
            raise ValueError(
                f"expected slopes for the {self.batch_size} training images of a batch that was "
                f"drawn before, got {len(slopes)}"
            )
        self.psi.grad = torch.from_numpy(self.gradient(slopes.cpu().double().numpy()))
        self.adam.step()

    def gradient(self, slopes: np.ndarray) -> np.ndarray:
        """Gradient [C] with respect to psi of sum_b slopes_b y_b.

        y_b = softmax_b,c is the softmax of the logits of training image b at its class c.
        dy_b / dpsi_k = y_b (1[k = c] - softmax_b,k) sigmoid(-psi_k).

        Args:
            slopes: [B], for the training images of the last batch.
        """
        logits, classes = self._drawn
        soft = _softmax(logits)
        weighted = slopes * soft[np.arange(len(classes)), classes]  # slopes_b y_b
        per_class = np.bincount(classes, weighted, minlength=len(self.train_classes))
        return (per_class - weighted @ soft) * np.exp(-np.logaddexp(0, self.psi.detach().numpy()))

    def state_dict(self) -> dict[str, Any]:
        """Epoch, seed, psi and the state of Adam."""
        learned = {"psi": self.psi.detach().clone(), "adam": self.adam.state_dict()}
        return super().state_dict() | learned

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state."""
        super().load_state_dict(state)
        self.psi.data.copy_(state["psi"])
        self.adam.load_state_dict(state["adam"])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _initial_psi(counts: np.ndarray, init_power: float) -> np.ndarray:
    """Psi [C] with sigmoid(psi_k) = r_k / (min r + max r), where r_k = (n_k / N)^-init_power."""
    inverse = (counts / counts.sum()) ** -float(init_power)
    rates = inverse / (inverse.min() + inverse.max())
    return np.log(rates) - np.log1p(-rates)


def _train_and_meta(labels: np.ndarray, fraction: float, seed: int) -> tuple[Classes, Classes]:
    """Splits the images of every class at random into training and about `fraction` meta images."""
    order = np.random.default_rng((seed, 2)).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = Classes(labels).counts
    n_meta = np.clip(np.rint(fraction * sizes).astype(int), 1, np.maximum(sizes - 1, 1))
    position = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within class
    meta = position < np.repeat(n_meta, sizes)
    train = ~meta | np.repeat(sizes == 1, sizes)
    return tuple(Classes(labels[order[part]], order[part]) for part in (train, meta))
