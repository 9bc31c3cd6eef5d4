"""The vMF loss equals its formula, in value and gradient, for both estimators and both codes."""

import pytest
import torch

from vmf_embeddings import directional
from vmf_embeddings.directional import bound, partition, partition_tile
from vmf_embeddings.directional.bound import softmax_bound, softmax_bound_of_draws
from vmf_embeddings.directional.tangent import tangent_points

B, S, C = 5, 3, 7
ESTIMATORS = ("iid", "antithetic")


def problem(dim, dtype):
    """Embeddings, class weights and beta of the sizes found in training; and labels."""
    rng = torch.Generator().manual_seed(dim)
    beta = torch.tensor(max(2.3, dim / 32), dtype=torch.float64)
    vectors = max(3, dim / 16) * torch.randn(B + C, dim, generator=rng, dtype=torch.float64)
    leaves = [t.to(dtype).requires_grad_() for t in (vectors[:B], vectors[B:], beta)]
    return leaves, torch.tensor([0, 6, 3, 3, 1])


@pytest.fixture
def noise(monkeypatch):
    """Fixed quantiles and Gaussian vectors, the same in float32 and float64."""

    def fix(dim):
        rng = torch.Generator().manual_seed(0)
        angle = torch.rand(S, B, generator=rng, dtype=torch.float64) * 2 + 0.1
        normals = torch.randn(S, B, dim, generator=rng, dtype=torch.float64)
        angle, normals = angle.float().double(), normals.float().double()
        next_row = {"top": 0}

        def tangents(out, mu, generator):
            rows = slice(next_row["top"], next_row["top"] + len(mu))
            next_row["top"] = rows.stop % B
            along_mu = (normals[:, rows] * mu.double()).sum(-1, keepdim=True)
            tangent = normals[:, rows] - along_mu * mu.double()
            length = tangent.norm(dim=-1, keepdim=True)
            out.copy_(tangent / length)
            return (along_mu / length).squeeze(-1).to(mu.dtype)

        def angles(kappa, dim, shape, *, gradient, generator):
            return angle.to(kappa.dtype)

        monkeypatch.setattr(bound, "sample_angle", angles)
        monkeypatch.setattr(partition, "random_tangents_", tangents)
        return angle, normals

    return fix


def plain(leaves, labels, angle, normals, antithetic):
    """The loss from its definition, by autograd; the angle depends on kappa implicitly."""
    z, w, beta = leaves
    dim, kappa = z.shape[1], z.norm(dim=-1)
    angle = directional.gradient.attach_kappa_gradient(angle, kappa, dim)
    mu = z / kappa[:, None]
    draws = tangent_points(angle, mu, normals.clone())
    if antithetic:
        draws = torch.cat([draws, 2 * angle.cos()[..., None] * mu - draws])
    return plain_of_draws(z, w, labels, beta, draws.transpose(0, 1))


def plain_of_draws(z, w, labels, beta, draws):
    dim = z.shape[1]
    delta = beta.square() + 2 * beta * (draws @ w.T)
    terms = directional.log_normalizer_difference(w.square().sum(-1), delta, dim)
    own = w[labels]
    lengths = [v.norm(dim=-1) for v in (z, own)]
    factor = torch.stack([directional.mean_cosine(k, dim) / k for k in lengths]).prod(0)
    return terms.logsumexp(-1).mean() - beta * (factor * (z * own).sum(-1)).mean()


