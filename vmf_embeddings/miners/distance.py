"""Distance-weighted sampling: negatives uniformly distributed over the distance to the anchor.

Wu et al. 2017, "Sampling Matters in Deep Embedding Learning", section 3,
https://arxiv.org/abs/1706.07567.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.miners.base import MaskedTriplets, Miner, others
from vmf_embeddings.miners.draws import choose, choose_by_weight

VARIANTS = ("standard", "reference")


class DistanceMiner(Miner):
    """One triplet per anchor, its negative sampled by the inverse density of its distance.

    Distances are those of the normalised embeddings. The positive is a random other row of the
    class, or the anchor itself if there is none. A negative at distance d is sampled with weight
    1 / q(max(d, lower)), where q is the density of the distance of two uniform points on the
    sphere, and with weight 0 for d >= upper. If all negatives of an anchor have weight 0, they are
    sampled uniformly. An anchor without negatives is in no triplet.

    Args:
        lower: in (0, 2); smaller distances are weighted as this one.
        upper: > lower; negatives at this distance or further have weight 0. 1 / q increases again
            above sqrt(2) and diverges at 2: without this cutoff nearly every sampled negative
            would be the furthest one.
        variant: "standard", or "reference": without the upper cutoff, as the code of Roth et al.
            2020 behaves.
    """

    def __init__(self, lower: float, upper: float, variant: str) -> None:
        self.lower, self.upper = cutoffs(lower, upper, variant)

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`."""
        weights = log_weights(embeddings, ~same, lower=self.lower, upper=self.upper)
        return one_per_anchor(same, weights, generator)


def cutoffs(lower: float, upper: float, variant: str) -> tuple[float, float | None]:
    """Lower and upper cutoff of a variant; no upper one (None) for "reference".

    Raises:
        ValueError: the variant is unknown, or the cutoffs are not 0 < lower < min(upper, 2).
    """
    if variant not in VARIANTS:
        raise ValueError(f"miner.params.variant must be one of {VARIANTS}, got {variant!r}")
    if not 0 < lower < min(upper, 2):
        raise ValueError(
            f"miner.params: expected 0 < lower < 2 and lower < upper, got lower={lower}, "
            f"upper={upper}"
        )
    return lower, upper if variant == "standard" else None


def sphere_distances(embeddings: Tensor, n_anchors: int | None = None) -> Tensor:
    """Euclidean distances [A, B] in [0, 2] of the first A normalised rows from all of [B, D]."""
    points = normalize(embeddings, dim=1)
    return (2 - 2 * points[:n_anchors] @ points.T).clamp(0, 4).sqrt()


def log_inverse_density(distances: Tensor, dim: int) -> Tensor:
    """-log of the density of the distance of two uniform points on the sphere, up to a constant.

    (2 - D) log d - (D - 3) / 2 log(1 - d^2 / 4), eq. (3) of Wu et al. 2017.

    Args:
        distances: any shape, in (0, 2].
        dim: D >= 2.

    Returns:
        Shape of `distances`; finite at d = 2 too.

    >>> log_inverse_density(torch.tensor([0.5, 2**0.5, 1.9]), 128).round(decimals=1)
    tensor([91.4000, -0.3000, 64.6000])
    """
    remainder = 1 - distances.square() / 4
    floor = torch.finfo(distances.dtype).eps  # rounding can give <= 0 for opposite points
    return (2 - dim) * distances.log() - (dim - 3) / 2 * remainder.clamp_min(floor).log()


def log_weights(
    embeddings: Tensor, negatives: Tensor, *, lower: float, upper: float | None
) -> Tensor:
    """Log sampling weights of the negatives of each anchor.

    Args:
        embeddings: float64 [B, D].
        negatives: bool [A, B], negatives (columns) of each anchor (row).
        lower: smaller distances are weighted as this one.
        upper: distances from this one on have weight 0; None = no cutoff.

    Returns:
        [A, B], -inf for rows that are never sampled.
    """
    distances = sphere_distances(embeddings, len(negatives))
    allowed = negatives if upper is None else negatives & (distances < upper)
    weights = log_inverse_density(distances.clamp_min(lower), embeddings.shape[1])
    return restrict_weights(weights, allowed, negatives)


def restrict_weights(log_weights: Tensor, allowed: Tensor, negatives: Tensor) -> Tensor:
    """Log weights of the allowed negatives of each anchor; uniform over all if none is allowed.

    Args:
        log_weights: [A, B].
        allowed: bool [A, B], a subset of `negatives`.
        negatives: bool [A, B].

    Returns:
        [A, B], -inf elsewhere.
    """
    has_allowed = allowed.any(1, keepdim=True)
    weights = torch.where(has_allowed, log_weights, 0.0)
    return weights.masked_fill(~torch.where(has_allowed, allowed, negatives), -torch.inf)


def one_per_anchor(
    same: Tensor, log_weights: Tensor, generator: torch.Generator | None
) -> MaskedTriplets:
    """One triplet per anchor: a random other row of its class, and a negative sampled by weight.

    Args:
        same: bool [A, B].
        log_weights: [A, B] of the negatives, -inf for all other rows.
        generator: for the random choices.

    Returns:
        One triplet for each row [A], valid where it has a negative; a row that is alone in its
        class is its own positive.
    """
    rows = torch.arange(len(same), device=same.device)
    positives = others(same)
    positive = torch.where(positives.any(1), choose(positives, generator), rows)
    negative = choose_by_weight(log_weights, generator)
    return MaskedTriplets(rows, positive, negative, ~same.all(1))
