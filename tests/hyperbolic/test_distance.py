"""Properties of the distance in the Poincare ball."""

import sys

import numpy as np
import pytest
import torch

from tests.conftest import cases
from tests.hyperbolic.test_ball import normal, points
from vmf_embeddings.hyperbolic import (
    distance,
    distance_ratio,
    mobius_add,
    project,
    reference_distance,
)

CURVATURES = (1e-5, 0.1, 1.0)


@pytest.mark.parametrize("c", CURVATURES)
def test_distance_is_symmetric_and_zero_only_on_the_diagonal(c):
    x = points(20, 3, c)
    matrix = distance(x, x, c)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-12, atol=0)
    assert (matrix.diagonal() == 0).all()
    assert (matrix + torch.eye(20) > 0).all()


@pytest.mark.parametrize("c", CURVATURES)
def test_distance_obeys_the_triangle_inequality(c):
    matrix = distance(points(15, 3, c), points(15, 3, c), c)
    detour = matrix[:, :, None] + matrix[None]
    assert (matrix[:, None, :] <= detour * (1 + 1e-12)).all()


@pytest.mark.parametrize("c", CURVATURES)
def test_distance_does_not_change_under_translation(c):
    x, y, shift = points(8, 3, c, 1), points(9, 3, c, 2), points(1, 3, c, 3)
    moved = distance(mobius_add(shift, x, c), mobius_add(shift, y, c), c)
    torch.testing.assert_close(moved, distance(x, y, c), rtol=1e-7, atol=0)


@pytest.mark.parametrize("c", CURVATURES)
def test_float32_distances_are_accurate_to_rounding(c, monkeypatch):
    """Also of pairs that a matrix product in float32 or float64 could not tell apart."""
    monkeypatch.setattr(sys.modules[distance.__module__], "BLOCK", 100)
    x = points(12, 5, c).float()
    steps = torch.logspace(-7, 0, 15)[:, None, None] * normal(15, 12, 5, seed=1).float()
    y = project(torch.cat((x, (x + steps * x.abs()).flatten(0, 1), torch.zeros(1, 5))), c)
    single, exact = distance(x, y, c), distance(x.double(), y.double(), c)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=0)
    assert (single.diagonal() == 0).all()
    assert (distance(y, x, c) - single.T).abs().max() < 1e-6 * single.max()


def test_gradient_of_float32_distances_is_that_of_float64():
    x, y = points(6, 4, 1.0, 1), points(7, 4, 1.0, 2)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        inputs = [leaf.to(dtype).requires_grad_() for leaf in (x, y)]
        gradients.append(torch.autograd.grad(distance(*inputs, 1.0).sum(), inputs))
    for single, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5)


def test_distance_is_twice_the_euclidean_one_in_flat_space():
    x, y = normal(5, 3, seed=1), normal(6, 3, seed=2)
    torch.testing.assert_close(distance(x, y, 1e-14), 2 * torch.cdist(x, y), rtol=1e-7, atol=0)


def test_distance_equals_the_arcosh_formula_pair_by_pair():
    c, x, y = 0.3, points(6, 4, 0.3, 1), points(7, 4, 0.3, 2)
    for i in range(6):
        for j in range(7):
            ratio = (x[i] - y[j]) @ (x[i] - y[j]) / ((1 - c * x[i] @ x[i]) * (1 - c * y[j] @ y[j]))
            expected = torch.acosh(1 + 2 * c * ratio) / c**0.5
            torch.testing.assert_close(distance(x, y, c)[i, j], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("c", CURVATURES)
def test_ratio_orders_pairs_as_the_distance_does(c):
    x, y = points(10, 3, c, 1), points(30, 3, c, 2)
    assert torch.equal(distance_ratio(x, y, c).argsort(-1), distance(x, y, c).argsort(-1))


def test_reference_distance_is_the_exact_one_away_from_the_border():
    x, y = points(10, 3, 1.0, 1) / 2, points(10, 3, 1.0, 2) / 2
    torch.testing.assert_close(
        reference_distance(x, y, 1.0), distance(x, y, 1.0), rtol=1e-3, atol=0
    )


def test_distances_equal_the_golden_ones(golden):
    data = golden("hyperbolic_distances")
    for case in cases(data):
        c, ball = float(data[f"{case}/c"]), torch.from_numpy(data[f"{case}/ball_points"])
        np.testing.assert_allclose(
            reference_distance(ball, ball, c), data[f"{case}/dist"], rtol=0, atol=1e-7
        )
        np.testing.assert_allclose(
            distance(ball, ball, c), data[f"{case}/dist_exact"], rtol=1e-9, atol=1e-11
        )
        limit = float(data[f"{case}/max_representable_dist"])
        assert float(reference_distance(ball, ball, c).max()) <= limit * (1 + 1e-9)
