"""The baselines compute what the project computes: otherwise a ratio of times means nothing."""

import numpy as np
import pytest
import torch

from benchmarks import ours, reference_2021
from benchmarks.workloads import Shape, retrieval_set, vmf_state

STATE = vmf_state(Shape(6, 5, 9, 16, 0.7, -1.0))
BETA = torch.tensor(2.7)


def given_draws(state, n_samples=5):
    kappa, mu = ours.split(state.z.detach())
    torch.manual_seed(0)
    return ours.sample(mu, kappa, n_samples).transpose(0, 1)


def same(first, second, tolerance):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def test_vmf_losses_agree_on_the_same_draws():
    state, draws = STATE, given_draws(STATE)
    arguments = (state.z, state.weights, state.labels, BETA, draws)
    same(reference_2021.vmf_loss(*arguments), ours.vmf_loss(*arguments, "approx"), 1e-5)


@pytest.mark.parametrize("name", ["normalized_loss", "arcface_loss"])
def test_softmax_losses_agree(name):
    arguments = (STATE.z, STATE.weights, STATE.labels, BETA)
    # 1e-5: ArcFace's angle goes through arccos in the baseline
    same(getattr(reference_2021, name)(*arguments), getattr(ours, name)(*arguments), 1e-5)


def test_hyperbolic_losses_and_distances_agree():
    z, a = STATE.z.detach().double() / 50, STATE.weights.detach().double() / 50
    arguments = (z, a, a.flip(0), STATE.labels, 0.1)
    # 1e-4: Mobius addition has 1e-5 in its denominator in 2021
    same(reference_2021.hyperbolic_loss(*arguments), ours.hyperbolic_loss(*arguments), 1e-4)
    x = ours.to_ball(z, 0.1)
    off = ~torch.eye(len(x), dtype=torch.bool)
    same(reference_2021.poincare_distances(x, 0.1)[off], ours.hyperbolic_distances(x, 0.1)[off],
         1e-4)  # fmt: skip


@pytest.mark.parametrize(("dim", "kappa"), [(3, 5.0), (16, 0.5), (16, 60.0), (128, 60.0)])
def test_repaired_sampler_has_the_mean_cosine_of_the_law(dim, kappa):
    torch.manual_seed(0)
    mu = torch.nn.functional.normalize(torch.randn(dim, dtype=torch.float64), dim=-1)
    draws = reference_2021.sample(mu, torch.tensor([kappa], dtype=torch.float64), 20_000)
    cosine = draws @ mu
    exact = ours.mean_cosine(torch.tensor(kappa, dtype=torch.float64), dim)
    assert abs(cosine.mean() - exact) < 4 * cosine.std() / len(cosine) ** 0.5
    same(draws.norm(dim=-1), torch.ones(len(draws), dtype=torch.float64), 1e-6)


def test_predictions_agree_in_the_mean():
    state = vmf_state(Shape(3, 4000, 5, 16, 0.7, -1.0))
    torch.manual_seed(0)
    z, weights = state.z.detach(), state.weights.detach()
    theirs = reference_2021.vmf_prediction(z, weights, (-state.tau).exp().detach(), 4000)
    mine = ours.vmf_method(weights, state.tau, 4000).logits(z)
    error = (theirs.var(1) + mine.var(1)).div(4000).sqrt()
    assert ((theirs.mean(1) - mine.mean(1)).abs() < 4.5 * error).all()


def test_retrieval_agrees():
    pytest.importorskip("faiss")
    z, labels = retrieval_set(400, 80, 16)
    x = torch.nn.functional.normalize(z, dim=-1)
    theirs = reference_2021.retrieval(x.numpy(), labels.numpy())
    assert theirs == pytest.approx(ours.retrieval(x, labels), abs=1e-12)
    assert reference_2021.retrieval(x.numpy(), labels.numpy(), 50)[0] <= 1


def test_episodes_hold_the_wanted_classes_and_images():
    labels = np.repeat(np.arange(12), 5)
    np.random.seed(0)
    for batch in reference_2021.episodes(labels, 3, 4, 2):
        assert len(set(batch)) == 8
        assert np.unique(labels[batch], return_counts=True)[1].tolist() == [2] * 4
