"""A point of the sphere from its angle to a direction mu and a random tangent direction v.

    x = cos(theta) mu + sin(theta) v,  v = (g - (g.mu) mu) / |g - (g.mu) mu|,  g Gaussian

Smooth in mu everywhere (a Householder reflection is not, at the pole). With
r = (g.mu) / |g - (g.mu) mu|, called `mu_component_ratio`, and a unit vector mu,

    dx = (cos(theta) v - sin(theta) mu) dtheta + cos(theta) dmu + sin(theta) dv,
    dv = -(v.dmu + r mu.dmu) mu - r (dmu - (v.dmu) v),

so that r is all that the backward pass needs of g, and one tensor of the size of x is kept.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings import threads
from vmf_embeddings.directional.normals import compiles, new_seed
from vmf_embeddings.once_differentiable import once_differentiable

CPU_BLOCK = 2**16  # numbers per thread, so that the passes over a block stay in the cache
DEVICE_BLOCK = 2**26
SMALL_DIM = 16  # below, one projection may leave a component along mu by rounding: project twice


def _blocks(points: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices over samples and rows of points [S, R, D]."""
    samples, rows, dim = points.shape
    block = CPU_BLOCK * torch.get_num_threads() if points.device.type == "cpu" else DEVICE_BLOCK
    height = max(1, min(rows, block // dim))
    depth = max(1, block // (dim * height))
    for first in range(0, samples, depth):
        for top in range(0, rows, height):
            yield slice(first, first + depth), slice(top, top + height)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1, keepdim=True)


def _make_tangent(tangent: Tensor, mu: Tensor, ratio: Tensor) -> Tensor:
    """Makes Gaussian vectors [S, R, D] orthogonal to mu [R, D] in place, and fills r [S, R, 1].

    Returns:
        The reciprocals of their lengths [S, R, 1].
    """
    along_mu = _dot(tangent, mu)
    tangent.addcmul_(along_mu, mu, value=-1)
    if mu.shape[-1] < SMALL_DIM:
        tangent.addcmul_(_dot(tangent, mu), mu, value=-1)
    scale = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True).reciprocal_()
    torch.mul(along_mu, scale, out=ratio)
    return scale


def _project(cosine: Tensor, sine: Tensor, mu: Tensor, normals: Tensor, ratio: Tensor) -> None:
    """Overwrites Gaussian vectors [S, R, D] by points, block by block, and fills r [S, R, 1]."""
    for samples, rows in _blocks(normals):
        tangent, direction = normals[samples, rows], mu[rows]
        scale = _make_tangent(tangent, direction, ratio[samples, rows])
        tangent.mul_(scale.mul_(sine[samples, rows]))
        tangent.addcmul_(cosine[samples, rows], direction)


def _draw_compiled(
    cosine: Tensor, sine: Tensor, mu: Tensor, points: Tensor, ratio: Tensor, seed: int
) -> None:
    """Fills points [S, R, D] and their r [S, R, 1] by compiled code, which draws the Gaussians."""
    from vmf_embeddings.directional.kernels import normals as kernel

    dim = points.shape[-1]
    columns = (t.detach().contiguous().view(-1).numpy() for t in (cosine, sine, ratio))
    rows = (t.detach().contiguous().view(-1, dim).numpy() for t in (points, mu))
    fixed = (*rows, *columns, dim < SMALL_DIM, seed)
    n_blocks = -(-ratio.numel() // max(1, kernel.BLOCK // dim))
    threads.in_threads(lambda i, j: kernel.fill_tangent_points(*fixed, i, j), n_blocks, least=4)


class _TangentPoint(torch.autograd.Function):
    """x from angle [S, R], mu [R, D], points [S, R, D] and seed; derivatives: head of this file.

    `points` is overwritten by the result. It holds Gaussian vectors, or nothing where a seed is
    given.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, angle: Tensor, mu: Tensor, points: Tensor, seed: int | None
    ) -> Tensor:
        ratio = torch.empty(*angle.shape, 1, dtype=points.dtype, device=points.device)
        sine, cosine = angle.sin().unsqueeze(-1), angle.cos().unsqueeze(-1)
        if seed is None:
            _project(cosine, sine, mu, points, ratio)
        else:
            _draw_compiled(cosine, sine, mu, points, ratio, seed)
        ctx.mark_dirty(points)
        ctx.save_for_backward(points, mu, sine, cosine, ratio)
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        points, mu, sine, cosine, ratio = ctx.saved_tensors
        grad_angle = torch.empty_like(sine)
        grad_mu = torch.zeros_like(mu) if ctx.needs_input_grad[1] else None
        for samples, rows in _blocks(points):
            block = (samples, rows)
            grad_x, x, direction = grad[block], points[block], mu[rows]
            c, s, r = cosine[block], sine[block], ratio[block]
            along_mu = _dot(grad_x, direction)
            # grad_x . v with v = (x - c mu) / s; at the poles s = 0 and v is unknown
            along_v = torch.where(s > 0, (_dot(grad_x, x) - c * along_mu) / s, 0.0)
            torch.sub(c * along_v, s * along_mu, out=grad_angle[block])
            if grad_mu is not None:
                # c grad_x + s (dv/dmu)^T grad_x, s v written as x - c mu
                mu_coeff = c * (along_mu - r * along_v) - s * r * along_mu
                grad_block = grad_x * (c - r * s)
                grad_block.addcmul_(r * along_v - along_mu, x)
                grad_mu[rows] += grad_block.addcmul_(mu_coeff, direction).sum(0)
        return grad_angle.squeeze(-1), grad_mu, None, None


def tangent_points(angle: Tensor, mu: Tensor, normals: Tensor) -> Tensor:
    """Unit vectors at the given angles from mu, in the tangent directions of Gaussian vectors.

    Args:
        angle: in [0, pi], [S, R].
        mu: unit directions [R, D].
        normals: Gaussian vectors [S, R, D], not a leaf that requires grad; they are OVERWRITTEN.

    Returns:
        [S, R, D], differentiable (once) in `angle` and `mu`.

    >>> x = tangent_points(torch.ones(1, 1), torch.eye(1, 4), torch.ones(1, 1, 4))
    >>> [round(c, 3) for c in x.flatten().tolist()]  # cos(1), then three times sin(1)/sqrt(3)
    [0.54, 0.486, 0.486, 0.486]
    """
    return _TangentPoint.apply(angle, mu, normals, None)


def random_tangent_points(
    angle: Tensor, mu: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Unit vectors at the given angles from mu, in uniform tangent directions.

    Args:
        angle: in [0, pi], [S, R].
        mu: unit directions [R, D].
        generator: source of randomness, on the device of `mu`; None = the global one.

    Returns:
        [S, R, D], differentiable (once) in `angle` and `mu`.

    >>> x = random_tangent_points(torch.ones(5, 1), torch.eye(1, 4))
    >>> (x[..., 0] - 0.5403).abs().max() < 1e-4  # cos(1)
    tensor(True)
    """
    points = torch.empty(*angle.shape, mu.shape[-1], dtype=mu.dtype, device=mu.device)
    if compiles(points):
        return _TangentPoint.apply(angle, mu, points, new_seed(generator))
    return tangent_points(angle, mu, points.normal_(generator=generator))


def random_tangents_(
    tangents: Tensor, mu: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Overwrites `tangents` by uniform unit tangent directions, without gradient.

    Args:
        tangents: [S, R, D], contiguous.
        mu: unit directions [R, D].
        generator: source of randomness, on the device of `mu`; None = the global one.

    Returns:
        mu_component_ratio [S, R]: r = (g.mu) / |g - (g.mu) mu| of the Gaussian vector g that each
        direction was made from. The gradient needs it, see the head of this file.

    >>> random_tangents_(torch.empty(2, 3, 4), torch.eye(3, 4)).shape
    torch.Size([2, 3])
    """
    ratio = torch.empty(*tangents.shape[:2], 1, dtype=mu.dtype, device=mu.device)
    if compiles(tangents):
        cosine, sine = torch.zeros_like(ratio), torch.ones_like(ratio)
        _draw_compiled(cosine, sine, mu, tangents, ratio, new_seed(generator))
        return ratio.squeeze(-1)
    tangents.normal_(generator=generator)
    for samples, rows in _blocks(tangents):
        block = tangents[samples, rows]
        block.mul_(_make_tangent(block, mu[rows], ratio[samples, rows]))
    return ratio.squeeze(-1)
