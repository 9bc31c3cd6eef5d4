"""The fused log partition equals its plain formula, values and gradients, for both estimators."""

import pytest
import torch

from vmf_embeddings.directional import partition, partition_tile
from vmf_embeddings.directional.log_normalizer import log_normalizer_difference
from vmf_embeddings.directional.partition import mean_log_partition
from vmf_embeddings.directional.tangent import tangent_points

B, S, C = 5, 3, 7


def problem(dim, dtype):
    rng = torch.Generator().manual_seed(dim)
    normal = torch.randn(B + C, dim, generator=rng, dtype=torch.float64) * 3
    mu = torch.nn.functional.normalize(normal[:B], dim=-1)
    angle = torch.rand(B, S, generator=rng, dtype=torch.float64) * 2 + 0.1
    normals = torch.randn(B, S, dim, generator=rng, dtype=torch.float64)
    leaves = [t.to(dtype).requires_grad_() for t in (mu, angle, normal[B:], torch.tensor(2.3))]
    return (*leaves, normals.to(dtype))


def plain(mu, angle, weights, beta, normals, paired):
    draws = tangent_points(angle.T, mu, normals.transpose(0, 1).contiguous().clone())
    if paired:
        draws = torch.cat([draws, 2 * angle.T.cos()[..., None] * mu - draws])
    delta = beta.square() + 2 * beta * (draws @ weights.T)
    terms = log_normalizer_difference(weights.square().sum(-1), delta, mu.shape[-1])
    return terms.logsumexp(-1).mean()


def fused(mu, angle, weights, beta, normals, paired):
    return partition._OfLaws.apply(mu, angle, normals.clone(), weights, beta, paired)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("dim", [2, 3, 5, 20, 130])
def test_equals_the_plain_formula_with_gradients(dim, paired, monkeypatch):
    monkeypatch.setattr(partition, "BLOCK", 2 * S * C)  # several blocks, several tiles in each
    monkeypatch.setattr(partition_tile, "CPU_TILE", S * C)
    *leaves, normals = problem(dim, torch.float64)
    expected, got = plain(*leaves, normals, paired), fused(*leaves, normals, paired)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
    gradients = zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True
    )
    for mine, theirs in gradients:
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("dim", [2, 3, 5, 16, 130])
def test_float32_keeps_its_digits(dim, paired, code):
    *narrow, normals = problem(dim, torch.float32)
    wide = [t.detach().double().requires_grad_() for t in narrow]
    expected, got = fused(*wide, normals.double(), paired), fused(*narrow, normals, paired)
    assert abs(got.item() / expected.item() - 1) < 1e-6
    gradients = zip(
        torch.autograd.grad(got, narrow), torch.autograd.grad(expected, wide), strict=True
    )
    for mine, theirs in gradients:
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


def gradients_of_weights(estimator, n_runs):
    rng = torch.Generator().manual_seed(1)
    dim = 64
    mu = torch.nn.functional.normalize(torch.ones(2, dim, dtype=torch.float64), dim=-1)
    kappa = torch.tensor([20.0, 60.0], dtype=torch.float64)
    weights = (torch.eye(dim, dtype=torch.float64)[:4] * 30).requires_grad_()
    beta = torch.tensor(16.0, dtype=torch.float64)
    rows = []
    for _ in range(n_runs):
        value = mean_log_partition(mu, kappa, weights, beta, 4, estimator=estimator, generator=rng)
        rows.append(torch.autograd.grad(value, weights)[0].flatten())
    return torch.stack(rows)


def test_antithetic_draws_have_the_same_mean_gradient_and_less_variance():
    pairs, alone = (gradients_of_weights(e, 800) for e in ("antithetic", "iid"))
    error = ((pairs.var(0) + alone.var(0)) / 800).sqrt()
    assert ((pairs.mean(0) - alone.mean(0)).abs() < 5 * error).all()
    assert pairs.var(0).sum() < 0.7 * alone.var(0).sum()


def test_odd_number_of_pairs_and_unknown_estimator_are_refused():
    mu, one = torch.eye(3), torch.ones(3)
    with pytest.raises(ValueError, match="come in pairs"):
        mean_log_partition(mu, one, mu, torch.tensor(1.0), 3)
    with pytest.raises(ValueError, match="known: antithetic, iid"):
        mean_log_partition(mu, one, mu, torch.tensor(1.0), 2, estimator="mirror")
