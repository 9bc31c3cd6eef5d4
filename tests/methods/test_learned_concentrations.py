"""Concentrations that learn apart from directions, `method.params.kappa_learning_rate`."""

import pytest
import torch
from torch import nn

import vmf_embeddings as vmf
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.elk import ELK
from vmf_embeddings.methods.nivmf import NivMF
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax

BUILD = {
    "vmf_softmax": lambda arch, rate: VMFSoftmax(
        arch, 4, "exact", "exact", "exact", kappa_learning_rate=rate
    ),
    "elk": lambda arch, rate: ELK(arch, "elk", "exact", None, rate),
    "nivmf": lambda arch, rate: NivMF(arch, 4, 1.0, "exact", None, rate),
}
LOGS = ("class_parameters.log_length", "log_scale_change")


def build(name, rate=None, *, dim=8):
    torch.manual_seed(0)
    return BUILD[name](TinyArch(5, dim, learn_temp=True, kappa_confidence="auto"), rate).double()


def separate(vectors):
    """Class parameters with the same weight vectors, of which lengths are apart."""
    spec = TinyArch(*vectors.shape).class_spec
    found = ClassParameters(spec, nn.init.ones_, has_temperature=False, separate_lengths=True)
    found.double()
    found.set_vectors(vectors)
    return found


@pytest.mark.parametrize("name", BUILD)
def test_training_starts_from_the_same_distributions_and_loss(name):
    joint, apart = build(name), build(name, 0.01)
    torch.testing.assert_close(apart.class_weights, joint.class_weights, rtol=1e-6, atol=0)
    x, labels = 30 * normal(6, 8), torch.arange(6) % 5
    losses = []
    for method in (joint, apart):
        torch.manual_seed(3)
        losses.append(method.loss(x, labels))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_along_and_across_the_vectors():
    vectors = 20 * normal(5, 8)
    apart, slope = separate(vectors), normal(5, 8, seed=1)
    (apart.vectors * slope).sum().backward()
    along = (slope * vectors).sum(-1)  # d/d log |w| of w.slope
    torch.testing.assert_close(apart.log_length.grad, along)
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    unit = vectors / lengths
    across = lengths * (slope - unit * (unit * slope).sum(-1, keepdim=True))
    torch.testing.assert_close(apart.weight.grad, across)


def test_vectors_that_are_set_come_back_and_zero_stays_finite():
    vectors = normal(5, 8)
    torch.testing.assert_close(separate(vectors).vectors, vectors)
    vectors[2] = 0
    found = separate(vectors).vectors
    assert found.isfinite().all()
    assert found[2].abs().max() < 1e-20


def test_lengths_end_at_a_million_however_long_an_optimizer_pushes():
    found = separate(normal(5, 8)).float()
    with torch.no_grad():
        found.log_length.add_(500)
    torch.testing.assert_close(found.vectors.norm(dim=-1), torch.full((5,), 1e6))
    found.vectors.sum().backward()
    assert found.weight.grad.isfinite().all() and not found.log_length.grad.isnan().any()


@pytest.mark.parametrize("name", BUILD)
def test_the_logs_alone_learn_at_their_rate(name):
    method = build(name, 0.25)
    groups = method.param_groups(0.5)
    (own,) = [g for g in groups if g.get("lr") == 0.25]
    names = {id(p): n for n, p in method.named_parameters()}
    assert tuple(names[id(p)] for p in own["params"]) == LOGS
    assert own["weight_decay"] == 0
    decayed = [names[id(p)] for g in groups if g.get("weight_decay") != 0 for p in g["params"]]
    assert "class_parameters.weight" not in decayed
    assert not set(LOGS) & {n for n, _ in build(name).named_parameters()}


def test_the_factor_of_images_is_learned_too():
    method = build("vmf_softmax", 0.01).eval()
    images = normal(3, 1, 4, 4)
    before = method.embed(images)
    with torch.no_grad():
        method.log_scale_change.fill_(1.0)
    torch.testing.assert_close(method.embed(images), before * torch.e)
    assert method.status()["kappa_scale"] == pytest.approx(float(torch.e))


def test_status_and_stored_weights_have_the_concentrations():
    method = build("vmf_softmax", 0.01)
    with torch.no_grad():
        method.class_parameters.log_length.copy_(torch.arange(5.0))
    torch.testing.assert_close(method.class_kappas(), torch.arange(5.0).double().exp())
    assert method.status()["kappa_max"] == pytest.approx(torch.e**4)
    torch.testing.assert_close(method.class_weights.norm(dim=-1), method.class_kappas())


def test_adam_moves_the_concentration_of_sure_classes_if_it_is_apart():
    """Of classes that start at 1000, 20 steps of 0.01 change log kappa by 0.2 at most."""
    found = {}
    for rate in (None, 0.01):
        loss_fn = vmf.objective(
            "vmf_softmax", embedding_dim=3, n_classes=5, kappa_confidence=0.999,
            kappa_learning_rate=rate,
        )  # fmt: skip
        start, labels = loss_fn.method.class_kappas().mean(), torch.arange(5)
        optimizer = torch.optim.Adam(loss_fn.param_groups(0.01), lr=0.001)
        torch.manual_seed(0)
        for _ in range(20):
            optimizer.zero_grad()
            loss_fn(loss_fn.class_weights[labels].detach(), labels).backward()
            optimizer.step()
        found[rate] = (loss_fn.method.class_kappas().mean() / start).log().abs()
    assert found[None] < 1e-3
    assert 0.1 < found[0.01] < 0.21


@pytest.mark.parametrize("rate", (0.0, -1.0, float("nan")))
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match=r"kappa_learning_rate must be > 0, or null"):
        build("elk", rate)


def test_class_weights_can_be_set_in_a_loop_of_ones_own():
    loss_fn = vmf.objective("elk", embedding_dim=4, n_classes=3, kappa_learning_rate=0.01)
    weights = 7 * normal(3, 4).float()
    loss_fn.set_class_weights(weights)
    torch.testing.assert_close(loss_fn.class_weights.detach(), weights)


def test_vectors_that_float32_cannot_square_have_their_directions_and_can_shorten():
    rows = normal(5, 8).float()
    found = separate(rows).float()
    found.set_vectors(1e30 * rows)
    vectors = found.vectors
    torch.testing.assert_close(vectors, 1e6 * torch.nn.functional.normalize(rows, dim=1))
    vectors.sum().backward()
    assert (found.log_length.grad != 0).all()
