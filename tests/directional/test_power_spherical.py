"""The power spherical distribution: golden numbers, mpmath at the extremes, laws and gradients."""

import math

import mpmath
import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

from tests.conftest import load_golden
from vmf_embeddings.directional import HypersphericalUniform, PowerSpherical, VonMisesFisher
from vmf_embeddings.directional.gamma_ratio import digamma_difference, log_gamma_ratio
from vmf_embeddings.directional.power_spherical_angle import angle_derivative, sample_angle

GOLDEN = load_golden("dm_power_spherical")
DIMS, KAPPAS = GOLDEN["dim"].tolist(), torch.tensor(GOLDEN["kappa"], dtype=torch.float64)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def axis(dim, dtype=torch.float64):
    return torch.eye(1, dim, dtype=dtype)[0]


def power(dim, kappa):
    return PowerSpherical(axis(dim), torch.as_tensor(kappa, dtype=torch.float64))


def f64(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("row", range(len(DIMS)))
def test_closed_forms_are_the_golden_ones(row):
    dim = DIMS[row]
    p = power(dim, KAPPAS)
    matched = p.von_mises_fisher()
    for name, values in (
        *(("log_normalizer", p.log_normalizer), ("entropy", p.entropy())),
        *(("mean_cosine", p.cosine_mean), ("cosine_variance", p.cosine_variance)),
        ("kl_uniform", kl_divergence(p, HypersphericalUniform(dim))),
        *(("vmf_kappa_same_mean", matched.concentration),),
        ("kl_vmf_same_mean", kl_divergence(p, matched)),
    ):
        np.testing.assert_allclose(
            values, GOLDEN[f"exact_{name}"][row], rtol=1e-10, atol=1e-10, err_msg=name
        )


@pytest.mark.parametrize("case", ["s0", "s1", "s2"])
def test_log_density_is_that_of_the_original_code(case):
    loc = f64(GOLDEN[f"{case}/loc"])
    p = PowerSpherical(loc, f64(GOLDEN[f"{case}/scale"]), validate_args=False)
    keys = [key for key in GOLDEN if key.startswith(case)]
    assert f"{case}/ref_log_prob" in keys
    x = torch.nn.functional.normalize(f64(GOLDEN[f"{case}/x"]), dim=-1)
    np.testing.assert_allclose(p.log_prob(x), GOLDEN[f"{case}/ref_log_prob"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 129, 4096, 10**6])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 7.0, 1e4, 1e9])
def test_normaliser_and_entropy_equal_mpmath(dim, kappa):
    with mpmath.workdps(60):
        b = mpmath.mpf(dim - 1) / 2
        a = b + mpmath.mpf(kappa)
        log_n = mpmath.loggamma(a + b) - mpmath.loggamma(a)
        log_n -= (a + b) * mpmath.log(2) + b * mpmath.log(mpmath.pi)
        fall = mpmath.digamma(a) - mpmath.digamma(a + b)
        entropy = float(-log_n - kappa * (mpmath.log(2) + fall))
        ratio = float(mpmath.loggamma(a + b) - mpmath.loggamma(a))
        log_n, difference = float(log_n), float(-fall)
    p = power(dim, kappa)
    scale = 1e-13 * max(1, kappa, dim)  # the size of the terms
    assert p.log_normalizer.item() == pytest.approx(log_n, rel=1e-13, abs=scale)
    assert p.entropy().item() == pytest.approx(entropy, rel=1e-11, abs=1e-12 * dim)
    arguments = f64(float(a)), f64(float(b))
    assert log_gamma_ratio(*arguments).item() == pytest.approx(ratio, rel=1e-14, abs=1e-15)
    assert digamma_difference(*arguments).item() == pytest.approx(difference, rel=1e-14)


def test_float32_keeps_the_digits_that_the_original_loses():
    """Its entropy is off by 1.4e-2 at 1e4 in float32."""
    for dim in (3, 64):
        exact = power(dim, 1e4).entropy().item()
        single = PowerSpherical(axis(dim, torch.float32), 1e4).entropy().item()
        assert single == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 0.7, 40.0])
