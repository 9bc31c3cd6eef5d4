"""The implicit gradient of angles, and that of the points that are built from them."""

import math

import pytest
import torch
from scipy.integrate import quad

from vmf_embeddings import native
from vmf_embeddings.directional import cosine_variance, mean_cosine, sample, sample_cosine
from vmf_embeddings.directional.gradient import angle_derivative, attach_kappa_gradient
from vmf_embeddings.directional.normals import standard_normals_
from vmf_embeddings.directional.tangent import random_tangent_points, tangent_points


def slow_derivative(angle: float, kappa: float, dim: int) -> float:
    """The defining integral, by adaptive quadrature over the nearer tail."""
    mean = mean_cosine(torch.tensor(kappa, dtype=torch.float64), dim).item()

    def integrand(t: float) -> float:
        log_ratio = kappa * (math.cos(t) - math.cos(angle))
        log_ratio += (dim - 2) * (math.log(math.sin(t)) - math.log(math.sin(angle)))
        return (math.cos(t) - mean) * math.exp(log_ratio)

    reach = 15 * (4 * kappa**2 + (dim - 2) ** 2) ** -0.25
    if math.cos(angle) > mean:
        return -quad(integrand, max(0, angle - reach), angle, epsabs=0, epsrel=1e-9)[0]
    return quad(integrand, angle, min(math.pi, angle + reach), epsabs=0, epsrel=1e-9)[0]


@pytest.mark.parametrize("dim", [2, 3, 4, 8, 64, 512])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 10.0, 100.0, 1e4])
def test_derivative_equals_the_integral(dim, kappa):
    width = (4 * kappa**2 + (dim - 2) ** 2) ** -0.25
    centre = math.acos(mean_cosine(torch.tensor(kappa, dtype=torch.float64), dim).item())
    for deviation in (-3, -1, -0.01, 0.01, 1, 3, 4):
        angle = centre + deviation * width
        if not 1e-4 < angle < math.pi - 1e-4:
            continue
        wanted = slow_derivative(angle, kappa, dim)
        for dtype, bound in ((torch.float64, 1e-4), (torch.float32, 2e-4)):
            point = torch.tensor([angle], dtype=dtype)
            found = angle_derivative(point, torch.tensor([kappa], dtype=dtype), dim).item()
            assert found == pytest.approx(wanted, rel=bound)


def test_three_dimensions_equal_the_closed_form():
    kappa = torch.logspace(-2, 3, 40, dtype=torch.float64, requires_grad=True)
    level = torch.tensor([0.02, 0.3, 0.6, 0.97], dtype=torch.float64)[:, None]
    versine = -(level * torch.expm1(-2 * kappa)).log1p() / kappa  # its quantile function
    wanted = [torch.autograd.grad(row.sum(), kappa, retain_graph=True)[0] for row in versine]
    angle = 2 * (versine.detach() / 2).sqrt().asin()
    found = angle.sin() * angle_derivative(angle, kappa.detach(), 3)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 8, 128])
def test_uniform_limit(dim):
    angle = torch.linspace(0, math.pi, 101)
    found = angle_derivative(angle, torch.zeros(1), dim)
    torch.testing.assert_close(found, -angle.sin() / (dim - 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 4, 512])
def test_finite_and_not_positive_everywhere(dim):
    angle = torch.cat((torch.linspace(0, math.pi, 301), torch.logspace(-30, -1, 50)))[:, None]
    kappa = torch.tensor([0.0, 1e-10, 1e-3, 1.0, 50.0, 1e4, 1e6])
    found = angle_derivative(angle.expand(-1, 7), kappa, dim)
    assert found.isfinite().all()
    assert (found <= 1e-6).all()


