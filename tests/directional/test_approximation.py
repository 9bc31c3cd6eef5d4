"""The paper's approximations, against reference numbers and against the exact functions."""

import numpy as np
import pytest
import torch

from vmf_embeddings.directional import (
    log_normalizer_approx,
    log_normalizer_difference_approx,
    mean_cosine,
    mean_cosine_approx,
)


def test_golden_ratio_and_normalizer(golden):
    data = golden("vmf_bessel")
    kappa = torch.from_numpy(data["kappa"])
    for row, dim in enumerate(data["d"].tolist()):
        ratio = mean_cosine_approx(kappa, dim).numpy()
        np.testing.assert_allclose(ratio, data["ratio_approx"][row], rtol=1e-13)
        value = log_normalizer_approx(kappa.square(), dim).numpy()
        np.testing.assert_allclose(value, data["logC_approx"][row], rtol=1e-13)
        ratio = mean_cosine_approx(kappa.float(), dim).numpy()
        np.testing.assert_allclose(ratio, data["ratio_approx_f32"][row], rtol=3e-7)
        value = log_normalizer_approx(kappa.float().square(), dim).numpy()
        np.testing.assert_allclose(value, data["logC_approx_f32"][row], atol=1e-2, rtol=3e-7)


def test_golden_derivatives(golden):
    data = golden("vmf_bessel")
    for row, dim in enumerate(data["d"].tolist()):
        kappa = torch.from_numpy(data["kappa"]).requires_grad_()
        (slope,) = torch.autograd.grad(mean_cosine_approx(kappa, dim).sum(), kappa)
        np.testing.assert_allclose(slope, data["dratio_approx_dkappa"][row], rtol=1e-8)
        squared = kappa.detach().square().requires_grad_()
        (slope,) = torch.autograd.grad(log_normalizer_approx(squared, dim).sum(), squared)
        np.testing.assert_allclose(slope, data["dlogC_approx_dkappa_squared"][row], rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 16, 512])
def test_difference_is_that_of_two_values(dim):
    generator = torch.Generator().manual_seed(0)
    low, high = (1000 * torch.rand(2, 100, generator=generator, dtype=torch.float64)).unbind()
    found = log_normalizer_difference_approx(low, high - low, dim)
    wanted = log_normalizer_approx(low, dim) - log_normalizer_approx(high, dim)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    narrow = log_normalizer_difference_approx(low.float(), (high - low).float(), dim)
    torch.testing.assert_close(narrow.double(), wanted, rtol=1e-6, atol=2e-5)


def test_difference_is_twice_differentiable():
    squared = torch.tensor([0.0, 3.0, 900.0], dtype=torch.float64, requires_grad=True)
    delta = torch.tensor([[0.0, -2.0, 50.0], [4.0, 0.0, -890.0]]).double().requires_grad_()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda q, d: log_normalizer_difference_approx(q, d, 5), (squared, delta))


def test_too_high_by_the_documented_amounts():
    small = torch.tensor(1e-4, dtype=torch.float64)
    for dim, excess in ((2, 0.5), (3, 0.25), (128, 1 / 254)):
        ratio = mean_cosine_approx(small, dim) / mean_cosine(small, dim)
        assert ratio.item() - 1 == pytest.approx(excess, rel=1e-3)
