"""Random triplets, all with the same probability."""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner, Triplets, others
from vmf_embeddings.miners.draws import distinct, distinct_masked


class RandomMiner(Miner):
    """B different triplets, sampled uniformly from all triplets of a batch of B anchors.

    All of them if there are fewer than B.
    """

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> Triplets | MaskedTriplets:
        """See `Miner.mine`; masked on devices, where it would have to wait for the number."""
        positives = others(same)
        n_negatives = (~same).sum(1)
        # triplets are numbered by anchor, then positive, then negative
        ends = (positives.sum(1) * n_negatives).cumsum(0)
        if same.device.type == "cpu":
            number = distinct(int(ends[-1]), len(same), same, generator)
            return Triplets(*_numbered(number, ends, positives, ~same))
        number, valid = distinct_masked(ends[-1], len(same), generator)
        return MaskedTriplets(*_numbered(number, ends, positives, ~same), valid)


def _numbered(number: Tensor, ends: Tensor, positives: Tensor, negatives: Tensor) -> list[Tensor]:
    """Anchor, positive and negative [T] of triplets by their numbers [T].

    `ends` [B] are one past the last number of each anchor. Number 0 gives rows of the batch also
    where there is no triplet.
    """
    anchor = torch.searchsorted(ends, number, right=True).clamp_max(len(ends) - 1)
    within_anchor = number - torch.cat([ends.new_zeros(1), ends])[anchor]
    width = negatives.sum(1).clamp_min(1)[anchor]
    columns = within_anchor // width, within_anchor % width
    pairs = zip((positives, negatives), columns, strict=True)
    return [anchor, *(_columns(allowed)[anchor, place] for allowed, place in pairs)]


def _columns(allowed: Tensor) -> Tensor:
    """Column indices [A, B]: in each row the allowed columns, ascending, then the others."""
    return (~allowed).byte().argsort(dim=1, stable=True)
