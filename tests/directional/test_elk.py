"""Kernels and divergence between von Mises-Fisher distributions: golden numbers, laws, limits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from torch.distributions import kl_divergence as of_distributions

from tests.conftest import cases, load_golden
from vmf_embeddings.directional import (
    VonMisesFisher,
    kl_divergence,
    log_bhattacharyya,
    log_elk,
    log_normalizer,
    mean_cosine,
    relative_log_elk,
    sample,
)
from vmf_embeddings.directional.elk import expected_log_density

from .oracle import log_normalizer as slow_log_normalizer

GOLDEN = load_golden("dm_elk")
PAIRS = [case for case in cases(GOLDEN) if case.startswith("pairs")]
PROXIES = [case for case in cases(GOLDEN) if case.startswith("proxy")]
DIMS = (2, 3, 8, 128, 512, 2048)
SIZES = (1e-6, 0.3, 12.0, 300.0, 2e4)


def rows(n, dim, kappa, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return kappa * x / x.norm(dim=-1, keepdim=True)


def some(dim, seed=0):
    """Two rows of every size."""
    return torch.cat([rows(2, dim, kappa, seed + i) for i, kappa in enumerate(SIZES)])


def pairs(case):
    z, w = (
        torch.from_numpy(
            GOLDEN[f"{case}/kappa{i}"].astype(float)[:, None] * GOLDEN[f"{case}/mu{i}"]
        )
        for i in (1, 2)
    )
    return z[:, None], w[:, None]


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize(
    ("function", "key"),
    [(log_elk, "log_elk"), (log_bhattacharyya, "log_bhattacharyya"), (kl_divergence, "kl")],
)
def test_pairs_are_the_golden_ones(case, function, key):
    expected = GOLDEN[f"{case}/exact_{key}"]
    rtol = 1e-10 if "2048" not in case else 1e-9
    found = function(*pairs(case)).flatten()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-9 * (key != "log_elk"))


@pytest.mark.parametrize("case", PAIRS)
def test_the_gradient_is_the_golden_one(case):
    z, w = pairs(case)
    z.requires_grad_()
    log_elk(z, w).sum().backward()
    expected = GOLDEN[f"{case}/exact_log_elk_grad_z1"]
    tolerance = 1e-9 if expected.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(
        z.grad[:, 0], expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("case", PROXIES)
def test_logits_of_proxies_are_the_golden_ones(case):
    z, w = (torch.from_numpy(GOLDEN[f"{case}/{k}"].astype(float)) for k in ("z", "weights"))
    logits = log_elk(z, w) / float(GOLDEN[f"{case}/temperature"])
    np.testing.assert_allclose(logits, GOLDEN[f"{case}/exact_logits"], rtol=1e-10)


@pytest.mark.parametrize("dim", DIMS)
def test_log_elk_equals_mpmath(dim):
    z, w = some(dim), some(dim, 50)
    if dim > 1000:  # the series of mpmath converges too slowly at the largest
        z, w = z[:-2], w[:-2]
    found = log_elk(z, w)
    for i in range(0, len(z), 3):
        for j in range(0, len(w), 4):
            a, b = ([mpf(v) for v in row.tolist()] for row in (z[i], w[j]))
            squares = [mpmath.fsum(v * v for v in row) for row in (a, b, map(sum, zip(a, b)))]  # noqa: B905
            c1, c2, c3 = (slow_log_normalizer(q, dim) for q in squares)
            scale = float(mpmath.sqrt(squares[0]) + mpmath.sqrt(squares[1]))
            assert abs(found[i, j].item() - float(c1 + c2 - c3)) < 1e-9 + 1e-15 * scale


@pytest.mark.parametrize("dim", DIMS)
def test_kernels_are_symmetric(dim):
    z, w = some(dim), some(dim, 50)
    for kernel in (log_elk, log_bhattacharyya):
        torch.testing.assert_close(kernel(z, w), kernel(w, z).T, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("dim", DIMS)
def test_equal_distributions_are_the_most_alike(dim):
    z = some(dim)
    elk, own = log_elk(z, z), log_elk(z, z).diagonal()
    assert (elk <= (own[:, None] + own) / 2 + 1e-8).all()  # Cauchy-Schwarz
    coefficient, divergence = log_bhattacharyya(z, z), kl_divergence(z, z)
    assert (coefficient <= 1e-9).all() and (divergence >= -1e-9).all()
    for table in (coefficient, divergence):
        assert table.diagonal().abs().max() < 1e-9


def test_the_kernel_grows_with_the_kappa_of_a_class_of_the_same_direction_and_with_the_cosine():
    directions = torch.eye(16, dtype=torch.float64)[:1]
    kappas = torch.logspace(-3, 5, 60, dtype=torch.float64)[:, None]
    assert (log_elk(40 * directions, kappas * directions).diff() > 0).all()
    angles = torch.linspace(0, math.pi, 40, dtype=torch.float64)
    w = torch.zeros(40, 16, dtype=torch.float64)
    w[:, 0], w[:, 1] = angles.cos(), angles.sin()
    assert (log_elk(40 * directions, 300 * w).diff() < 0).all()


@pytest.mark.parametrize("dim", DIMS)
def test_limits(dim):
    z = some(dim)
    zero = torch.zeros(1, dim, dtype=torch.float64)
    minus_area = log_normalizer(torch.zeros((), dtype=torch.float64), dim)
    torch.testing.assert_close(log_elk(z, zero), minus_area.expand(len(z), 1))
    torch.testing.assert_close(log_elk(zero, z), minus_area.expand(1, len(z)))
    # an infinitely sure w: the log density of z at its direction
    z, sure = rows(4, dim, 25.0, 3), rows(4, dim, 1e9, 4)
    density = log_normalizer(z.norm(dim=-1), dim)[:, None] + z @ sure.T / 1e9
    torch.testing.assert_close(log_elk(z, sure), density, rtol=0, atol=1e-3)


def test_it_is_the_mean_density_at_draws():
    z, w = rows(2, 5, 6.0), rows(3, 5, 9.0, 1)
    kappa = z.norm(dim=-1)
    generator = torch.Generator().manual_seed(2)
    draws = sample(z / kappa[:, None], kappa, 40_000, gradient=False, generator=generator)
    densities = (log_normalizer(w.norm(dim=-1), 5) + draws @ w.T).exp()
    error = densities.std(0) / len(draws) ** 0.5
    assert ((densities.mean(0) - log_elk(z, w).exp()).abs() < 4.5 * error).all()
    roots = (
        densities.sqrt()
        / (log_normalizer(kappa, 5)[:, None] + (draws * z).sum(-1, True)).exp().sqrt()
    )
    error = roots.std(0) / len(draws) ** 0.5
    assert ((roots.mean(0) - log_bhattacharyya(z, w).exp()).abs() < 4.5 * error).all()


KERNELS = [log_elk, relative_log_elk, log_bhattacharyya, kl_divergence, expected_log_density]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dim", (2, 3, 6, 40))
def test_gradients_equal_finite_differences(kernel, dim):
    z, w = rows(2, dim, 5.0).requires_grad_(), rows(3, dim, 30.0, 1).requires_grad_()
    assert torch.autograd.gradcheck(kernel, (z, w))
    z = torch.zeros(1, dim, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(kernel(z, w).sum(), z)
    assert grad.isfinite().all()


def test_the_gradient_points_from_the_mean_of_z_to_that_of_the_product():
    z, w = rows(1, 32, 40.0).requires_grad_(), rows(1, 32, 90.0, 1)
    log_elk(z, w).sum().backward()
    both = z.detach() + w
    means = [mean_cosine(v.norm(dim=-1), 32) * v / v.norm() for v in (both, z.detach())]
    torch.testing.assert_close(z.grad, means[0] - means[1])


@pytest.mark.parametrize("dim", DIMS)
def test_relative_kernel_differs_by_a_number_per_row_and_is_exact_in_float32(dim):
    z, w = rows(4, dim, 200.0), rows(6, dim, 900.0, 1)
    relative = relative_log_elk(z, w)
    shift = log_elk(z, w) - relative
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        relative_log_elk(z.float(), w.float()).double(), relative, rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("dim", DIMS)
def test_the_divergence_and_the_expected_log_density_differ_by_a_number_per_row(dim):
    z, w = rows(4, dim, 200.0), torch.cat([rows(6, dim, 900.0, 1), rows(1, dim, 0.0)])
    shift = expected_log_density(z, w) + kl_divergence(z, w)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=0, atol=1e-8)
    assert (expected_log_density(z, w)[:, -1] == 0).all()  # of the uniform distribution


@pytest.mark.parametrize("dim", (3, 16, 128))
@pytest.mark.parametrize("kernel", (log_bhattacharyya, kl_divergence))
def test_float32_of_both_codes_is_near_float64(kernel, dim, code):
    z, w = rows(4, dim, 40.0), rows(6, dim, 90.0, 1)
    both = []
    for dtype in (torch.float32, torch.float64):
        pair = [t.to(dtype).requires_grad_() for t in (z, w)]
        value = kernel(*pair)
        both.append([value, *torch.autograd.grad(value.square().sum(), pair)])
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)


def test_opposite_vectors_stay_finite_in_float32():
    z = some(8).float()
    for kernel in (log_elk, log_bhattacharyya, kl_divergence):
        assert kernel(z, -z).isfinite().all()


def test_the_divergence_is_that_of_torch_distributions():
    z, w = rows(4, 8, 13.0), rows(4, 8, 70.0, 1)
    p, q = (VonMisesFisher(v / v.norm(dim=-1, keepdim=True), v.norm(dim=-1)) for v in (z, w))
    torch.testing.assert_close(of_distributions(p, q), kl_divergence(z, w).diagonal())
