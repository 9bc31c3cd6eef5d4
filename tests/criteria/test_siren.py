"""SIREN: log densities with learned concentrations, and prototypes as state."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.criteria import fixture
from tests.criteria.fixture import LABELS
from tests.criteria.made import made
from tests.methods.laws import normal
from vmf_embeddings.criteria.affine_cross_entropy import affine_cross_entropy
from vmf_embeddings.criteria.cider import moved_prototypes
from vmf_embeddings.criteria.siren import class_log_densities
from vmf_embeddings.directional import HypersphericalUniform, VonMisesFisher, mean_cosine

X = fixture.embeddings()
KAPPA = torch.tensor([1e-3, 1.0, 5.0, 20.0, 100.0, 3000.0]).double()


def directions(n=6, seed=0):
    return normalize(normal(n, 8, seed=seed), dim=1)


def test_logits_are_log_densities_over_the_uniform_one():
    x, p = directions(9, seed=1), directions()
    found = class_log_densities(x, p, KAPPA)
    wanted = VonMisesFisher(p, KAPPA).log_prob(x[:, None])
    wanted = wanted - HypersphericalUniform(8, like=x).log_prob(x[:1])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_float32_has_them_to_rounding():
    x, p = directions(9, seed=1), directions()
    found = class_log_densities(x.float(), p.float(), KAPPA.float())
    wanted = class_log_densities(x, p, KAPPA)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=3000 * 3e-7)


@pytest.mark.parametrize("tile", (13, 10**6))
def test_the_loss_is_the_cross_entropy_of_the_log_densities_with_its_gradients(tile, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.criteria.affine_cross_entropy.CPU_TILE", tile)
    labels, offsets = torch.arange(9) % 6, normal(6, seed=3)
    leaves = [t.requires_grad_() for t in (directions(9, seed=1), KAPPA / 100, offsets)]
    found = affine_cross_entropy(leaves[0], directions(), *leaves[1:], labels)
    logits = leaves[1] * (leaves[0] @ directions().T) + leaves[2]
    wanted = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(3 * value, leaves) for value in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_equal_concentrations_give_a_softmax_of_cosines():
    criterion = made("siren", kappa=10.0)
    loss = criterion(X, LABELS)
    compact = torch.nn.functional.cross_entropy(10 * X @ criterion.prototypes.T, LABELS)
    torch.testing.assert_close(loss, compact)


def test_a_concentration_grows_while_cosines_are_above_its_mean_one():
    """d loss / d log kappa_c = kappa_c mean over rows of (p_c - [c = y]) (cos - A(kappa_c))."""
    criterion = made("siren")
    criterion.log_kappa.data = torch.linspace(0, 3, 6).double()
    criterion(X, LABELS).backward()
    kappa = criterion.log_kappa.detach().exp()
    p = criterion.logits(X).softmax(1) - torch.eye(6).double()[LABELS]
    excess = X @ criterion.prototypes.T - mean_cosine(kappa, 8)
    torch.testing.assert_close(criterion.log_kappa.grad, kappa * (p * excess).mean(0))


def test_prototypes_move_as_those_of_cider_without_gradient():
    criterion, x = made("siren", momentum=0.5), X.clone().requires_grad_()
    criterion(x, LABELS)
    none = torch.zeros(6, 8).double()
    torch.testing.assert_close(criterion.prototypes, moved_prototypes(none, X, LABELS, 0.5, "mean"))
    second = criterion(x, LABELS)
    (slope,) = torch.autograd.grad(second, x)
    p = criterion.logits(X).softmax(1) - torch.eye(6).double()[LABELS]
    wanted = p @ (criterion.log_kappa.detach().exp()[:, None] * criterion.prototypes) / len(X)
    torch.testing.assert_close(slope, wanted)


def test_prototypes_are_in_the_state_and_stay_in_evaluation_mode():
    one, other = made("siren"), made("siren")
    one(X, LABELS)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(X.flip(0), LABELS.flip(0)), other(X.flip(0), LABELS.flip(0)))
    before = one.prototypes.clone()
    one.eval()(X, LABELS)
    assert torch.equal(one.prototypes, before)


@pytest.mark.parametrize("options", [{"momentum": 1.5}, {"kappa": 0.0}, {"update": "ema"}])
def test_unusable_values_are_refused_by_their_name(options):
    with pytest.raises(ValueError, match=f"criterion.params.{next(iter(options))}"):
        made("siren", **options)
