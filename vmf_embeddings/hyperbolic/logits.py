"""Logits of hyperbolic multinomial regression: signed distances to the hyperplanes of the classes.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 25. With u = -<p,x>, the
vector (-p) (+) x never has to be built: its product with a and its length follow from <p,x>,
<a,x>, |p|, |x|, so that only [B, C] matrices are needed and no [B, C, D].
"""

import torch
from torch import Tensor

from vmf_embeddings.hyperbolic.ball import conformal_factor

_DENOMINATOR = 1e-5  # in the denominator of Mobius addition, as in 2021


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
    denominator = 1 - 2 * c * px + c**2 * pp * xx + _DENOMINATOR
    ma = (along_x * xa - along_p * pa) / denominator
    mm = along_p.square() * pp - 2 * along_p * along_x * px + along_x.square() * xx
    length = torch.linalg.vector_norm(normals, dim=-1)
    signed = 2 * c**0.5 * ma / (length * (1 - c * mm / denominator.square()))
    return conformal_factor(offsets, c) * length / c**0.5 * signed.asinh()
