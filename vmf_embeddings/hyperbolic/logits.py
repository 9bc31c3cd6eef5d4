"""Logits of hyperbolic multinomial regression: signed distances to the hyperplanes of the classes.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 25. With u = -<p,x>, the
vector (-p) (+) x never has to be built: its product with a and its length follow from <p,x>,
<a,x>, |p|, |x|, so that only [B, C] matrices are needed and no [B, C, D]. Likewise
1 - c|m|^2 = (1-c|p|^2)(1-c|x|^2) / (1 + 2cu + c^2|p|^2|x|^2).
"""

import math

import torch
from torch import Tensor

from vmf_embeddings.hyperbolic.ball import conformal_factor

_DENOMINATOR = 1e-5  # in the denominator of Mobius addition, as in 2021
_LOWEST_ASINH = math.log(1e-5)


def hyperbolic_logits(x: Tensor, offsets: Tensor, normals: Tensor, c: float) -> Tensor:
    """Signed distance of every point to every hyperplane, times the length of its normal.

    lambda_p |a| / sqrt(c) asinh(2 sqrt(c) <m,a> / (|a| (1 - c|m|^2))) with m = (-p) (+) x

    Args:
        x: points [B, D] inside the ball of radius 1/sqrt(c).
        offsets: p, a point of each hyperplane [C, D], inside the ball.
        normals: a, the normal of each hyperplane at p [C, D], not zero.
        c: minus the curvature, > 0.

    Returns:
        [B, C]; 0 on the hyperplane; 4<x-p,a> in the limit c -> 0. Near the border with c >= 0.1
        use float64.

    Example:
        >>> x, p, a = torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.0, 0.0]]).split(1)
        >>> hyperbolic_logits(x, p, a, 1.0)
        tensor([[2.1972]])
    """
    xx, pp = x.square().sum(-1)[:, None], offsets.square().sum(-1)
    px, pa, xa = x @ offsets.T, (offsets * normals).sum(-1), x @ normals.T
    along_p, along_x = 1 - 2 * c * px + c * xx, 1 - c * pp
    exact = 1 - 2 * c * px + c**2 * pp * xx
    denominator = exact + _DENOMINATOR
    # (1 - c|m|^2) denominator^2, written as a sum of positive terms: it cannot cancel near the
    # border
    room = _DENOMINATOR * (exact + denominator) + along_x * (1 - c * xx) * exact
    length = torch.linalg.vector_norm(normals, dim=-1)
    signed = 2 * c**0.5 * (along_x * xa - along_p * pa) * denominator / (length * room)
    return conformal_factor(offsets, c) * length / c**0.5 * _floored_asinh(signed)


def _floored_asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine, its value (not its slope) kept above log(1e-5) as in 2021."""
    value = x.asinh()
    return value + (value.clamp_min(_LOWEST_ASINH) - value).detach()