@pytest.mark.parametrize("dim", [2, 3])
def test_the_density_integrates_to_one(dim, kappa):
    t = torch.linspace(-1, 1, 4001, dtype=torch.float64)[:-1] + 1 / 4000  # midpoints
    if dim == 2:
        points = torch.stack([(torch.pi * t).cos(), (torch.pi * t).sin()], 1)
        area = 2 * math.pi
    else:  # cosines are uniform: Archimedes
        points = torch.stack([t, (1 - t.square()).sqrt(), torch.zeros_like(t)], 1)
        area = 4 * math.pi
    total = power(dim, kappa).log_prob(points).exp().mean() * area
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_special_cases_on_the_circle_and_at_zero():
    x = torch.nn.functional.normalize(torch.randn(7, 2, generator=rng()).double(), dim=1)
    cardioid = (1 + x[:, 0]) / (2 * math.pi)
    torch.testing.assert_close(power(2, 1.0).log_prob(x), cardioid.log())
    for dim in (2, 5):
        uniform = HypersphericalUniform(dim, like=torch.empty(0).double())
        p = power(dim, 0.0)
        torch.testing.assert_close(p.entropy(), uniform.entropy())
        torch.testing.assert_close(p.log_prob(axis(dim)[None]), uniform.log_prob(axis(dim)[None]))
        assert p.log_prob(-axis(dim)).isfinite()
        for first, second in ((p, uniform), (uniform, p), (p, VonMisesFisher(axis(dim), 0.0))):
            assert abs(kl_divergence(first, second).item()) < 1e-12
    assert power(3, 2.0).log_prob(-axis(3)) == -math.inf
    kappa = f64(0.0).requires_grad_()  # d log p / d kappa at 0: log((1 + mu.x) / 2) less its mean
    x = f64([0.6, 0.8, 0.0])
    (slope,) = torch.autograd.grad(PowerSpherical(axis(3), kappa).log_prob(x), kappa)
    assert slope.item() == pytest.approx(math.log(0.8) + 1)


@pytest.mark.parametrize("dim, kappa", [(2, 0.4), (3, 5.0), (20, 3.0), (128, 900.0)])
def test_draws_have_the_moments_entropy_and_divergences(dim, kappa):
    mu = torch.nn.functional.normalize(torch.randn(dim, generator=rng(1)).double(), dim=0)
    p, n = PowerSpherical(mu, f64(kappa)), 50_000
    x = p.sample((n,), rng())
    torch.testing.assert_close(x.norm(dim=1), torch.ones(n).double())
    assert ((x.mean(0) - p.mean).abs() < 5 * (p.variance / n).sqrt()).all()
    torch.testing.assert_close(x.var(0), p.variance, rtol=0.06, atol=0)
    cosine = x @ mu
    assert abs(cosine.mean() - p.cosine_mean) < 4 * (p.cosine_variance / n).sqrt()
    torch.testing.assert_close(cosine.var(), p.cosine_variance, rtol=0.05, atol=0)
    log_p = p.log_prob(x)
    assert abs(-log_p.mean() - p.entropy()) < 4 * log_p.std() / math.sqrt(n)
    other = VonMisesFisher(-mu, f64(2.0))
    ratio = log_p - other.log_prob(x)
    assert abs(ratio.mean() - kl_divergence(p, other)) < 4 * ratio.std() / math.sqrt(n)
    uniform = HypersphericalUniform(dim, like=x[:0])
    y = uniform.sample((n,), rng())
    ratio = uniform.log_prob(y) - p.log_prob(y)
    error = 4 * ratio.std() / math.sqrt(n)
    assert abs(ratio.mean() - kl_divergence(uniform, p)) < error


