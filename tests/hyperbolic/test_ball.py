"""Identities of the Poincare ball: maps, Mobius addition, the metric and its gradient."""

import numpy as np
import pytest
import torch

from tests.conftest import cases
from vmf_embeddings.hyperbolic import (
    conformal_factor,
    distance,
    expmap,
    expmap0,
    logmap0,
    mobius_add,
    project,
    riemannian_gradient,
)

CURVATURES = (1e-5, 0.1, 1.0, 4.0)
EPSILON_2021 = 1e-5


def points(n: int, dim: int, c: float, seed: int = 0) -> torch.Tensor:
    """Random points [n, dim] up to 95 % of the radius."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(n, dim, dtype=torch.float64, generator=generator)
    radius = torch.rand(n, 1, dtype=torch.float64, generator=generator) * 0.95 / c**0.5
    return radius * direction / direction.norm(dim=-1, keepdim=True)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("c", CURVATURES)
def test_projection_keeps_points_inside_and_rescales_others_to_the_border(c):
    inside = points(20, 5, c)
    assert torch.equal(project(inside, c), inside)
    outside = inside * 1e3 + 10 / c**0.5
    projected = project(outside, c)
    torch.testing.assert_close(projected.norm(dim=-1) * c**0.5, torch.full((20,), 0.999).double())
    torch.testing.assert_close(
        torch.nn.functional.normalize(projected, dim=-1),
        torch.nn.functional.normalize(outside, dim=-1),
    )


@pytest.mark.parametrize("c", CURVATURES)
def test_logarithm_undoes_the_exponential(c):
    tangent = normal(30, 4)
    torch.testing.assert_close(logmap0(expmap0(tangent, c), c), tangent, rtol=1e-9, atol=1e-12)


def test_exponential_map_is_finite_at_the_origin_in_value_and_gradient():
    origin = torch.zeros(2, 3, requires_grad=True)
    expmap0(origin, 0.5).sum().backward()
    assert torch.equal(expmap0(origin, 0.5), torch.zeros(2, 3))
    torch.testing.assert_close(origin.grad, torch.ones(2, 3))


@pytest.mark.parametrize("c", CURVATURES)
def test_mobius_addition_has_zero_inverses_and_left_cancellation(c):
    x, y, zero = points(30, 4, c, 2), points(30, 4, c, 3), torch.zeros(30, 4, dtype=torch.float64)
    torch.testing.assert_close(mobius_add(zero, y, c), y)
    torch.testing.assert_close(mobius_add(x, zero, c), x)
    small = 1e-9 / c**0.5
    torch.testing.assert_close(mobius_add(-x, x, c), zero, rtol=0, atol=small)
    torch.testing.assert_close(mobius_add(-x, mobius_add(x, y, c), c), y, rtol=1e-9, atol=small)


@pytest.mark.parametrize("c", CURVATURES)
def test_mobius_addition_stays_in_the_ball(c):
    total = mobius_add(points(50, 4, c, 2), points(50, 4, c, 3), c)
    assert (c**0.5 * total.norm(dim=-1) < 1).all()


def test_mobius_addition_is_vector_addition_in_flat_space():
    x, y = normal(2, 10, 3)
    torch.testing.assert_close(mobius_add(x, y, 1e-14), x + y, rtol=1e-9, atol=1e-9)


def test_expmap_at_the_origin_is_expmap0():
    u = normal(10, 3)
    torch.testing.assert_close(expmap(torch.zeros_like(u), u, 0.7), expmap0(u, 0.7))


def test_expmap_moves_by_the_length_that_the_metric_gives_to_the_velocity():
    c, x = 0.7, points(10, 3, 0.7)
    u = normal(10, 3) * 0.1
    moved = distance(x, expmap(x, u, c), c).diagonal()
    torch.testing.assert_close(moved, conformal_factor(x, c) * u.norm(dim=-1), rtol=1e-8, atol=0)


def test_conformal_factor_is_two_at_the_origin_and_finite_at_the_border():
    assert conformal_factor(torch.zeros(3), 0.3) == 2
    assert torch.isfinite(conformal_factor(torch.tensor([1.0, 0.0]), 1.0))


def test_riemannian_gradient_scales_per_point_and_call():
    x, y = torch.zeros(2, 3), torch.tensor([[0.5, 0.0, 0.0]])
    x.requires_grad_(), y.requires_grad_()
    (riemannian_gradient(x, 1.0).sum() + riemannian_gradient(y, 2.0).sum()).backward()
    torch.testing.assert_close(x.grad, torch.full((2, 3), 0.25))
    torch.testing.assert_close(y.grad, torch.full((1, 3), 0.25 * 0.5**2))


def test_maps_equal_the_reference(golden):
    data = golden("hyperbolic_softmax")
    for case in cases(data):
        numbers = {
            name: torch.from_numpy(np.asarray(data[f"{case}/{name}"]))
            for name in ("x", "ball_points", "expmap0_x", "prim_y", "prim_u")
        }
        c = float(data[f"{case}/c"].astype(np.float32))  # the reference keeps c in float32
        ball = project(expmap0(numbers["x"].double(), c), c)
        results = {
            "expmap0_x": expmap0(numbers["x"].double(), c),
            "ball_points": ball,
            "prim_mobius_add": mobius_add(ball, numbers["prim_y"], c, EPSILON_2021),
            "prim_expmap": expmap(ball, numbers["prim_u"], c, EPSILON_2021),
            "prim_lambda": conformal_factor(ball, c),
        }
        for name, value in results.items():
            np.testing.assert_allclose(
                value.numpy(), data[f"{case}/{name}"], rtol=1e-9, atol=1e-11, err_msg=name
            )


def test_riemannian_scale_equals_the_reference(golden):
    data = golden("hyperbolic_softmax")
    for case in cases(data):
        ball = torch.from_numpy(data[f"{case}/ball_points"]).requires_grad_()
        riemannian_gradient(ball, float(data[f"{case}/c"])).sum().backward()
        np.testing.assert_allclose(
            ball.grad[:, 0].numpy(), data[f"{case}/riemannian_scale"], rtol=1e-9
        )
