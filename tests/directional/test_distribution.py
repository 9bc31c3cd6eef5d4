"""The distribution objects, against scipy and against identities of probability theory."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence

from vmf_embeddings.directional import HypersphericalUniform, VonMisesFisher


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize("dim", [2, 3, 5, 30])
@pytest.mark.parametrize("kappa", [0.5, 7.0, 100.0])
def test_density_and_entropy_equal_scipy(dim, kappa):
    mu, points = unit(dim), unit(20, dim, seed=1)
    ours = VonMisesFisher(mu, torch.tensor(kappa, dtype=torch.float64))
    theirs = stats.vonmises_fisher(mu.numpy(), kappa)
    np.testing.assert_allclose(ours.log_prob(points), theirs.logpdf(points.numpy()), atol=1e-11)
    assert ours.entropy().item() == pytest.approx(theirs.entropy(), abs=1e-10)


def test_float32_density_keeps_its_digits_at_large_kappa():
    mu = unit(64)
    near = torch.nn.functional.normalize(mu + 1e-3 * unit(64, seed=1) / 8, dim=-1)
    kappa = torch.tensor(1e6, dtype=torch.float64)
    wanted = VonMisesFisher(mu, kappa).log_prob(near)
    found = VonMisesFisher(mu.float(), kappa.float()).log_prob(near.float())
    assert found.item() == pytest.approx(wanted.item(), abs=0.05)


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_entropy_is_minus_the_mean_log_density(dim):
    vmf = VonMisesFisher(unit(dim), torch.tensor(4.0, dtype=torch.float64))
    values = vmf.log_prob(vmf.sample((20_000,), torch.Generator().manual_seed(0)))
    assert abs(-values.mean() - vmf.entropy()) < 4 * values.std() / math.sqrt(20_000)


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_mean_and_variance_are_those_of_the_draws(dim):
    vmf = VonMisesFisher(unit(2, dim), torch.tensor([1.0, 40.0], dtype=torch.float64))
    draws = vmf.sample((40_000,), torch.Generator().manual_seed(0))
    assert ((draws.mean(0) - vmf.mean).abs() < 5 * (vmf.variance / 40_000).sqrt()).all()
    torch.testing.assert_close(draws.var(0), vmf.variance, rtol=0.05, atol=0)
    cosine = (draws * vmf.mode).sum(-1)
    torch.testing.assert_close(cosine.var(0), vmf.cosine_variance, rtol=0.05, atol=0)
    error = (vmf.cosine_variance / 40_000).sqrt()
    assert ((cosine.mean(0) - vmf.cosine_mean).abs() < 5 * error).all()
    total = vmf.variance.sum(-1) + vmf.mean.square().sum(-1)
    torch.testing.assert_close(total, torch.ones(2).double())  # E |x|^2 = 1


@pytest.mark.parametrize("dim", [2, 3, 8, 128])
def test_divergence_is_positive_and_zero_at_equality(dim):
    kappa = torch.tensor([0.0, 0.1, 3.0, 50.0, 1e4], dtype=torch.float64)
    several = VonMisesFisher(unit(5, dim), kappa)
    torch.testing.assert_close(
        kl_divergence(several, several), torch.zeros(5).double(), rtol=0, atol=1e-15
    )
    others = VonMisesFisher(unit(5, dim, seed=1), kappa.flip(0) + 0.5)
    assert (kl_divergence(several, others) > 0).all()
    nearby = VonMisesFisher(several.loc, kappa * (1 + 1e-4))
    assert (kl_divergence(several, nearby) >= -1e-12).all()


def test_divergence_is_the_mean_log_ratio():
    p = VonMisesFisher(unit(6), torch.tensor(5.0, dtype=torch.float64))
    q = VonMisesFisher(unit(6, seed=1), torch.tensor(2.0, dtype=torch.float64))
    uniform = HypersphericalUniform(6, like=p.loc)
    rng = torch.Generator().manual_seed(0)
    for first, second in ((p, q), (p, uniform), (uniform, q)):
        draws = first.sample((20_000,), rng)
        ratio = first.log_prob(draws) - second.log_prob(draws)
        error = ratio.std() / math.sqrt(20_000)
        assert abs(ratio.mean() - kl_divergence(first, second)) < 4 * error


def test_divergence_is_differentiable():
    mu, kappa = unit(2, 5), torch.tensor([1.0, 30.0], dtype=torch.float64)
    other = VonMisesFisher(unit(2, 5, seed=1), torch.tensor(2.0, dtype=torch.float64))

    def divergence(concentration: torch.Tensor) -> torch.Tensor:
        return kl_divergence(VonMisesFisher(mu, concentration), other)

    assert torch.autograd.gradcheck(divergence, kappa.requires_grad_())


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_zero_concentration_is_the_uniform_distribution(dim):
    vmf = VonMisesFisher(unit(dim), torch.tensor(0.0, dtype=torch.float64))
    uniform = HypersphericalUniform(dim, like=vmf.loc)
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
    assert uniform.entropy().item() == pytest.approx(math.log(area), rel=1e-12)
    assert vmf.entropy().item() == pytest.approx(math.log(area), rel=1e-12)
    assert kl_divergence(vmf, uniform).item() == pytest.approx(0, abs=1e-14)
    draws = uniform.sample((5000,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.var(0), uniform.variance, rtol=0.1, atol=0)
    torch.testing.assert_close(uniform.log_prob(draws), vmf.log_prob(draws))


def test_shapes_and_expansion():
    vmf = VonMisesFisher(unit(3, 5), torch.ones(2, 1, dtype=torch.float64))
    assert (vmf.batch_shape, vmf.event_shape) == ((2, 3), (5,))
    wide = vmf.expand((4, 2, 3))
    draws = wide.rsample((6, 7))
    assert draws.shape == (6, 7, 4, 2, 3, 5)
    assert wide.log_prob(draws).shape == (6, 7, 4, 2, 3)
    assert vmf.sample().shape == (2, 3, 5)
    assert HypersphericalUniform(5, (2,)).expand((3, 2)).sample((4,)).shape == (4, 3, 2, 5)


def test_arguments_are_validated(monkeypatch):
    # torch.compile turns the validation of all distributions off for the rest of the process
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    with pytest.raises(ValueError, match="loc"):
        VonMisesFisher(torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(torch.eye(3)[0], -1.0)
    with pytest.raises(ValueError, match="the same sphere, got those of R.3 and R.4"):
        kl_divergence(VonMisesFisher(torch.eye(3)[0], 1.0), VonMisesFisher(torch.eye(4)[0], 1.0))
    with pytest.raises(ValueError, match="support"):
        VonMisesFisher(torch.eye(3)[0], 1.0).log_prob(torch.ones(3))
