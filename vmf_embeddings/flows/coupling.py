"""Affine coupling: each half of a vector is scaled and moved by what the other half says.

Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP", section 3.3,
https://arxiv.org/abs/1605.08803; both halves in one block as in Ardizzone et al. 2018,
https://arxiv.org/abs/1808.04730; the condition as in Ardizzone et al. 2019,
https://arxiv.org/abs/1907.02392.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.flows.subnet import subnet

NEARLY_TWO_OVER_PI = 0.636  # of published code: log scales end at 0.99903 of the clamp


def log_scale(raw: Tensor, clamp: float) -> Tensor:
    """Any number as the logarithm of a scale, between -clamp and clamp.

    Args:
        raw: any shape.
        clamp: > 0; a scale lies between exp(-clamp) and exp(clamp).

    Returns:
        clamp * 0.636 * atan(raw), of the shape of `raw`.

    Example:
        >>> log_scale(torch.tensor([0.0, 1.0, 1e9]), 2.0)
        tensor([0.0000, 0.9990, 1.9981])
    """
    return clamp * NEARLY_TWO_OVER_PI * torch.atan(raw)


def affine(x: Tensor, raw: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
    """Scales and moves: x * exp(s) + t, with s and t from what a network says.

    Args:
        x: [B, n].
        raw: [B, 2 n]; its first half becomes s by `log_scale`, its second half is t.
        clamp: > 0, of `log_scale`.

    Returns:
        [B, n], and the log-determinant sum of s [B].

    Example:
        >>> y, log_det = affine(torch.ones(1, 2), torch.tensor([[0.0, 1.0, 5.0, 0.0]]), 1.0)
        >>> y, log_det
        (tensor([[6.0000, 1.6479]]), tensor([0.4995]))
    """
    s, t = raw.chunk(2, dim=-1)
    s = log_scale(s, clamp)
    return x * s.exp() + t, s.sum(-1)


def inverse_affine(y: Tensor, raw: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
    """What `affine` with the same `raw` made `y` of, and the log-determinant of the way back.

    Args:
        y: [B, n].
        raw: [B, 2 n].
        clamp: > 0.

    Returns:
        [B, n], and minus the log-determinant of `affine` [B].

    Example:
        >>> x, raw = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3, 1.0, 5.0, 0.0]])
        >>> y, log_det = affine(x, raw, 2.0)
        >>> inverse_affine(y, raw, 2.0)[0], log_det + inverse_affine(y, raw, 2.0)[1]
        (tensor([[ 1., -2.]]), tensor([0.]))
    """
    s, t = raw.chunk(2, dim=-1)
    s = log_scale(s, clamp)
    return (y - t) * (-s).exp(), -s.sum(-1)


class AffineCoupling(nn.Module):
    """First the head of a vector by its tail, then the tail by the new head.

    Args:
        dim: D >= 2; the head has round(D / 2) entries, halves to even.
        condition_dim: width of the condition, which both networks see; 0 = none.
        depth: linear layers of each network, >= 2.
        width: of their hidden layers.
        clamp: > 0, bound of the log scales.
        init: of the networks, see `subnet`.
    """

    def __init__(
        self, dim: int, condition_dim: int, depth: int, width: int, clamp: float, init: str
    ) -> None:
        super().__init__()
        self.n_head = round(dim / 2)
        self.n_tail = dim - self.n_head
        self.clamp = clamp
        self.by_tail = subnet(self.n_tail + condition_dim, 2 * self.n_head, depth, width, init)
        self.by_head = subnet(self.n_head + condition_dim, 2 * self.n_tail, depth, width, init)

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows [B, D], condition [B, condition_dim] or None -> rows [B, D], log-determinant [B]."""
        head, tail = x.split([self.n_head, self.n_tail], dim=-1)
        head, first = affine(head, self.by_tail(_beside(tail, condition)), self.clamp)
        tail, second = affine(tail, self.by_head(_beside(head, condition)), self.clamp)
        return torch.cat([head, tail], dim=-1), first + second

    def inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows [B, D] of `forward` -> what it was given [B, D], log-determinant of this way [B]."""
        head, tail = z.split([self.n_head, self.n_tail], dim=-1)
        tail, first = inverse_affine(tail, self.by_head(_beside(head, condition)), self.clamp)
        head, second = inverse_affine(head, self.by_tail(_beside(tail, condition)), self.clamp)
        return torch.cat([head, tail], dim=-1), first + second


def _beside(x: Tensor, condition: Tensor | None) -> Tensor:
    return x if condition is None else torch.cat([x, condition], dim=-1)