@pytest.mark.parametrize("dim", [2, 3, 4, 8, 64, 128, 512, 2048])
def test_mean_gradient_is_the_variance_of_the_cosine(dim):
    """d E[cos] / d kappa = A'(kappa): within 2 %, measured far below."""
    spread = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0])
    kappa = (spread * (dim - 1)).requires_grad_()
    rng = torch.Generator().manual_seed(0)
    sample_cosine(kappa, dim, 20_000, generator=rng).mean(0).sum().backward()
    ratio = kappa.grad.double() / cosine_variance(kappa.detach().double(), dim)
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=0.02)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 8, 64])
def test_gradient_of_an_expectation_reaches_mu_and_kappa(dim, dtype):
    """E[a.x] = A(kappa) a.mu, whose gradient along the sphere and in kappa is known."""
    rng = torch.Generator().manual_seed(1)
    target = torch.randn(dim, generator=rng, dtype=torch.float64).to(dtype)
    raw = torch.randn(dim, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()
    kappa = torch.tensor(1.5 * dim, dtype=dtype, requires_grad=True)
    mu = torch.nn.functional.normalize(raw, dim=-1)
    expectation = mean_cosine(kappa, dim) * (mu @ target)
    wanted = torch.autograd.grad(expectation, (raw, kappa), retain_graph=True)
    draws = sample(mu, kappa, 100_000, generator=rng)
    found = torch.autograd.grad((draws @ target).mean(), (raw, kappa))
    scale = torch.linalg.vector_norm(target).item()
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 * scale)


@pytest.mark.parametrize("dim", [2, 3, 8, 20])
def test_tangent_points_equal_plain_autograd(dim):
    rng = torch.Generator().manual_seed(2)
    normals = torch.randn(3, 4, dim, generator=rng, dtype=torch.float64)
    mu = torch.nn.functional.normalize(torch.randn(4, dim, generator=rng).double(), dim=-1)
    angle = 0.05 + 3 * torch.rand(3, 4, generator=rng, dtype=torch.float64)
    upstream = torch.randn(3, 4, dim, generator=rng, dtype=torch.float64)
    mu.requires_grad_(), angle.requires_grad_()
    flat = normals - (normals * mu).sum(-1, keepdim=True) * mu
    v = flat / torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    wanted = angle.cos()[..., None] * mu + angle.sin()[..., None] * v
    found = tangent_points(angle, mu, normals.clone())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    ours = torch.autograd.grad(found, (angle, mu), upstream)
    theirs = torch.autograd.grad(wanted, (angle, mu), upstream)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.skipif(not native.enabled(), reason="Numba is not installed or switched off")
@pytest.mark.parametrize("dim", [4, 8, 16, 128])
def test_compiled_points_are_those_of_the_same_normals(dim):
    """Dimensions that divide a block, so that vectors and single numbers use the same streams."""
    rng = torch.Generator().manual_seed(3)
    mu = torch.nn.functional.normalize(torch.randn(301, dim, generator=rng), dim=-1)
    angle = 3 * torch.rand(4, 301, generator=rng)
    upstream = torch.randn(4, 301, dim, generator=rng)
    mu.requires_grad_(), angle.requires_grad_()
    normals = standard_normals_(torch.empty(4, 301, dim), torch.Generator().manual_seed(0))
    wanted = tangent_points(angle, mu, normals)
    found = random_tangent_points(angle, mu, torch.Generator().manual_seed(0))
    # 1e-5: where most of a Gaussian vector is along mu, its tangent part is inaccurate
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    ours = torch.autograd.grad(found, (angle, mu), upstream)
    theirs = torch.autograd.grad(wanted, (angle, mu), upstream)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_stay_finite_at_the_poles():
    mu = torch.eye(4)[:2].requires_grad_()
    angle = torch.tensor([[0.0, math.pi]])
    kappa = torch.tensor([1e6, 0.0], requires_grad=True)
    normals = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    tangent_points(attach_kappa_gradient(angle, kappa, 4), mu, normals).sum().backward()
    assert mu.grad.isfinite().all()
    assert kappa.grad.isfinite().all()


def test_compiled_derivatives_in_three_dimensions_equal_those_of_torch(monkeypatch):
    if not native.enabled():
        pytest.skip("Numba is not installed")
    kappa = torch.cat((torch.zeros(1), torch.logspace(-6, 6, 40)))
    angle = torch.linspace(0, 3.1415, 60)[:, None].expand(60, 41).contiguous()
    found = angle_derivative(angle, kappa, 3)
    monkeypatch.setenv(native.SWITCH, "0")
    torch.testing.assert_close(found, angle_derivative(angle, kappa, 3), rtol=2e-6, atol=0)
