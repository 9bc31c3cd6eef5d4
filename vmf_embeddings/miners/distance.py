"""Negatives at all distances alike.

Wu et al. 2017, "Sampling Matters in Deep Embedding Learning", section 3,
https://arxiv.org/abs/1706.07567.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.miners.base import Miner, Triplets, others, select
from vmf_embeddings.miners.draws import choose, choose_by_weight

VARIANTS = ("standard", "reference")


class DistanceMiner(Miner):
    """One triplet per anchor, its negative by the inverse density of its distance.

    Embeddings are compared on the unit sphere. The positive is any other row of the class, the
    anchor itself where there is none. A negative at distance d has weight 1 / q(max(d, lower)), q
    the density of the distance of two uniform points, and 0 from `upper` on; where all negatives
    of an anchor are that far, they are alike. Only an anchor without negatives makes no triplet.

    Args:
        lower: in (0, 2): weights grow no further below it.
        upper: > lower: nothing is drawn at or beyond it. 1 / q grows again beyond sqrt(2), beyond
            all bounds at 2: without this cut the farthest negative takes nearly all draws.
        variant: "standard", or "reference": without the upper cut, as the code of Roth et al.
            2020 runs.
    """

    def __init__(self, lower: float, upper: float, variant: str) -> None:
        self.lower, self.upper = cuts(lower, upper, variant)

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        weights = log_weights(embeddings, ~same, lower=self.lower, upper=self.upper)
        return one_per_anchor(same, weights, generator)


def cuts(lower: float, upper: float, variant: str) -> tuple[float, float | None]:
    """The two cuts of a variant, checked."""
    if variant not in VARIANTS:
        raise ValueError(f"miner.params.variant must be one of {VARIANTS}, got {variant!r}")
    if not 0 < lower < min(upper, 2):
        raise ValueError(
            f"miner.params: expected 0 < lower < 2 and lower < upper, got lower={lower}, "
            f"upper={upper}"
        )
    return lower, upper if variant == "standard" else None


def sphere_distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances [B, B] in [0, 2] of the rows [B, D] made unit vectors."""
    points = normalize(embeddings, dim=1)
    return (2 - 2 * points @ points.T).clamp(0, 4).sqrt()


def log_inverse_density(distances: Tensor, dim: int) -> Tensor:
    """-log of the density of the distance of two uniform points of the sphere, up to a constant.

    (2 - D) log d - (D - 3) / 2 log(1 - d^2 / 4), eq. (3) of Wu et al. 2017.

    Args:
        distances: any shape, in (0, 2].
        dim: D >= 2.

    Returns:
        Shape of `distances`; finite also at d = 2.

    >>> log_inverse_density(torch.tensor([0.5, 2**0.5, 1.9]), 128).round(decimals=1)
    tensor([91.4000, -0.3000, 64.6000])
    """
    remainder = 1 - distances.square() / 4
    floor = torch.finfo(distances.dtype).eps  # rounding can leave 0 or less at opposite points
    return (2 - dim) * distances.log() - (dim - 3) / 2 * remainder.clamp_min(floor).log()


def log_weights(
    embeddings: Tensor, negatives: Tensor, *, lower: float, upper: float | None
) -> Tensor:
    """Log weights of the negatives of each anchor.

    Args:
        embeddings: float64 [B, D].
        negatives: bool [B, B], which rows an anchor may get.
        lower: smaller distances weigh as this one.
        upper: no weight from this distance on; None = no such cut.

    Returns:
        [B, B], -inf where nothing is drawn.
    """
    distances = sphere_distances(embeddings)
    near = negatives if upper is None else negatives & (distances < upper)
    weights = log_inverse_density(distances.clamp_min(lower), embeddings.shape[1])
    return among(weights, near, negatives)


def among(log_weights: Tensor, first: Tensor, negatives: Tensor) -> Tensor:
    """Log weights [B, B] of the rows in `first`; where an anchor has none, its negatives alike."""
    some = first.any(1, keepdim=True)
    weights = torch.where(some, log_weights, 0.0)
    return weights.masked_fill(~torch.where(some, first, negatives), -torch.inf)


def one_per_anchor(
    same: Tensor, log_weights: Tensor, generator: torch.Generator | None
) -> Triplets:
    """A triplet for each anchor: any other row of its class, a negative by its weight.

    Args:
        same: bool [B, B].
        log_weights: [B, B] of the negatives, -inf for what is none.
        generator: of the draws.

    Returns:
        A triplet for each row that has a negative; a single row of a class is its own positive.
    """
    rows = torch.arange(len(same), device=same.device)
    partners = others(same)
    positive = torch.where(partners.any(1), choose(partners, generator), rows)
    negative = choose_by_weight(log_weights, generator)
    return select(~same.all(1), rows, positive, negative)