def gradients(value, leaves):
    return torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("whole_classes", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dim", [2, 3, 5, 20, 130])
def test_equals_the_plain_formula_with_gradients(dim, estimator, whole_classes, noise, monkeypatch):
    monkeypatch.setattr(partition, "MIN_BATCH_CHUNK", 2 if whole_classes else 9)
    monkeypatch.setattr(partition, "CPU_BLOCK", 2 * (S + 1) * C)  # several blocks and tiles
    monkeypatch.setattr(partition_tile, "CPU_TILE", S * C)
    (leaves, labels), antithetic = problem(dim, torch.float64), estimator == "antithetic"
    expected = plain(leaves, labels, *noise(dim), antithetic)
    got = softmax_bound(*leaves[:2], labels, leaves[2], S * (1 + antithetic), estimator=estimator)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(
        gradients(3 * got, leaves), gradients(3 * expected, leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 5, 20, 130])
def test_given_draws_equal_the_plain_formula_with_gradients(dim, monkeypatch):
    monkeypatch.setattr(partition, "CPU_BLOCK", 4 * C)
    monkeypatch.setattr(partition_tile, "CPU_TILE", 2 * C)
    leaves, labels = problem(dim, torch.float64)
    draws = torch.nn.functional.normalize(torch.randn(B, S, dim, dtype=torch.float64), dim=-1)
    z, w, beta = leaves
    leaves.append(draws.requires_grad_())
    expected = plain_of_draws(z, w, labels, beta, draws)
    got = softmax_bound_of_draws(z, w, labels, beta, draws)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(got, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


def test_gradients_equal_finite_differences():
    (z, w, beta), labels = problem(6, torch.float64)
    draws = torch.nn.functional.normalize(torch.randn(B, S, 6, dtype=torch.float64), dim=-1)
    inputs = (z, w, beta, draws.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda z, w, beta, x: softmax_bound_of_draws(z, w, labels, beta, x), inputs
    )


@pytest.mark.parametrize("estimator", (*ESTIMATORS, "given"))
@pytest.mark.parametrize("dim", [2, 3, 5, 16, 130, 512])
def test_float32_keeps_its_digits(dim, estimator, noise, code):
    noise(dim)
    narrow, labels = problem(dim, torch.float32)
    wide = [t.detach().double().requires_grad_() for t in narrow]
    directions = torch.randn(B, S, dim, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(directions, dim=-1)
    values = []
    for z, w, beta in (narrow, wide):
        if estimator == "given":
            values.append(softmax_bound_of_draws(z, w, labels, beta, directions.to(z.dtype)))
        else:
            n_samples = 2 * S if estimator == "antithetic" else S
            values.append(softmax_bound(z, w, labels, beta, n_samples, estimator=estimator))
    assert abs(values[0].item() / values[1].item() - 1) < 1e-6
    for mine, exact in zip(gradients(values[0], narrow), gradients(values[1], wide), strict=True):
        assert (mine - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("whole_classes", [True, False])
@pytest.mark.parametrize("n_classes", [1, 15, 16, 1023, 1024, 1039])
def test_any_number_of_classes(n_classes, whole_classes, noise, code, monkeypatch):
    if not whole_classes:
        monkeypatch.setattr(partition, "CPU_BLOCK", 7 * B * (S + 1))
    noise(20)
    rng = torch.Generator().manual_seed(0)
    (z, _, beta), labels = problem(20, torch.float32)
    w, labels = 9 * torch.randn(n_classes, 20, generator=rng), labels % n_classes
    narrow = [z, w.requires_grad_(), beta]
    wide = [t.detach().double().requires_grad_() for t in narrow]
    got, exact = (softmax_bound(a, b, labels, c, 2 * S) for a, b, c in (narrow, wide))
    assert got.item() == pytest.approx(exact.item(), rel=1e-6, abs=1e-6)
    for mine, theirs in zip(gradients(got, narrow), gradients(exact, wide), strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm() + 1e-6


@pytest.mark.parametrize("dim, kappa, beta", [(3, 5e3, 1e3), (128, 5e3, 134.0), (512, 1e-3, 16.0)])
def test_stays_finite_in_float32(dim, kappa, beta, code):
    mu = torch.nn.functional.normalize(torch.randn(12, dim), dim=-1)
    leaves = [kappa * mu[:5], kappa * mu[5:], torch.tensor(beta)]
    z, w, b = (t.requires_grad_() for t in leaves)
    value = softmax_bound(z, w, torch.arange(5), b, 4)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients(value, leaves))


def test_a_nan_in_the_class_weights_makes_the_loss_nan(code):
    z, w = torch.ones(2, 20), torch.ones(3, 20)
    w[1, 4] = torch.nan
    assert softmax_bound(z, w, torch.tensor([0, 2]), torch.tensor(1.0), 2).isnan()


def test_the_generator_determines_the_loss(code):
    (z, w, beta), labels = problem(20, torch.float32)
    first, again, other = (
        softmax_bound(z, w, labels, beta, 4, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert first == again != other


def weight_gradients(estimator, n_runs):
    rng = torch.Generator().manual_seed(1)
    dim = 64
    z = 30 * torch.nn.functional.normalize(torch.ones(2, dim), dim=-1)
    w, beta = (30 * torch.eye(dim)[:4]).requires_grad_(), torch.tensor(16.0)
    rows = []
    for _ in range(n_runs):
        arguments = (z, w, torch.tensor([0, 1]), beta, 4)
        value = softmax_bound(*arguments, estimator=estimator, generator=rng)
        rows.append(torch.cat([value.detach()[None], gradients(value, w)[0].flatten()]))
    return torch.stack(rows).double()


def test_antithetic_draws_have_the_same_mean_and_less_variance(code):
    pairs, alone = (weight_gradients(estimator, 800) for estimator in ("antithetic", "iid"))
    error = ((pairs.var(0) + alone.var(0)) / 800).sqrt()
    score = ((pairs.mean(0) - alone.mean(0)) / error).abs()
    assert score.max() < 5  # of 257 numbers
    assert score[0] < 4
    assert pairs[:, 0].var() < 0.7 * alone[:, 0].var()
    assert pairs[:, 1:].var(0).sum() < 0.7 * alone[:, 1:].var(0).sum()


def test_second_derivatives_are_refused():
    (z, w, beta), labels = problem(5, torch.float64)
    value = softmax_bound(z, w, labels, beta, 2)
    with pytest.raises(RuntimeError, match="first derivatives alone"):
        torch.autograd.grad(value.square(), z, create_graph=True)


def test_gradients_of_a_kept_graph_do_not_change():
    (z, w, beta), labels = problem(20, torch.float32)
    value = softmax_bound(z, w, labels, beta, 2)
    value.backward(retain_graph=True)
    first = w.grad.clone()
    w.grad.mul_(7)
    w.grad = None
    (value * 1).backward()
    assert torch.equal(w.grad, first)


def test_inputs_without_gradient_are_fine(code):
    (z, w, beta), labels = problem(20, torch.float32)
    with torch.no_grad():
        assert softmax_bound(z, w, labels, beta, 2).isfinite()
    value = softmax_bound(z.detach(), w, labels, beta.detach(), 2)
    value.backward()
    assert z.grad is None
    assert w.grad.norm() > 0


def test_threads_change_roundings_only(code, monkeypatch):
    (z, w, beta), labels = problem(20, torch.float32)
    seed = torch.Generator().manual_seed
    alone = softmax_bound(z, w, labels, beta, 4, generator=seed(1))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = softmax_bound(z, w, labels, beta, 4, generator=seed(1))
    torch.testing.assert_close(shared, alone, rtol=1e-6, atol=0)
    for mine, theirs in zip(gradients(shared, [z, w]), gradients(alone, [z, w]), strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


def test_odd_number_of_pairs_and_unknown_estimator_are_refused():
    (z, w, beta), labels = problem(5, torch.float64)
    with pytest.raises(ValueError, match="come in pairs"):
        softmax_bound(z, w, labels, beta, 3)
    with pytest.raises(ValueError, match="known: antithetic, iid"):
        softmax_bound(z, w, labels, beta, 2, estimator="mirror")
