"""A point of the sphere from its angle to a direction mu and a random tangent direction.

x = cos(angle) mu + sin(angle) v, where v is a Gaussian vector projected to the tangent space at mu
and normalised. Smooth in mu everywhere (a Householder reflection is not, at the pole), and one
tensor of the size of the result is all that is kept for the backward pass.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from vmf_embeddings import native
from vmf_embeddings.directional.normals import compiles, new_seed

CPU_BLOCK = 2**16  # numbers a thread, so that the passes over a block stay in the cache
DEVICE_BLOCK = 2**26
SMALL_DIM = 16  # below, one projection may leave a visible part of mu: project twice


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


def _project(cosine: Tensor, sine: Tensor, mu: Tensor, normals: Tensor, lean: Tensor) -> None:
    """Turns Gaussian vectors [S, R, D] into points, a block at a time, and fills in their lean."""
    for samples, rows in _blocks(normals):
        tangent, direction = normals[samples, rows], mu[rows]
        along = _dot(tangent, direction)
        tangent.addcmul_(along, direction, value=-1)
        if mu.shape[-1] < SMALL_DIM:
            tangent.addcmul_(_dot(tangent, direction), direction, value=-1)
        scale = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True).reciprocal_()
        torch.mul(along, scale, out=lean[samples, rows])
        tangent.mul_(scale.mul_(sine[samples, rows]))
        tangent.addcmul_(cosine[samples, rows], direction)


def _draw(
    cosine: Tensor, sine: Tensor, mu: Tensor, points: Tensor, lean: Tensor, seed: int
) -> None:
    """Draws points [S, R, D] and their lean by compiled code."""
    from vmf_embeddings.directional.kernels import normals as kernel

    dim = points.shape[-1]
    columns = (t.detach().contiguous().view(-1).numpy() for t in (cosine, sine, lean))
    rows = (t.detach().contiguous().view(-1, dim).numpy() for t in (points, mu))
    fixed = (*rows, *columns, dim < SMALL_DIM, seed)
    n_blocks = -(-lean.numel() // max(1, kernel.BLOCK // dim))
    native.in_threads(lambda i, j: kernel.fill_tangent_points(*fixed, i, j), n_blocks, least=4)


class _TangentPoint(torch.autograd.Function):
    """Inputs angle [S, R], mu [R, D], points [S, R, D], seed.

    `points` are overwritten: they come as Gaussian vectors, or unset where a seed is given.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, angle: Tensor, mu: Tensor, points: Tensor, seed: int | None
    ) -> Tensor:
        # lean = (g.mu) / |g - (g.mu) mu|: how far each Gaussian leaned towards mu
        lean = torch.empty(*angle.shape, 1, dtype=points.dtype, device=points.device)
        sine, cosine = angle.sin().unsqueeze(-1), angle.cos().unsqueeze(-1)
        if seed is None:
            _project(cosine, sine, mu, points, lean)
        else:
            _draw(cosine, sine, mu, points, lean, seed)
        ctx.mark_dirty(points)
        ctx.save_for_backward(points, mu, sine, cosine, lean)
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        points, mu, sine, cosine, lean = ctx.saved_tensors
        grad_angle = torch.empty_like(sine)
        grad_mu = torch.zeros_like(mu) if ctx.needs_input_grad[1] else None
        for samples, rows in _blocks(points):
            block = (samples, rows)
            outer, point, direction = grad[block], points[block], mu[rows]
            c, s, lean_here = cosine[block], sine[block], lean[block]
            along = _dot(outer, direction)
            # outer . v; at the pole itself v is not known
            across = torch.where(s > 0, (_dot(outer, point) - c * along) / s, 0.0)
            torch.sub(c * across, s * along, out=grad_angle[block])
            if grad_mu is not None:
                inward = c * (along - lean_here * across) - s * lean_here * along
                moved = outer * (c - lean_here * s)
                moved.addcmul_(lean_here * across - along, point)
                grad_mu[rows] += moved.addcmul_(inward, direction).sum(0)
        return grad_angle.squeeze(-1), grad_mu, None, None


def tangent_points(angle: Tensor, mu: Tensor, normals: Tensor) -> Tensor:
    """Unit vectors at the given angles from mu, in the tangent directions of given Gaussians.

    Args:
        angle: in [0, pi], [S, R].
        mu: unit directions [R, D].
        normals: Gaussian vectors [S, R, D], not a leaf that requires grad; they are OVERWRITTEN.

    Returns:
        [S, R, D], differentiable (once) in `angle` and `mu`.

    >>> x = tangent_points(torch.ones(1, 1), torch.eye(1, 4), torch.ones(1, 1, 4))
    >>> [round(c, 3) for c in x.flatten().tolist()]  # cos(1), and sin(1)/sqrt(3) three times
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
        Lean [S, R]: each direction was made from a Gaussian vector, whose part along mu had this
        length for every unit of the rest; by so much it turns when mu does.

    >>> random_tangents_(torch.empty(2, 3, 4), torch.eye(3, 4)).shape
    torch.Size([2, 3])
    """
    lean = torch.empty(*tangents.shape[:2], 1, dtype=mu.dtype, device=mu.device)
    cosine, sine = torch.zeros_like(lean), torch.ones_like(lean)
    if compiles(tangents):
        _draw(cosine, sine, mu, tangents, lean, new_seed(generator))
    else:
        _project(cosine, sine, mu, tangents.normal_(generator=generator), lean)
    return lean.squeeze(-1)
