"""Directions and concentrations of classes from sums of unit rows, for ProCo.

Du, Wang, Song, Huang 2024, "Probabilistic Contrastive Learning for Long-Tailed Visual Recognition",
section 3.3, https://arxiv.org/abs/2403.06726. The concentration is the one of largest likelihood,
A_D^-1(R), not the approximation D R / (1 - R^2) of the published code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vmf_embeddings.directional import cosine_variance, mean_cosine
from vmf_embeddings.directional.bessel import widen

STATISTICS = ("window", "shrunk")
PUBLISHED_MAX = 1e5  # concentration of what the published code finds equal
_NEWTON_STEPS = 4  # reach the rounding error from the start of Banerjee et al.
_START_LENGTH = 0.9  # of the mean of a class not seen yet, in the published code


class ClassDistributions(NamedTuple):
    """One von Mises-Fisher distribution for each class.

    Attributes:
        mu: unit mean directions [C, D]; of any direction where kappa is 0.
        kappa: concentrations [C], >= 0, in float64 where the device has it.
    """

    mu: Tensor
    kappa: Tensor


def concentration(resultant: Tensor, dim: int, largest: float) -> Tensor:
    """Kappa with A_D(kappa) = resultant, at most `largest`; never waits for a device.

    Args:
        resultant: mean resultant lengths in [0, 1], any shape, in float64.
        dim: D >= 2.
        largest: > 0, for rows that are equal, or nearly.

    Example:
        >>> concentration(torch.tensor([0.313035, 1.0], dtype=torch.float64), 3, 1e3)
        tensor([1.0000e+00, 1.0000e+03], dtype=torch.float64)
    """
    at_most = mean_cosine(torch.full_like(resultant[:1], largest), dim)
    r = torch.minimum(resultant, at_most)
    kappa = r * (dim - r.square()) / (1 - r.square())
    for _ in range(_NEWTON_STEPS):
        step = (mean_cosine(kappa, dim) - r) / cosine_variance(kappa, dim)
        kappa = (kappa - step).clamp(0.0, largest)
    return kappa


def shrunk_resultant(resultant: Tensor, counts: Tensor) -> Tensor:
    """Sqrt of (n R^2 - 1) / (n - 1), at least 0: R^2 without the bias of a few rows.

    For n independent unit rows E[R^2] = rho^2 + (1 - rho^2) / n, with rho that of infinitely many.

    Args:
        resultant: R in [0, 1], [C].
        counts: n, [C].

    Example:
        >>> shrunk_resultant(torch.tensor([0.8, 0.8]), torch.tensor([2.0, 100.0]))
        tensor([0.5292, 0.7977])
    """
    unbiased = (counts * resultant.square() - 1) / (counts - 1).clamp_min(1)
    return unbiased.clamp_min(0).sqrt()


class ClassStatistics(nn.Module):
    """Sums of unit rows of every class over the last epoch and this one; all of it is state.

    Sums and not means, so that neither the order nor the division of rows matters. A class with
    fewer than `min_count` rows has kappa 0: its distribution is uniform.

    Args:
        n_classes: C.
        dim: D.
        statistics: "window", or "shrunk" with `shrunk_resultant`.
        min_count: >= 1.
        kappa_max: largest concentration, > 0.
        reference: as in the published code: a class without rows has a random direction and mean
            length 0.9, any other counts, and kappa is D R / (1 - R^2).
    """

    moves_in_pass = 1  # of two over a batch: both see the same distributions
    sums: Tensor
    counts: Tensor
    epoch: Tensor
    directions: Tensor | None

    def __init__(
        self,
        n_classes: int,
        dim: int,
        *,
        statistics: str,
        min_count: int,
        kappa_max: float,
        reference: bool,
    ) -> None:
        super().__init__()
        self.frozen = False  # set during the second of two passes over a batch
        self.dim, self.statistics = dim, statistics
        self.min_count, self.kappa_max = min_count, kappa_max
        # of the last epoch and this one; of this one
        self.register_buffer("sums", torch.zeros(2, n_classes, dim))
        self.register_buffer("counts", torch.zeros(2, n_classes))
        self.register_buffer("epoch", torch.tensor(-1))
        start = self._random_directions(n_classes) if reference else None
        self.register_buffer("directions", start)

    def _random_directions(self, n_classes: int) -> Tensor:
        return normalize(torch.randn(2, n_classes, self.dim), dim=-1)

    def begin_epoch(self, epoch: int) -> None:
        """Lets the window begin at the last epoch; nothing when an epoch goes on after a stop."""
        if int(self.epoch) == epoch:
            return
        self.epoch.fill_(epoch)
        for buffer in (self.sums, self.counts):
            buffer[0] = buffer[1]
            buffer[1] = 0
        if self.directions is not None:
            new = self._random_directions(self.directions.shape[1]).to(self.directions)
            self.directions.copy_(torch.stack([self.directions[1], new[1]]))

    @torch.no_grad()
    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Adds unit rows [N, D] of the classes [N]."""
        if self.frozen:
            return
        batch = torch.zeros_like(self.sums[0]).index_add_(0, labels, rows.to(self.sums.dtype))
        self.sums += batch
        self.counts += torch.zeros_like(self.counts[0]).index_add_(
            0, labels, self.counts.new_ones(()).expand(len(labels))
        )

    @torch.no_grad()
    def fitted(self) -> ClassDistributions:
        """The distributions of the window."""
        if self.directions is not None:
            return self._as_published()
        counts, lengths = widen(self.counts[0]), torch.linalg.vector_norm(self.sums[0], dim=1)
        resultant = (widen(lengths) / counts.clamp_min(1)).clamp_max(1)
        if self.statistics == "shrunk":
            resultant = shrunk_resultant(resultant, counts)
        kappa = concentration(resultant, self.dim, self.kappa_max)
        kappa = torch.where(counts >= self.min_count, kappa, 0)
        return ClassDistributions(self.sums[0] / lengths.clamp_min(1e-12)[:, None], kappa)

    def _as_published(self) -> ClassDistributions:
        counts = self.counts[0][:, None]
        start = _START_LENGTH * self.directions[0]
        means = torch.where(counts > 0, self.sums[0] / counts.clamp_min(1), start)
        resultant = widen(torch.linalg.vector_norm(means, dim=1))
        kappa = self.dim * resultant / (1 - resultant.square())
        is_most = (kappa > PUBLISHED_MAX) | (kappa < 0)
        return ClassDistributions(
            normalize(means, dim=1), kappa.masked_fill(is_most, PUBLISHED_MAX)
        )
