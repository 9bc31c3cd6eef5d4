"""The exact sampler: its distribution against theory, its vectors, and its arguments."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import cumulative_simpson
from torch.distributions import kl_divergence

from vmf_embeddings.directional import (
    PowerSpherical,
    VonMisesFisher,
    cosine_variance,
    mean_cosine,
    sample,
    sample_angle,
    sample_cosine,
    sample_sphere_coordinate,
)
from vmf_embeddings.directional import sampler as module

DIMS = (2, 3, 4, 8, 64, 128, 512, 2048)
SPREADS = (0.01, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0)  # kappa / (dim - 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(*shape: int, seed: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    rows = torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1).to(dtype)


def versines(kappa: torch.Tensor, dim: int, n: int, seed: int = 0) -> torch.Tensor:
    """1 - cos of float32 draws, in float64: near 0 the cosine itself has no digits left."""
    angle = sample_angle(kappa.float(), dim, n, generator=seeded(seed)).double()
    return 2 * (angle / 2).sin().square()


def assert_moments(versine: torch.Tensor, kappa: torch.Tensor, dim: int) -> None:
    """Mean and variance over the first axis within 4 standard errors."""
    kappa = kappa.double()
    mean, variance = 1 - mean_cosine(kappa, dim), cosine_variance(kappa, dim)
    n = len(versine)
    assert ((versine.mean(0) - mean).abs() < 4 * (variance / n).sqrt()).all()
    fourth = (versine - mean).pow(4).mean(0)
    error = ((fourth - variance.square()) / n).sqrt()
    assert ((versine.var(0) - variance).abs() < 4 * error).all()


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dim", DIMS)
def test_mean_and_variance_match_theory(dim):
    kappa = torch.tensor([0.0, *(s * (dim - 1) for s in SPREADS), 11.0, 12.0, 1e4, 1e6])
    assert_moments(versines(kappa, dim, 20_000), kappa, dim)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dim", [2, 3, 4, 10, 128, 512])
def test_distribution_function_matches_theory(dim):
    """Kolmogorov-Smirnov against the numerically integrated density of the angle."""
    for seed, kappa in enumerate((0.0, 0.1, 1.0, 9.0, 11.0, 60.0, 700.0, 1e4, 1e6)):
        angle = sample_angle(torch.tensor(kappa), dim, 4000, generator=seeded(seed)).double()
        width = (4 * kappa**2 + (dim - 2) ** 2 + 0.1) ** -0.25
        centre = math.acos(mean_cosine(torch.tensor(kappa, dtype=torch.float64), dim).item())
        grid = np.linspace(max(0.0, centre - 12 * width), min(math.pi, centre + 12 * width), 4001)
        with np.errstate(divide="ignore"):
            log_density = kappa * (np.cos(grid) - np.cos(centre))
            if dim > 2:
                log_density += (dim - 2) * np.log(np.sin(grid) / np.sin(centre))
        total = cumulative_simpson(np.exp(log_density), x=grid, initial=0)
        result = stats.kstest(angle.numpy(), lambda a, g=grid, t=total: np.interp(a, g, t / t[-1]))
        assert result.pvalue > 1e-4


@pytest.mark.usefixtures("code")
def test_golden_moments_and_quantiles(golden):
    data = golden("vmf_sampler_stats")
    levels = torch.from_numpy(data["quantile_p"])
    n = 20_000
    for row, (dim, kappa) in enumerate(
        zip(data["d"].tolist(), data["kappa"].tolist(), strict=True)
    ):
        cosine = 1 - versines(torch.tensor(kappa), dim, n, seed=row)
        mean, variance = data["exact_mean"][row], data["exact_var"][row]
        assert abs(cosine.mean().item() - mean) < 5 * math.sqrt(variance / n)
        assert abs(cosine.var().item() / variance - 1) < 15 * math.sqrt(2 / n)
        exact = torch.from_numpy(data["exact_quantiles"][row])
        below = (cosine[:, None] <= exact).double().mean(0)
        assert ((below - levels).abs() < 5 * (levels * (1 - levels) / n).sqrt() + 1e-4).all()


def test_vectors_agree_with_scipy():
    mu = unit(6, dtype=torch.float64)
    axis = unit(6, seed=8, dtype=torch.float64)
    for kappa in (0.5, 12.0, 300.0):
        ours = sample(mu, torch.tensor(kappa, dtype=torch.float64), 4000, generator=seeded())
        theirs = stats.vonmises_fisher(mu.numpy(), kappa).rvs(4000, random_state=1)
        for direction in (mu, axis):
            pair = (ours @ direction).numpy(), theirs @ direction.numpy()
            assert stats.ks_2samp(*pair).pvalue > 1e-4


@cache
def scipy_draws(dim: int, kappa: float) -> np.ndarray:
    return stats.vonmises_fisher(unit(dim, dtype=torch.float64).numpy(), kappa).rvs(
        1500, random_state=1
    )


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dim", [2, 3, 10, 128, 512])
def test_float32_vectors_are_distributed_as_scipys(dim):
    """Along mu and another direction, and in the mean, from wide to narrow distributions."""
    mu, axis = (unit(dim, seed=s, dtype=torch.float64) for s in (5, 8))
    for kappa in (0.1, 1.0, 9.0, 10.0, 11.0, 12.0, 60.0, 700.0, 1e4, 1e6):
        concentration = torch.tensor(kappa)
        ours = sample(mu.float(), concentration, 1500, generator=seeded()).double()
        theirs = torch.from_numpy(scipy_draws(dim, kappa))
        for function in (lambda x: angles(x, mu), lambda x: x @ axis):
            assert stats.ks_2samp(function(ours), function(theirs)).pvalue > 1e-4
        versine = 2 * (angles(ours, mu) / 2).sin().square()
        deviation = versine.mean() - (1 - mean_cosine(concentration.double(), dim))
        assert abs(deviation) < 4 * versine.std() / len(versine) ** 0.5


def angles(points: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """Angles to mu from both coordinates: near mu the cosine alone has no digits left."""
    along = points @ mu
    across = torch.linalg.vector_norm(points - along[:, None] * mu, dim=-1)
    return torch.atan2(across, along)


@pytest.mark.parametrize("dim", [2, 4, 128, 512])
def test_proposals_drawn_at_once_have_the_same_distribution(dim):
    """On devices all rounds are drawn at once, which saves a synchronisation after each."""
    for spread in SPREADS:
        kappa = torch.full((4000,), spread * (dim - 1))
        parameters = module._proposal(kappa, dim)
        pair = [
            draw(*parameters, dim, seeded(seed)).numpy()
            for seed, draw in enumerate((module._reject_at_once, module._reject_until_accepted))
        ]
        assert stats.ks_2samp(*pair).pvalue > 1e-4


@pytest.mark.usefixtures("code")
def test_a_nan_concentration_gives_nan_and_no_endless_loop():
    kappa = torch.tensor([torch.nan, 1.0])
    at_once = module._reject_at_once(*module._proposal(kappa, 5), 5, seeded())
    for angle in (at_once, sample_angle(kappa, 5, generator=seeded())):
        assert angle.isnan().tolist() == [True, False]


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dim", [2, 3, 4, 8, 128])
def test_tangent_directions_are_uniform(dim):
    mu = torch.eye(dim)[-1]
    points = sample(mu, torch.tensor(5.0), 20_000, generator=seeded())
    tangent = torch.nn.functional.normalize(points[:, :-1].double(), dim=-1)
    second = tangent.T @ tangent / len(tangent) * (dim - 1)
    tolerance = 6 * math.sqrt(dim / len(tangent))
    assert (tangent.mean(0).abs() < 5 / math.sqrt(len(tangent) * (dim - 1))).all()
    torch.testing.assert_close(second, torch.eye(dim - 1).double(), rtol=0, atol=tolerance)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dim", [2, 3, 16, 512])
@pytest.mark.parametrize("kappa", [0.0, 1.0, 50.0, 1e6])
def test_draws_are_unit_vectors_at_the_drawn_cosine(dim, kappa):
    e1 = torch.eye(dim)[0]
    mu = torch.stack((e1, -e1, unit(dim)))
    points = sample(mu, torch.full((3,), kappa), 500, generator=seeded())
    assert points.shape == (500, 3, dim)
    norms = torch.linalg.vector_norm(points.double(), dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=2e-6)
    angle = sample_angle(torch.full((3,), kappa), dim, 500, generator=seeded())
    torch.testing.assert_close((points * mu).sum(-1), angle.cos(), rtol=0, atol=2e-6)


@pytest.mark.usefixtures("code")
def test_shapes_dtypes_and_broadcasting():
    mu = unit(4, 5, 7)
    assert sample(mu, torch.tensor(3.0), 2).shape == (2, 4, 5, 7)
    assert sample(mu, torch.ones(5), 2).shape == (2, 4, 5, 7)
    assert sample(mu[0, 0], torch.tensor(3.0), 2).shape == (2, 7)
    assert sample(mu, torch.ones(4, 5), 0).shape == (0, 4, 5, 7)
    assert sample_cosine(torch.ones(4, 1), 7, (3, 2)).shape == (3, 2, 4, 1)
    assert sample_cosine(torch.ones(4), 7).shape == (4,)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert sample(mu.to(dtype), torch.ones(4, 5, dtype=dtype), 2).dtype == dtype


@pytest.mark.usefixtures("code")
def test_the_generator_alone_determines_the_draws():
    mu, kappa = unit(3, 6), torch.tensor([0.0, 5.0, 500.0])
    first = sample(mu, kappa, 4, generator=seeded(3))
    torch.manual_seed(99)
    torch.testing.assert_close(sample(mu, kappa, 4, generator=seeded(3)), first, rtol=0, atol=0)
    assert (sample(mu, kappa, 4, generator=seeded(4)) != first).any()


@pytest.mark.usefixtures("code")
def test_angles_do_not_repeat_or_correlate():
    """One kappa for all, so that a correlation can only come from the random streams."""
    rng = seeded()
    calls = [sample_angle(torch.full((20_000,), 50.0), 64, generator=rng) for _ in range(3)]
    table = torch.stack([*calls, calls[0].roll(1), calls[0].roll(2), calls[1].roll(3)]).double()
    for rows in (table, (table - table.mean()).square()):
        assert (torch.corrcoef(rows) - torch.eye(6)).abs().max() < 5 / 20_000**0.5
    assert len(calls[0].unique()) > 19_500  # float32 has some 10^7 numbers there


@pytest.mark.usefixtures("code")
def test_threads_change_nothing():
    mu, kappa = unit(5000, 65), torch.linspace(0, 100, 5000)
    first = sample(mu, kappa, 3, generator=seeded())
    try:
        torch.set_num_threads(3)
        assert torch.equal(sample(mu, kappa, 3, generator=seeded()), first)
    finally:
        torch.set_num_threads(1)


@pytest.mark.usefixtures("code")
def test_zero_direction_is_finite_at_zero_concentration():
    points = sample(torch.zeros(2, 5), torch.zeros(2), 3, generator=seeded())
    assert points.isfinite().all()


@pytest.mark.usefixtures("code")
def test_gradient_switch():
    mu, kappa = unit(3, 6).requires_grad_(), torch.ones(3, requires_grad=True)
    for sampler in ("exact", "reference"):
        assert sample(mu, kappa, 2, sampler=sampler).requires_grad
        assert not sample(mu, kappa, 2, gradient=False, sampler=sampler).requires_grad
        assert sample_cosine(kappa, 6, sampler=sampler).requires_grad
        assert not sample_cosine(kappa, 6, gradient=False, sampler=sampler).requires_grad


def test_unknown_sampler_lists_the_known_ones():
    with pytest.raises(ValueError, match="exact, reference"):
        sample(unit(3), torch.tensor(1.0), 1, sampler="wood")


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 64])
def test_sphere_coordinate_is_that_of_a_uniform_point(dim):
    found = sample_sphere_coordinate(20_000, dim, generator=seeded()).numpy()
    points = torch.randn(20_000, dim, generator=seeded(1))
    wanted = torch.nn.functional.normalize(points, dim=-1)[:, 0].numpy()
    assert stats.ks_2samp(found, wanted).pvalue > 1e-4
    assert found.var() == pytest.approx(1 / dim, rel=0.05)


@pytest.mark.parametrize("dim", [2, 3, 16, 128])
def test_power_spherical_draws_have_the_mean_of_the_exact_ones_and_its_derivative(dim):
    kappa = torch.tensor([0.0, 0.5, 3.0, 50.0, 2000.0], dtype=torch.float64, requires_grad=True)
    n, known = 20_000, {"sampler": "power", "generator": seeded(3)}
    cosine = sample_cosine(kappa, dim, n, **known)
    with torch.no_grad():
        error = cosine.std(0) / n**0.5
        assert ((cosine.mean(0) - mean_cosine(kappa, dim)).abs() < 4 * error + 1e-12).all()
    (slope,) = torch.autograd.grad(cosine.mean(0).sum(), kappa)
    # dA / dkappa is the variance of the exact cosine
    torch.testing.assert_close(slope, cosine_variance(kappa.detach(), dim), rtol=0.1, atol=1e-6)


def test_power_spherical_vectors_are_those_of_their_distribution():
    mu, kappa = unit(2, 16), torch.tensor([5.0, 60.0])
    draws = sample(mu, kappa, 4000, sampler="power", generator=seeded(1))
    power = PowerSpherical.from_von_mises_fisher(VonMisesFisher(mu, kappa))
    own = power.sample((4000,), seeded(1))
    torch.testing.assert_close(draws, own)
    assert ((draws * mu).sum(-1).mean(0) - mean_cosine(kappa, 16)).abs().max() < 0.02


@pytest.mark.parametrize(
    ("dim", "most"),
    [(2, 0.0386), (3, 0.0238), (5, 0.0157), (10, 0.0114), (128, 0.0086), (512, 0.0084)],
)
def test_power_spherical_draws_are_of_nearly_the_exact_distribution(dim, most):
    """The largest divergence in nats, at a kappa of about D / 2, and 0 at both ends."""
    kappa = torch.logspace(-3, 6, 400, dtype=torch.float64)
    vmf = VonMisesFisher(torch.eye(1, dim, dtype=torch.float64).expand(400, dim), kappa)
    nats = kl_divergence(PowerSpherical.from_von_mises_fisher(vmf), vmf)
    assert -1e-9 < nats.min() and 0.99 * most < nats.max() <= most
    assert max(nats[0], nats[-1]) < 1e-4
