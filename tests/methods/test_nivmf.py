"""The softmax over non-isotropic classes: golden numbers, its isotropic case, its start."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tests.conftest import cases, load_golden
from tests.methods.laws import TinyArch, normal
from vmf_embeddings import directional
from vmf_embeddings.geometry import ExpectedLikelihood, VonMisesFisher
from vmf_embeddings.methods.nivmf import NivMF
from vmf_embeddings.methods.nivmf_cross_entropy import nivmf_cross_entropy

GOLDEN = load_golden("dm_elk")


def build(n_classes=5, dim=6, n_samples=16, scales_lr_factor=1.0, **head):
    torch.manual_seed(0)
    head = {"kappa_confidence": 0.7} | head
    arch = TinyArch(n_classes, dim, **head)
    return NivMF(arch, n_samples, scales_lr_factor, "exact", None).double()


@pytest.mark.parametrize("case", [c for c in cases(GOLDEN) if c.startswith("nivmf")])
def test_logits_of_given_draws_are_the_golden_ones(case, monkeypatch):
    draws, mu, scales = (
        torch.from_numpy(GOLDEN[f"{case}/{key}"].astype(float)) for key in ("samples", "mu", "K")
    )
    method = build(*mu.shape, n_samples=len(draws))
    with torch.no_grad():  # k = |w| exp(s - mean s)
        method.class_parameters.weight.copy_(scales.log().mean(-1, keepdim=True).exp() * mu)
        method.log_scales.copy_(scales.log())
    directions, found = method.class_distributions()
    torch.testing.assert_close(found * directions, scales * mu)  # mu has norm 1 in float32 alone
    monkeypatch.setattr(VonMisesFisher, "sample", lambda *_, **__: draws)
    wanted = GOLDEN[f"{case}/exact_log_el_over_samples"]
    np.testing.assert_allclose(method.logits(draws[0]), wanted, rtol=1e-9)


def test_the_loss_is_the_cross_entropy_of_the_logits_of_the_same_draws():
    method, z, labels = build(init_temp=-0.5), 20 * normal(15, 6), torch.arange(15) % 5
    torch.manual_seed(1)
    loss = method.loss(z, labels)
    torch.manual_seed(1)
    torch.testing.assert_close(loss, cross_entropy(method.logits(z), labels))
    assert method.geometry == ExpectedLikelihood()


@pytest.mark.parametrize("tile", (1, 10**6))
@pytest.mark.parametrize("dtype, rtol", ((torch.float64, 1e-10), (torch.float32, 1e-3)))
def test_the_loss_of_given_draws_is_the_cross_entropy_with_its_gradients(
    tile, dtype, rtol, monkeypatch
):
    monkeypatch.setattr("vmf_embeddings.methods.nivmf_cross_entropy.CPU_TILE", tile)
    draws, mu = normalize(normal(3, 7, 20), dim=-1), normalize(normal(5, 20, seed=1), dim=-1)
    scales, beta = (0.2 * normal(5, 20, seed=2)).exp() * 12, torch.tensor(0.3).double()
    labels = torch.arange(7) % 5

    def plain(x, mu, scales, beta):
        log_prob = directional.nivmf_log_prob(x.flatten(0, 1), mu, scales).view(3, 7, 5)
        return cross_entropy(beta * (log_prob.logsumexp(0) - math.log(3)), labels)

    def found(x, mu, scales, beta):
        return nivmf_cross_entropy(x, mu, scales, labels, beta)

    results = []
    for loss, kind in ((found, dtype), (plain, torch.float64)):
        leaves = [t.to(kind).requires_grad_() for t in (draws, mu, scales, beta)]
        value = loss(*leaves)
        results.append([value, *torch.autograd.grad(2 * value, leaves)])
    for one, other in zip(*results, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=rtol * scale)


def test_equal_scales_give_the_expected_likelihood_of_von_mises_fisher_classes():
    method, z = build(n_samples=20_000), 12 * normal(4, 6) / 6**0.5
    exact = directional.log_elk(z, method.class_weights.detach())
    torch.testing.assert_close(method.logits(z), exact, rtol=0, atol=0.12)
    mu = z / z.norm(dim=-1, keepdim=True)
    weights = method.class_weights.detach()
    log_prob = directional.log_normalizer(weights.norm(dim=-1), 6) + mu @ weights.T
    torch.testing.assert_close(method.predict_without_draws(z), log_prob.softmax(-1))


def test_a_common_factor_of_scales_is_the_norm_of_the_class_alone():
    method = build()
    before = method.class_distributions()
    with torch.no_grad():
        method.log_scales += normal(5, 1)
    for one, other in zip(before, method.class_distributions(), strict=True):
        torch.testing.assert_close(one, other)
    kappas = before[1].log().mean(-1).exp()
    torch.testing.assert_close(kappas, method.class_weights.norm(dim=-1))


def test_scales_learn_in_which_coordinates_a_class_is_wide():
    """Images of class 0 spread along the second coordinate, those of class 1 along the third."""
    torch.manual_seed(0)
    method = build(2, 4, n_samples=4)
    with torch.no_grad():
        method.class_parameters.weight.copy_(torch.tensor([[9.0, 0, 0, 2], [9.0, 0, 0, -2]]))
    optimizer = torch.optim.Adam([method.log_scales], lr=0.05)
    labels = torch.arange(40) % 2
    for step in range(60):
        rows = 0.1 * normal(40, 4, seed=step)
        rows[:, 0] += 1
        rows[range(40), 1 + labels] += normal(40, seed=1000 + step)
        optimizer.zero_grad()
        method.loss(100 * rows, labels).backward()
        optimizer.step()
    _, scales = method.class_distributions()
    assert scales[0, 1] < 0.7 * scales[0, 2] and scales[1, 2] < 0.7 * scales[1, 1]


def test_scales_have_their_own_rate_and_no_decay():
    method = build(scales_lr_factor=3.0)
    (group,) = method.extra_param_groups()
    assert group["lr_factor"] == 3 and group["weight_decay"] == 0
    assert group["params"][0] is method.log_scales and not method.log_scales.any()


@pytest.mark.parametrize("options", ({"n_samples": 0}, {"scales_lr_factor": -1}))
def test_unusable_values_are_refused_by_their_name(options):
    with pytest.raises(ValueError, match=f"method.params.{next(iter(options))}"):
        build(**options)