def test_in_three_dimensions_the_cosine_has_its_distribution_function():
    """t has the distribution function ((1 + t) / 2)^(kappa + 1)."""
    from scipy.stats import kstest

    cosine = power(3, 2.5).sample((4000,), rng())[:, 0]
    assert kstest(((1 + cosine) / 2).pow(3.5), "uniform").pvalue > 1e-3


def test_matching_goes_there_and_back():
    kappa = f64([0.0, 0.3, 20.0, 1e5])
    vmf = VonMisesFisher(axis(16), kappa)
    p = PowerSpherical.from_von_mises_fisher(vmf)
    torch.testing.assert_close(p.cosine_mean, vmf.cosine_mean)
    torch.testing.assert_close(p.von_mises_fisher().concentration, kappa, rtol=1e-8, atol=1e-12)
    again = PowerSpherical.from_mean_cosine(p.loc, p.cosine_mean)
    torch.testing.assert_close(again.concentration, p.concentration, rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1 to 1"):
        PowerSpherical.from_mean_cosine(axis(3), 1.0)
    with pytest.raises(ValueError, match="same sphere"):
        kl_divergence(power(3, 1.0), HypersphericalUniform(4))


@pytest.mark.parametrize("dim, kappa", [(2, 0.3), (2, 9.0), (3, 5.0), (16, 50.0), (512, 80.0)])
def test_the_gradient_of_draws_is_that_of_the_quantile(dim, kappa):
    from scipy.stats import beta

    b, quantile = (dim - 1) / 2, np.array([0.002, 0.1, 0.5, 0.9, 0.999])

    def angles(k):  # sin^2(theta / 2) follows Beta(b, b + kappa)
        return 2 * np.arcsin(np.sqrt(beta.ppf(quantile, b, b + k)))

    step = 1e-4 * (1 + kappa)
    differences = (angles(kappa + step) - angles(kappa - step)) / (2 * step)
    found = angle_derivative(f64(angles(kappa)), f64([kappa] * 5), dim)
    np.testing.assert_allclose(found, differences, rtol=2e-6)


def test_gradients_of_means_over_draws_are_those_of_the_closed_form():
    mu = torch.nn.functional.normalize(torch.randn(4, generator=rng(1)).double(), dim=0)
    mu.requires_grad_()
    kappa = f64(3.0).requires_grad_()
    p = PowerSpherical(mu, kappa, validate_args=False)
    x = p.rsample((100_000,), rng())
    along = f64([1.0, 0.0, 0.0, 0.0])
    found = torch.autograd.grad((x @ along).mean(), (mu, kappa))
    expected = torch.autograd.grad(p.mean @ along, (mu, kappa))
    tangent = torch.eye(4).double() - torch.outer(mu, mu).detach()
    torch.testing.assert_close(tangent @ found[0], tangent @ expected[0], rtol=0, atol=5e-3)
    torch.testing.assert_close(found[1], expected[1], rtol=0.02, atol=0)


def test_closed_forms_have_exact_gradients():
    kappa = f64([0.5, 30.0]).requires_grad_()

    def of(values):
        p = PowerSpherical(axis(6), values, validate_args=False)
        other = VonMisesFisher(axis(6), f64(4.0))
        return p.log_normalizer, p.entropy(), kl_divergence(p, other), p.log_prob(-0.6 * axis(6))

    assert torch.autograd.gradcheck(of, (kappa,))
    assert torch.autograd.gradgradcheck(of, (kappa,))


def test_draws_at_extremes_are_finite_and_batches_expand():
    kappa = torch.tensor([0.0, 1e-6, 1e3, 1e8], requires_grad=True)
    p = PowerSpherical(axis(64, torch.float32).expand(3, 1, 64), kappa)
    x = p.expand(torch.Size((3, 4))).rsample((5,), rng())
    assert x.shape == (5, 3, 4, 64) and p.log_prob(x).isfinite().all()
    (gradient,) = torch.autograd.grad(x.sum(), kappa)
    assert gradient.isfinite().all()
    angle = sample_angle(torch.full((20_000,), 1e8), 2, rng())
    assert (angle > 0).all() and angle.mean() < 1e-3
