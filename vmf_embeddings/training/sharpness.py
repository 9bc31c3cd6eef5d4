"""Sharpness-aware minimisation with any optimizer: the gradient at perturbed weights.

SAM: Foret, Kleiner, Mobahi, Neyshabur 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
ASAM: Kwon, Kim, Park, Choi 2021, https://arxiv.org/abs/2102.11600, whose perturbation scales
with |w|. The steps are those of pytorch-optimizer (https://github.com/kozistr/pytorch_optimizer).
"""

from collections.abc import Sequence

import torch
from pytorch_optimizer import SAM

Radius = float | Sequence[Sequence[float]]
STATISTICS = ("once", "twice")


class SharpnessAware(SAM):
    """Computes the gradient at w + eps, and updates the weights w by it with the optimizer `base`.

    eps = rho g / |g| (SAM) or rho w^2 g / | |w| g | (ASAM), with g the gradient at w and the norm
    over all groups. State and groups are those of `base`, so checkpoints contain its momentum, and
    schedules set its learning rates as usual.

    Args:
        base: the optimizer that updates w.
        rho: radius, >= 0; or pairs [from epoch, radius] that begin with epoch 0.
        adaptive: whether eps scales with the weights (ASAM).
        batch_statistics: "once" = BatchNorm's running statistics are updated at w only; "twice" =
            at w + eps too, as in the authors' code.

    Raises:
        ValueError: `rho` or `batch_statistics` is none of these.
    """

    passes = 2

    def __init__(
        self, base: torch.optim.Optimizer, rho: Radius, *, adaptive: bool, batch_statistics: str
    ) -> None:
        if batch_statistics not in STATISTICS:
            raise ValueError(
                f"optimizer.params.batch_statistics is one of {', '.join(STATISTICS)}; got "
                f"{batch_statistics!r}"
            )
        self.radii, self.batch_statistics = radii(rho), batch_statistics
        super().__init__(base.param_groups, lambda *_, **__: base, adaptive=adaptive)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Sets the radius of `epoch`, counted from 0."""
        rho = [radius for since, radius in self.radii if since <= epoch][-1]
        for group in self.param_groups:
            group["rho"] = rho


def radii(rho: Radius) -> list[tuple[int, float]]:
    """Pairs (from epoch, radius), from a constant radius or a list of such pairs.

    >>> radii(0.05), radii([[0, 0.05], [60, 0.5]])
    ([(0, 0.05)], [(0, 0.05), (60, 0.5)])

    Raises:
        ValueError: the epochs do not begin with 0 and increase, or a radius is negative.
    """
    pairs = (
        [(0, float(rho))] if isinstance(rho, int | float) else [(int(e), float(r)) for e, r in rho]
    )
    since = [epoch for epoch, _ in pairs]
    if since[:1] != [0] or since != sorted(set(since)) or min(r for _, r in pairs) < 0:
        raise ValueError(
            "optimizer.params.rho: expected a radius >= 0, or pairs [from epoch, radius] whose "
            f"epochs begin with 0 and increase, as in [[0, 0.05], [60, 0.5]]; got {rho}"
        )
    return pairs
