"""Uniform points of the unit sphere: their single coordinates, by the polar method.

Ulrich 1984, Computer Generation of Distributions on the m-Sphere
(https://doi.org/10.2307/2347441): the first two coordinates of a uniform point have squared length
1 - U^(2/(dim-2)) and a uniform angle.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def uniform_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of `like`."""
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def sphere_coordinate_like(like: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """First coordinates of uniform points of S^(dim-1), one for each entry of `like`."""
    if dim == 1:
        return (uniform_like(like, generator) < 0.5).to(like.dtype) * 2 - 1
    coordinate = (uniform_like(like, generator) * (2 * math.pi)).cos_()
    if dim > 2:
        log_power = uniform_like(like, generator).log_().mul_(2 / (dim - 2))
        coordinate.mul_(log_power.expm1_().neg_().sqrt_())  # sqrt(1 - U^(2/(dim-2)))
    return coordinate


def sample_sphere_coordinate(
    shape: int | Sequence[int],
    dim: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """One coordinate of uniform points on the unit sphere S^(dim-1) of R^dim.

    Args:
        shape: shape of the result.
        dim: dimension of the ambient space, >= 1; with 1 the sphere is {-1, 1}.
        dtype: float32 or float64.
        device: where the result lies.
        generator: source of randomness, on `device`; None = the global one.

    Returns:
        [*shape] in [-1, 1], mean 0, variance 1/dim.

    >>> sample_sphere_coordinate(4, 1).abs()
    tensor([1., 1., 1., 1.])
    """
    if dim < 1:
        raise ValueError(f"dim must be at least 1 (where the sphere is {{-1, 1}}), got {dim}")
    return sphere_coordinate_like(torch.empty(shape, dtype=dtype, device=device), dim, generator)
