"""A sampler that learns how often each class is drawn.

Ren et al. 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", section 4 and
algorithm 1, https://arxiv.org/abs/2007.10740, drawing a class and then one of its images.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, positive
from vmf_embeddings.samplers.class_aware import images_in_turn
from vmf_embeddings.samplers.classes import Classes


class MetaSampler(BatchSampler):
    """Class k has probability n_k sigmoid(psi_k) over the sum; psi is learned by a meta loss.

    A batch has `batch_size` slots to learn from, then `meta_batch_size` images to judge by. A slot
    takes the class with the largest logit log n_k + log sigmoid(psi_k) + Gumbel noise; gradients go
    through the softmax of these logits instead (straight-through estimate). The images to judge by
    come from a part of each class that no slot draws, classes in turn. Who trains says after every
    batch, through `learn`, what each slot did to the loss on them; the next batch is drawn by what
    follows. So batches must not be drawn ahead, and a resumed run needs `state_dict`.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: B, slots, >= 1; floor(N / B) batches make an epoch, at least one.
        meta_batch_size: M, images to judge by, >= 1.
        meta_share: share of each class kept to judge by, in (0, 1), at least one image and never
            all; the image of a class that has no other serves for both.
        learning_rate: Adam's, of psi, >= 0.
        init_power: >= 0; at the start sigmoid(psi_k) is in proportion to n_k^-init_power, 0 =
            all 1/2, the data's own frequencies.
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
        positive(batch_size=batch_size, meta_batch_size=meta_batch_size)
        for name, value in {"learning_rate": learning_rate, "init_power": init_power}.items():
            if not (0 <= value < np.inf):
                raise ValueError(f"sampler.{name} must be >= 0, got {value}")
        if not 0 < meta_share < 1:
            raise ValueError(f"sampler.meta_share must be in (0, 1), got {meta_share}")
        self.batch_size, self.meta_batch_size = batch_size, meta_batch_size
        self.slots, self.judges = _divided(self.labels, meta_share, seed)
        self.psi = torch.from_numpy(_first_psi(self.slots.counts, init_power)).requires_grad_()
        self.adam = torch.optim.Adam([self.psi], lr=learning_rate)
        self._drawn: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        rng, m = self.generator(), self.meta_batch_size
        for batch in range(len(self)):
            noise = rng.gumbel(size=(self.batch_size, len(self.slots)))
            logits = self.class_logits() + noise
            classes = logits.argmax(1)
            self._drawn = logits, classes
            slots = self.slots.image(classes, rng.integers(self.slots.counts[classes]))
            first = (self.epoch * len(self) + batch) * m
            judges = images_in_turn(self.judges, 1, first, m, seed=self.seed).ravel()
            yield torch.from_numpy(np.concatenate([slots, judges]))

    def class_logits(self) -> np.ndarray:
        """Log of n_k sigmoid(psi_k), [C]: logits of the class of a slot."""
        return np.log(self.slots.counts) - np.logaddexp(0, -self.psi.detach().numpy())

    def class_probabilities(self) -> np.ndarray:
        """Probabilities [C] of the class of a slot."""
        return _softmax(self.class_logits())

    def learn(self, slopes: Tensor) -> None:
        """Moves psi by one step of Adam, down the meta loss.

        Args:
            slopes: [B], derivative of the meta loss with respect to the weight of each slot of the
                last batch, at weight 1.

        Raises:
            ValueError: there is no last batch, or it had another number of slots.
        """
        if self._drawn is None or len(slopes) != self.batch_size:
            raise ValueError(
                f"expected slopes for the {self.batch_size} slots of a batch, got {len(slopes)}"
            )
        self.psi.grad = torch.from_numpy(self.gradient(slopes.cpu().double().numpy()))
        self.adam.step()

    def gradient(self, slopes: np.ndarray) -> np.ndarray:
        """Gradient [C] in psi of sum_b slopes_b y_b, with y_b the softmax of slot b at its class.

        dy_b / dpsi_k = y_b (1[k = class of b] - softmax_bk) sigmoid(-psi_k).

        Args:
            slopes: [B], of the slots of the last batch.
        """
        logits, classes = self._drawn
        soft = _softmax(logits)
        pulls = slopes * soft[np.arange(len(classes)), classes]
        total = np.bincount(classes, pulls, minlength=len(self.slots)) - pulls @ soft
        return total * np.exp(-np.logaddexp(0, self.psi.detach().numpy()))

    def state_dict(self) -> dict[str, Any]:
        """Epoch and seed, psi and what Adam remembers of it."""
        learned = {"psi": self.psi.detach().clone(), "adam": self.adam.state_dict()}
        return super().state_dict() | learned

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        super().load_state_dict(state)
        self.psi.data.copy_(state["psi"])
        self.adam.load_state_dict(state["adam"])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _first_psi(counts: np.ndarray, init_power: float) -> np.ndarray:
    """Psi [C] whose sigmoid is n_k^-init_power over the smallest plus the largest of these."""
    inverse = (counts / counts.sum()) ** -float(init_power)
    rates = inverse / (inverse.min() + inverse.max())
    return np.log(rates) - np.log1p(-rates)


def _divided(labels: np.ndarray, share: float, seed: int) -> tuple[Classes, Classes]:
    """The images of every class in two parts, the second about `share` of them."""
    order = np.random.default_rng((seed, 2)).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = Classes(labels).counts
    kept = np.clip(np.rint(share * sizes).astype(int), 1, np.maximum(sizes - 1, 1))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    judges = place < np.repeat(kept, sizes)
    slots = ~judges | np.repeat(sizes == 1, sizes)
    return tuple(Classes(labels[order[part]], order[part]) for part in (slots, judges))
