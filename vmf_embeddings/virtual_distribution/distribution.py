"""Virtual examples per class of a run's training images, and their means over groups of classes.

The virtual examples of class k are sum_n p_nk, the softened probabilities of the class summed over
the training images.

He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.distillation import virtual_counts
from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics import Thresholds
from vmf_embeddings.metrics.shots import GROUPS
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.embed import embed_with_progress


@dataclass(frozen=True)
class Softening:
    """How predicted probabilities are softened: in proportion to softmax(logits / tau)^p.

    Args:
        temperature: tau > 0, divides the logits.
        power: p > 0, exponent of the probabilities; 1 = none.
    """

    temperature: float
    power: float = 1.0

    def __post_init__(self) -> None:
        for key in ("temperature", "power"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"mode.{key}s must be numbers > 0, got {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"mode.{key}s must be > 0, got {value}")

    @property
    def effective(self) -> float:
        """The temperature tau / p that has the same effect without a power."""
        return self.temperature / self.power

    def __str__(self) -> str:
        power = "" if self.power == 1 else f", p={self.power:g}"
        return f"tau={self.temperature:g}{power}"


def softenings(temperatures: Sequence[float], powers: Sequence[float]) -> list[Softening]:
    """All combinations of temperatures and powers, sorted by effective temperature.

    >>> [str(each) for each in softenings([1, 3], [1, 0.5])]
    ['tau=1', 'tau=1, p=0.5', 'tau=3', 'tau=3, p=0.5']
    """
    found = {Softening(tau, p) for tau in temperatures for p in powers}
    if not found:
        raise ValueError("mode.temperatures and mode.powers need at least one number each")
    return sorted(found, key=lambda each: (each.effective, each.temperature))


@torch.no_grad()
def measure(
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
    wanted: Sequence[Softening],
    batch_size: int,
) -> dict[Softening, Tensor]:
    """Virtual examples per class of a split without augmentation, in one pass over it.

    Args:
        method: trained, on the accelerator's device.
        batches: this process's part of the split.
        accelerator: device and processes.
        wanted: the softenings.
        batch_size: rows of logits that are computed at a time.

    Returns:
        For each softening the virtual examples float64 [C] on the CPU, whose sum is N.

    Raises:
        ValueError: the method has no logits.
    """
    embeddings = embed_with_progress(method, batches, accelerator, "training images")
    totals: dict[Softening, Tensor] = {}
    for rows in embeddings.split(batch_size):
        logits = method.unadjusted_logits(rows)
        if logits is None:
            raise ValueError(f"method={method.name} has no logits, and so no virtual examples")
        for each in wanted:
            counts = virtual_counts(logits, each.temperature, each.power)
            totals[each] = totals[each] + counts if each in totals else counts
    return {each: counts.cpu() for each, counts in totals.items()}


@dataclass(frozen=True)
class Series:
    """Virtual examples or images per class, with a label.

    Args:
        label: for tables and legends.
        counts: [C], >= 0.
    """

    label: str
    counts: Tensor


@dataclass(frozen=True)
class Groups:
    """The groups of classes (many-, medium- and few-shot) by their number of training images.

    Args:
        train_counts: training images per class, int64 [C].
        thresholds: bounds of the groups.
    """

    train_counts: Tensor
    thresholds: Thresholds

    def sizes(self) -> dict[str, int]:
        """Number of classes in each group that is not empty, from many- to few-shot."""
        numbers = self.thresholds.group(self.train_counts)
        sizes = {name: int((numbers == i).sum()) for i, name in enumerate(GROUPS)}
        return {name: size for name, size in sizes.items() if size}

    def means(self, counts: Tensor) -> dict[str, float]:
        """Mean of `counts` [C] over the classes of each group that is not empty.

        >>> groups = Groups(torch.tensor([300, 200, 5]), Thresholds())
        >>> groups.means(torch.tensor([200.0, 180.0, 125.0]))
        {'many': 190.0, 'few': 125.0}
        """
        numbers = self.thresholds.group(self.train_counts)
        return {
            name: float(counts[numbers == GROUPS.index(name)].double().mean())
            for name in self.sizes()
        }
