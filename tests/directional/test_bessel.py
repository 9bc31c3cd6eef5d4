"""The exact Bessel ratio, its derivative and its inverse."""

import numpy as np
import pytest
import torch

from vmf_embeddings.directional import cosine_variance, mean_cosine, mean_cosine_inverse

from .oracle import DIMS, KAPPAS
from .oracle import mean_cosine as slow_mean_cosine


def relative(found: torch.Tensor, wanted: list) -> float:
    pairs = zip(found.tolist(), wanted, strict=True)
    return max(float(abs(f - w) / (abs(w) or 1)) for f, w in pairs)


@pytest.mark.parametrize("dim", DIMS)
def test_mean_cosine_equals_mpmath(dim):
    narrow = torch.tensor(KAPPAS, dtype=torch.float32)
    for kappa, bound in ((narrow.double(), 1e-13), (narrow, 1e-7)):
        wanted = [slow_mean_cosine(k, dim) for k in kappa.tolist()]
        found = mean_cosine(kappa, dim)
        assert found.dtype == kappa.dtype
        assert relative(found, wanted) < bound


@pytest.mark.parametrize("dim", DIMS)
def test_variance_equals_mpmath(dim):
    kappas = [k for k in KAPPAS if k > 0]
    wanted = []
    for k in kappas:
        a = slow_mean_cosine(k, dim)
        wanted.append(1 - a * a - (dim - 1) * a / k)
    # 2e-9: at kappa = 1e6 the recurrence of small dims subtracts numbers that agree to 6 digits
    assert relative(cosine_variance(torch.tensor(kappas, dtype=torch.float64), dim), wanted) < 2e-9


def test_table_of_exact_values():
    table = {
        (3, 1): 0.313035,
        (3, 5): 0.800091,
        (8, 5): 0.494450,
        (16, 20): 0.687092,
        (128, 60): 0.396055,
        (128, 200): 0.731163,
        (512, 200): 0.344427,
        (512, 700): 0.699369,
        (2048, 700): 0.309155,
    }
    for (dim, kappa), wanted in table.items():
        assert mean_cosine(torch.tensor(float(kappa)), dim).item() == pytest.approx(
            wanted, abs=6e-7
        )


def test_golden_ratio_and_variance(golden):
    data = golden("vmf_bessel")
    kappa = torch.from_numpy(data["kappa"])
    for row, dim in enumerate(data["d"].tolist()):
        found = mean_cosine(kappa, dim).numpy()
        np.testing.assert_allclose(found, data["A_exact"][row], rtol=1e-13)
        found = cosine_variance(kappa, dim).numpy()
        np.testing.assert_allclose(found, data["dA_exact_dkappa"][row], rtol=1e-9)


@pytest.mark.parametrize("dim", DIMS)
def test_limits_at_zero_and_at_large_kappa(dim):
    kappa = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = mean_cosine(kappa, dim)
    (slope,) = torch.autograd.grad(value, kappa, create_graph=True)
    (second,) = torch.autograd.grad(slope, kappa)
    assert value.item() == 0
    assert slope.item() == pytest.approx(1 / dim, rel=1e-13)
    assert second.item() == 0
    far = torch.tensor(1e9, dtype=torch.float64)
    assert (far * (1 - mean_cosine(far, dim))).item() == pytest.approx((dim - 1) / 2, rel=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 8, 41, 42, 128])
def test_monotone_in_kappa_and_below_one(dim):
    kappa = torch.logspace(-6, 6, 2001, dtype=torch.float64)
    value = mean_cosine(kappa, dim)
    assert (value.diff() > 0).all()
    assert (value < 1).all()
    assert (mean_cosine(kappa, dim + 1) < value).all()


@pytest.mark.parametrize("dim", [2, 3, 5, 30, 128])
def test_derivative_is_the_variance(dim):
    kappa = torch.logspace(-6, 5, 200, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mean_cosine(kappa, dim).sum(), kappa)
    torch.testing.assert_close(slope, cosine_variance(kappa, dim), rtol=1e-9, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 64])
def test_twice_differentiable(dim):
    kappa = torch.tensor([0.0, 0.3, 4.0, 70.0], dtype=torch.float64, requires_grad=True)
    for function in (mean_cosine, cosine_variance):
        assert torch.autograd.gradcheck(lambda k, f=function: f(k, dim), kappa)
        assert torch.autograd.gradgradcheck(lambda k, f=function: f(k, dim), kappa)


@pytest.mark.parametrize("dim", DIMS)
def test_inverse_undoes_the_mean_cosine(dim):
    kappa = torch.tensor([0.0, 1e-6, 1e-2, 1.0, 30.0, 1e3, 1e5], dtype=torch.float64)
    back = mean_cosine_inverse(mean_cosine(kappa, dim), dim)
    torch.testing.assert_close(back, kappa, rtol=1e-9, atol=1e-15)


def test_inverse_has_first_and_second_derivatives():
    target = torch.tensor([0.0, 0.2, 0.7, 0.95], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: mean_cosine_inverse(r, 5), target[1:])
    assert torch.autograd.gradgradcheck(lambda r: mean_cosine_inverse(r, 5), target[1:])
    (slope,) = torch.autograd.grad(mean_cosine_inverse(target, 5).sum(), target)
    assert slope[0].item() == pytest.approx(5)


@pytest.mark.parametrize("bad", [1.0, -0.1, float("nan")])
def test_inverse_refuses_mean_cosines_outside_0_to_1(bad):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        mean_cosine_inverse(torch.tensor([0.5, bad]), 8)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least 2"):
        mean_cosine(torch.ones(1), 1)
    with pytest.raises(TypeError, match="float tensor"):
        mean_cosine(torch.ones(1, dtype=torch.int64), 3)
    with pytest.raises(TypeError, match="dim must be an int"):
        mean_cosine(torch.ones(1), 3.0)
