"""The exact log-normaliser and its cancellation-free differences."""

import math

import numpy as np
import pytest
import torch
from mpmath import mpf
from scipy.integrate import simpson

from vmf_embeddings.directional import (
    difference,
    log_normalizer,
    log_normalizer_difference,
    mean_cosine,
)

from .oracle import DIMS, KAPPAS
from .oracle import log_normalizer as slow_log_normalizer


@pytest.mark.parametrize("dim", DIMS)
def test_log_normalizer_equals_mpmath(dim):
    for kappa in KAPPAS:
        wanted = float(slow_log_normalizer(mpf(kappa) ** 2, dim))
        found = log_normalizer(torch.tensor(kappa, dtype=torch.float64), dim).item()
        assert found == pytest.approx(wanted, rel=1e-14, abs=1e-12)


def loss_like_pairs(dim: int) -> tuple[torch.Tensor, torch.Tensor, list]:
    """kappa_1^2, delta as the loss forms them, in float32, and the differences below 100."""
    generator = torch.Generator().manual_seed(dim)
    pairs, wanted = [], []
    for kappa in KAPPAS:
        for beta in (0.3, 1.0, 16.0, 100.0):
            for cosine in (-1.0, *(2 * torch.rand(2, generator=generator) - 1).tolist(), 1.0):
                squared = torch.tensor(kappa * kappa, dtype=torch.float32).item()
                delta = torch.tensor(beta**2 + 2 * beta * kappa * cosine).item()
                if squared + delta < 0:
                    continue
                first = slow_log_normalizer(mpf(squared), dim)
                value = first - slow_log_normalizer(mpf(squared) + mpf(delta), dim)
                if abs(value) <= 100:
                    pairs.append((squared, delta))
                    wanted.append(value)
    squared, delta = torch.tensor(pairs, dtype=torch.float32).unbind(1)
    return squared, delta, wanted


@pytest.mark.parametrize("dim", [*DIMS, 15, 17, 20, 32])
def test_difference_equals_mpmath(dim):
    squared, delta, wanted = loss_like_pairs(dim)
    assert len(wanted) > 100
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        found = log_normalizer_difference(squared.to(dtype), delta.to(dtype), dim)
        assert found.dtype == dtype
        worst = max(float(abs(f - w)) for f, w in zip(found.tolist(), wanted, strict=True))
        assert worst < bound


def test_table_of_exact_differences():
    table = {
        (3, 1, 2): 0.43378,
        (16, 2, 18): 7.28153,
        (128, 60, 76): 6.91552,
        (128, 700, 716): 14.62822,
        (512, 60, 76): 2.08845,
        (512, 700, 764): 45.43066,
    }
    for (dim, low, high), wanted in table.items():
        squared, delta = torch.tensor(float(low**2)), torch.tensor(float(high**2 - low**2))
        found = log_normalizer_difference(squared, delta, dim).item()
        assert found == pytest.approx(wanted, abs=2e-5)


def test_golden_values(golden):
    data = golden("vmf_bessel")
    kappa = torch.from_numpy(data["kappa"])
    for row, dim in enumerate(data["d"].tolist()):
        found = log_normalizer(kappa, dim).numpy()
        np.testing.assert_allclose(found, data["logC_exact"][row], rtol=1e-13)
        at_zero = log_normalizer(torch.zeros((), dtype=torch.float64), dim).item()
        assert at_zero == pytest.approx(data["logC_exact_at_0"][row].item(), rel=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 128])
def test_density_integrates_to_one(dim):
    angle = torch.linspace(0, math.pi, 20001, dtype=torch.float64)
    log_ring = math.log(2) + (dim - 1) / 2 * math.log(math.pi) - math.lgamma((dim - 1) / 2)
    for kappa in (0.0, 0.7, 12.0, 300.0):
        log_c = log_normalizer(torch.tensor(kappa, dtype=torch.float64), dim)
        density = (log_ring + log_c + kappa * angle.cos()).exp() * angle.sin() ** (dim - 2)
        assert simpson(density.numpy(), x=angle.numpy()) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("dim", DIMS)
def test_derivative_is_minus_the_mean_cosine(dim):
    kappa = torch.tensor(KAPPAS, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_normalizer(kappa, dim).sum(), kappa)
    torch.testing.assert_close(slope, -mean_cosine(kappa, dim), rtol=1e-10, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 41, 42, 128])
def test_difference_is_that_of_two_values_and_additive(dim):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (100 * torch.rand(3, 50, generator=generator, dtype=torch.float64)).unbind()
    ab = log_normalizer_difference(a, b - a, dim)
    direct = log_normalizer(a.sqrt(), dim) - log_normalizer(b.sqrt(), dim)
    torch.testing.assert_close(ab, direct, rtol=0, atol=1e-12)
    bc, ac = log_normalizer_difference(b, c - b, dim), log_normalizer_difference(a, c - a, dim)
    torch.testing.assert_close(ab + bc, ac, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 4, 20, 128])
def test_difference_is_twice_differentiable_even_at_zero(dim):
    squared = torch.tensor([0.0, 0.5, 30.0, 4000.0], dtype=torch.float64, requires_grad=True)
    delta = torch.tensor([[0.0, 1.0, -5.0, 300.0], [2.0, -0.5, 0.0, -3999.0]]).double()
    delta.requires_grad_()

    def function(q: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return log_normalizer_difference(q, d, dim)

    assert torch.autograd.gradcheck(function, (squared, delta))
    assert torch.autograd.gradgradcheck(function, (squared, delta))


@pytest.mark.parametrize("dim", DIMS)
def test_float32_gradient_is_the_ratio(dim):
    squared = torch.tensor(KAPPAS, dtype=torch.float32).square().requires_grad_()
    delta = torch.tensor([[100.0], [0.0]]).expand(2, len(KAPPAS)).clone().requires_grad_()
    log_normalizer_difference(squared, delta, dim).sum().backward()
    second = (squared.detach().double() + delta.detach().double()).sqrt().clamp_min(1e-12)
    wanted = mean_cosine(second, dim) / (2 * second)
    torch.testing.assert_close(delta.grad.double(), wanted, rtol=2e-6, atol=0)


@pytest.mark.parametrize("dim", [3, 8, 128])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_block_size_does_not_change_results(dim, block, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    shapes = [((5,), (4, 3, 5)), ((4, 1, 5), (4, 3, 5)), ((1,), (4, 5)), ((), ()), ((3, 5), (5,))]
    for first, second in shapes:
        squared = (50 * torch.rand(first, generator=generator)).requires_grad_()
        delta = (50 * torch.rand(second, generator=generator)).requires_grad_()
        results = []
        for size in (block, 2**15):
            monkeypatch.setattr(difference, "CPU_BLOCK", size)
            value = log_normalizer_difference(squared, delta, dim)
            results.append((value, *torch.autograd.grad(value.square().sum(), (squared, delta))))
        assert results[0][0].shape == torch.broadcast_shapes(first, second)
        for small, large in zip(*results, strict=True):
            torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)


def test_empty_and_half_precision_inputs():
    assert log_normalizer_difference(torch.ones(5), torch.ones(0, 5), 8).shape == (0, 5)
    for dtype in (torch.bfloat16, torch.float16):
        found = log_normalizer_difference(
            torch.ones(2, dtype=dtype), torch.ones(2, dtype=dtype), 64
        )
        wanted = log_normalizer_difference(torch.ones(2), torch.ones(2), 64)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=0)


def test_mixed_dtypes_are_refused():
    with pytest.raises(TypeError, match="cast one"):
        log_normalizer_difference(torch.ones(2).double(), torch.ones(2), 8)
