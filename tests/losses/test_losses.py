"""Losses: goldens, the laws between them, slow equations, and what all of conf/loss promise."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy, one_hot

import vmf_embeddings
from tests.conftest import cases, load_golden, variants
from tests.methods.laws import normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.losses.balanced_softmax import balanced_softmax_loss
from vmf_embeddings.losses.class_balanced import ClassBalanced, class_balanced_loss
from vmf_embeddings.losses.focal import focal_loss, focal_of, sigmoid_focal_loss
from vmf_embeddings.losses.ib import influence_balanced_loss
from vmf_embeddings.losses.ldam import LDAM, ldam_loss, ldam_margins
from vmf_embeddings.losses.logit_adjustment import logit_adjustment_loss
from vmf_embeddings.losses.seql import SoftmaxEqualization, softmax_equalization_loss
from vmf_embeddings.losses.vs import vector_scaling_loss
from vmf_embeddings.losses.weights import (
    effective_number_weights,
    power_weights,
    weighted_cross_entropy,
)

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "loss"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
C, B, D = 5, 12, 3
COUNTS = torch.tensor([900, 300, 70, 9, 2])
Z, Y, F = normal(B, C), torch.arange(B) % C, normal(B, D, seed=1)
SOFT = normal(B, C, seed=2).softmax(-1)


def profile(n_classes: int, n_max: int, imbalance: int) -> torch.Tensor:
    """The exponential profile's counts."""
    powers = torch.arange(n_classes, dtype=torch.float64) / (n_classes - 1)
    return (n_max * (1 / imbalance) ** powers + 1e-9).long()


CIFAR10, CIFAR100 = profile(10, 5000, 100), profile(100, 500, 100)


def made(name: str, counts: torch.Tensor | None = COUNTS, **options):
    loss = assembly.instantiate("loss", OmegaConf.load(CONF / f"{name}.yaml"), **options)
    if counts is not None:
        loss.prepare(counts)
    loss.begin_epoch(10**6)  # everything that begins late has begun
    return loss


def value(loss, z=Z, y=Y, features=F):
    torch.manual_seed(0)
    return loss(z, y, features=features)


def close(ours, expected) -> None:
    """Equal to 1e-9 of the largest entry."""
    expected = np.asarray(expected)
    atol = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=atol)


# goldens


def inputs(data, case: str, name: str = "logits"):
    z = torch.tensor(data[f"{case}/{name}"]).double().requires_grad_()
    return z, torch.tensor(data[f"{case}/targets"]), torch.tensor(data[f"{case}/class_counts"])


def test_balanced_softmax_equals_the_golden(golden):
    data = golden("longtail_losses")
    for case in cases(data):
        z, y, counts = inputs(data, case)
        loss = balanced_softmax_loss(z, y, counts)
        loss.backward()
        close(loss, data[f"{case}/balanced_softmax/loss"])
        close(z.grad, data[f"{case}/balanced_softmax/grad_logits"])


@pytest.mark.parametrize("variant", variants(load_golden("longtail_losses"), "margins"))
def test_ldam_equals_the_golden(golden, variant):
    data = golden("longtail_losses")
    for case in cases(data):
        z, y, counts = inputs(data, case, "cosine_logits")
        scale = float(data[f"{case}/{variant}/s"])
        options = {"max_margin": float(data[f"{case}/{variant}/max_m"]), "scale": scale}
        loss = LDAM(drw_epoch=1, beta=0.9999, **options)
        loss.prepare(counts)
        loss.begin_epoch(int(variant == "ldam_drw"))
        close(ldam_margins(counts, options["max_margin"]), data[f"{case}/{variant}/margins"])
        result = loss(scale * z, y)
        result.backward()
        close(result, data[f"{case}/{variant}/loss"])
        close(z.grad, data[f"{case}/{variant}/grad_cosine_logits"])


FOCAL = [v for v in variants(load_golden("longtail_losses"), "gamma") if not v.endswith("_drw")]


@pytest.mark.parametrize("variant", FOCAL)
def test_focal_loss_equals_the_golden(golden, variant):
    data = golden("longtail_losses")
    for case in cases(data):
        z, y, _ = inputs(data, case)
        loss = focal_loss(z, y, float(data[f"{case}/{variant}/gamma"]))
        loss.backward()
        close(loss, data[f"{case}/{variant}/loss"])
        close(z.grad, data[f"{case}/{variant}/grad_logits"])


def test_weights_equal_the_golden_and_the_weighted_focal_differs_from_it_on_purpose(golden):
    """The published code takes p from the weighted cross-entropy, where it is no probability."""
    data = golden("longtail_losses")
    for case in cases(data):
        z, y, counts = inputs(data, case)
        weights = effective_number_weights(counts, 0.9999)
        close(weights, data[f"{case}/drw_weights_beta0p9999"])
        close(effective_number_weights(counts, 0.0), data[f"{case}/drw_weights_beta0"])
        gamma = float(data[f"{case}/focal_g1_drw/gamma"])
        published = focal_of(weights[y] * cross_entropy(z, y, reduction="none"), gamma).mean()
        close(published, data[f"{case}/focal_g1_drw/loss"])
        ours = class_balanced_loss(z, y, counts, 0.9999, 1.0)
        p = z.softmax(-1).gather(1, y[:, None])[:, 0]
        close(ours, ((weights[y] * (1 - p) * -p.log()).sum() / weights[y].sum()).detach())


# known values


def test_margins_and_weights_of_cifar_lt_have_their_known_ends():
    for counts in (CIFAR10, CIFAR100):
        margins = ldam_margins(counts, 0.5)
        assert round(margins[0].item(), 4) == 0.1581
        assert margins[-1].item() == 0.5
    ends = {10: (0.0506, 3.9927), 100: (0.0449, 4.3783)}
    for counts in (CIFAR10, CIFAR100):
        weights = effective_number_weights(counts, 0.9999)
        found = (round(weights[0].item(), 4), round(weights[-1].item(), 4))
        assert found == ends[len(counts)]
        assert weights.sum().item() == pytest.approx(len(counts))


def test_effective_numbers_of_single_images_have_all_their_digits():
    """In float32, 1 - 0.9999^1 keeps three digits of its six."""
    weights = effective_number_weights(torch.tensor([1, 2]), 0.9999)
    assert (weights[0] / weights[1]).item() == pytest.approx(1.9999, rel=1e-12)


def test_power_weights_span_equal_weights_and_inverse_counts():
    assert power_weights(COUNTS, 0.0).tolist() == [1.0] * C
    torch.testing.assert_close(power_weights(COUNTS, 1.0), 2 / COUNTS.double())


# laws between them


def test_balanced_softmax_is_logit_adjustment_and_vector_scaling_at_their_limits():
    balanced = balanced_softmax_loss(Z, Y, COUNTS)
    torch.testing.assert_close(logit_adjustment_loss(Z, Y, COUNTS, 1.0), balanced)
    torch.testing.assert_close(vector_scaling_loss(Z, Y, COUNTS, 0.0, 1.0), balanced)
    torch.testing.assert_close(logit_adjustment_loss(Z, Y, COUNTS, 0.0), cross_entropy(Z, Y))


BALANCED = {  # losses that are cross-entropy where all classes have the same size
    "ce": {},
    "balanced_softmax": {},
    "logit_adjustment": {},
    "class_balanced": {},
    "cost_sensitive": {},
    "seql": {"gamma": 0.9},
    "cdt": {},
    "vs": {},
    "ldam": {"max_margin": 0.0},
    "focal": {"gamma": 0.0},
    "ib": {"start_epoch": 10**7},
}


@pytest.mark.parametrize("name", BALANCED)
@pytest.mark.parametrize("labels", (Y, SOFT), ids=("hard", "mixed"))
def test_loss_is_cross_entropy_on_balanced_classes(name, labels):
    loss = made(name, torch.full((C,), 40), **BALANCED[name])
    torch.testing.assert_close(value(loss, y=labels), cross_entropy(Z, labels))


def test_balanced_softmax_fits_a_balanced_test_set():
    """Where logits are the log likelihoods, adding log n gives the posterior of the training."""
    likelihood = normal(B, C).log_softmax(-1)
    posterior = (likelihood.exp() * COUNTS) / (likelihood.exp() * COUNTS).sum(-1, keepdim=True)
    expected = -posterior.gather(1, Y[:, None]).log().mean()
    torch.testing.assert_close(balanced_softmax_loss(likelihood, Y, COUNTS), expected)


def test_losses_begin_late_when_they_are_told_to():
    for name, option in (("class_balanced", "start_epoch"), ("ib", "start_epoch")):
        loss = made(name, **{option: 7})
        values = []
        for epoch in (0, 6, 7):
            loss.begin_epoch(epoch)
            values.append(value(loss).item())
        assert values[0] == values[1] == pytest.approx(cross_entropy(Z, Y).item())
        assert values[2] != pytest.approx(values[1], rel=1e-3)


def test_ldam_weights_are_deferred():
    loss = made("ldam", drw_epoch=160)
    for epoch, expected in ((159, torch.ones(C)), (160, effective_number_weights(COUNTS, 0.9999))):
        loss.begin_epoch(epoch)
        torch.testing.assert_close(loss.class_weights, expected.double())
    never = made("ldam", drw_epoch=None)
    assert (never.class_weights == 1).all()


def test_rare_classes_cost_more_under_every_loss_that_knows_them():
    """At equal logits, the loss of a rare label is above that of a frequent one, or as large."""
    z = torch.zeros(1, C, dtype=torch.float64)
    for name in ("balanced_softmax", "logit_adjustment", "vs", "ldam"):
        loss = made(name)
        costs = [value(loss, z, torch.tensor([c])).item() for c in range(C)]
        assert costs == sorted(costs) and costs[0] < costs[-1], name


# slow equations


def slow(name: str, z: torch.Tensor, y: int, n: torch.Tensor, f: torch.Tensor) -> float:
    """One image's loss, written as in the papers, for classes of counts n."""
    e, pi = [math.exp(v) for v in z.tolist()], (n.double() / n.sum()).tolist()
    p = e[y] / sum(e)
    n = n.tolist()
    if name == "focal":
        return (1 - p) ** 2 * -math.log(p)
    if name == "logit_adjustment":
        return -math.log(pi[y] * e[y] / sum(a * b for a, b in zip(pi, e, strict=True)))
    if name == "cdt":
        e = [math.exp(v / (max(n) / k) ** 0.2) for v, k in zip(z.tolist(), n, strict=True)]
        return -math.log(e[y] / sum(e))
    if name == "vs":
        shrunk = [v / (max(n) / k) ** 0.3 for v, k in zip(z.tolist(), n, strict=True)]
        e = [math.exp(v) * q for v, q in zip(shrunk, pi, strict=True)]
        return -math.log(e[y] / sum(e))
    if name == "ib":
        error = sum(abs(v / sum(e) - (k == y)) for k, v in enumerate(e))
        class_weight = len(n) / n[y] / sum(1 / k for k in n)
        return class_weight * 1000.0 / (error * f.abs().sum().item() + 0.001) * -math.log(p)
    assert name == "seql_always"
    kept = sum(v for k, v in enumerate(e) if k == y or pi[k] >= 0.01)
    return -math.log(e[y] / kept)


@pytest.mark.parametrize("name", ("focal", "logit_adjustment", "cdt", "vs", "ib"))
def test_loss_equals_the_slow_equation(name):
    expected = sum(slow(name, Z[i], int(Y[i]), COUNTS, F[i]) for i in range(B)) / B
    assert value(made(name)).item() == pytest.approx(expected, rel=1e-12)


def test_weighted_losses_equal_the_slow_equation():
    for name, weights in (
        ("class_balanced", [(1 - 0.9999) / (1 - 0.9999**n) for n in COUNTS.tolist()]),
        ("cost_sensitive", [2 / n for n in COUNTS.tolist()]),
    ):
        w = torch.tensor(weights, dtype=torch.float64)[Y]
        costs = torch.tensor([-Z[i].log_softmax(-1)[Y[i]].item() for i in range(B)])
        expected = (w * costs).sum() / w.sum()
        torch.testing.assert_close(value(made(name)), expected, msg=name)


def test_equalization_spares_rare_classes_with_its_probability():
    always = made("seql", gamma=1.0, threshold=0.01)  # classes 3 and 4 are rare
    expected = sum(slow("seql_always", Z[i], int(Y[i]), COUNTS, F[i]) for i in range(B)) / B
    assert value(always).item() == pytest.approx(expected, rel=1e-12)
    never = made("seql", gamma=0.0, threshold=0.01)
    torch.testing.assert_close(value(never), cross_entropy(Z, Y))
    loss, z = SoftmaxEqualization(gamma=0.3, threshold=0.01), torch.zeros(20000, C).double()
    loss.prepare(COUNTS)
    torch.manual_seed(0)
    labels = torch.zeros(20000, dtype=torch.long)
    # 5, 4 or 3 classes in the sum, by two draws; the standard error is 0.0012
    expected = 0.49 * math.log(5) + 0.42 * math.log(4) + 0.09 * math.log(3)
    assert loss(z, labels).item() == pytest.approx(expected, abs=0.005)


def test_equalization_does_not_overflow():
    z = (1e4 * Z.float()).requires_grad_()
    loss = softmax_equalization_loss(z, Y, torch.ones(B, C))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(z.grad).all()


def test_sigmoid_focal_loss_equals_the_slow_equation_and_predicts_by_sigmoids():
    expected = 0.0
    for i in range(B):
        for k in range(C):
            s, target = torch.sigmoid(Z[i, k]).item(), int(Y[i]) == k
            expected += (1 - s) ** 2 * -math.log(s) if target else s**2 * -math.log(1 - s)
    assert sigmoid_focal_loss(Z, Y, 2.0).item() == pytest.approx(expected / B, rel=1e-12)
    loss = made("focal", form="sigmoid")
    assert value(loss).item() == pytest.approx(expected / B, rel=1e-12)
    sigmoids = torch.sigmoid(Z)
    shared = sigmoids / sigmoids.sum(-1, keepdim=True)
    torch.testing.assert_close(loss.for_prediction(Z).softmax(-1), shared)


def test_focal_gradient_is_finite_where_the_prediction_is_perfect():
    for gamma in (0.5, 1.0, 2.0):
        z = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
        focal_loss(z, torch.tensor([0, 0]), gamma).backward()
        assert torch.isfinite(z.grad).all()


INFLUENCE = {"ib": "inverse", "ib_cb": "effective", "ib_without_class_weights": "none"}


@pytest.mark.parametrize("variant", INFLUENCE)
def test_influence_balanced_loss_equals_the_golden(variant, golden):
    data = golden("influence_balanced")
    for case in cases(data):
        z, y, counts = inputs(data, case)
        f = torch.tensor(data[f"{case}/features"]).double().requires_grad_()
        loss = made("ib", counts, class_weights=INFLUENCE[variant])
        if loss.class_weights is not None:
            close(loss.class_weights, data[f"{case}/{variant}/class_weights"])
        cost = loss(z, y, features=f)
        cost.backward()
        close(cost, data[f"{case}/{variant}/loss"])
        close(z.grad, data[f"{case}/{variant}/grad_logits"])
        close(f.grad, data[f"{case}/{variant}/grad_features"])


def test_influence_balanced_class_weights_have_mean_one_and_fall_with_the_class_size():
    for weighting in ("inverse", "effective"):
        weights = made("ib", class_weights=weighting).class_weights
        assert weights.mean().item() == pytest.approx(1)
        assert weights.tolist() == sorted(weights.tolist())  # COUNTS decrease
    torch.testing.assert_close(
        made("ib").class_weights * COUNTS, torch.full((C,), C / (1 / COUNTS).sum()).double()
    )


def test_influence_shrinks_with_the_features():
    weak = influence_balanced_loss(Z, Y, F, 1.0, 1e-9)
    torch.testing.assert_close(influence_balanced_loss(Z, Y, 4 * F, 1.0, 1e-9), weak / 4)


# every loss


@pytest.mark.parametrize("name", NAMES)
def test_one_hot_soft_labels_are_labels(name):
    loss = made(name)
    torch.testing.assert_close(value(loss, y=one_hot(Y, C).double()), value(loss))


WEIGHTED = {"class_balanced", "cost_sensitive"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - WEIGHTED - {"ldam", "ib", "seql"}))
def test_loss_is_linear_in_the_soft_labels(name):
    """LDAM's margin, influence and draws are not."""
    loss = made(name)
    expected = sum(
        SOFT[i, c] * value(loss, Z[i : i + 1], torch.tensor([c]), F[i : i + 1])
        for i in range(B)
        for c in range(C)
    )
    torch.testing.assert_close(value(loss, y=SOFT), expected / B)


def test_weighted_cross_entropy_of_soft_labels_is_the_mean_over_weighted_labels():
    weights = power_weights(COUNTS, 0.5)
    pairs = [(i, c) for i in range(B) for c in range(C)]
    above = sum(SOFT[i, c] * weights[c] * -Z[i].log_softmax(-1)[c] for i, c in pairs)
    below = sum(SOFT[i, c] * weights[c] for i, c in pairs)
    torch.testing.assert_close(weighted_cross_entropy(Z, SOFT, weights), above / below)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_finite_and_stays_float32_at_extreme_logits(name):
    loss, z = made(name), (100 * Z).float().requires_grad_()
    result = value(loss, z, Y, F.float())
    result.backward()
    assert result.dtype == torch.float32
    assert torch.isfinite(result) and torch.isfinite(z.grad).all()


COUNTED = [name for name in NAMES if made(name, None).needs_class_counts]


def test_which_losses_need_counts_and_which_use_a_prior():
    assert set(NAMES) - set(COUNTED) == {"ce", "focal"}
    assert not made("ib", None, class_weights="none").needs_class_counts
    priors = {name for name in NAMES if made(name).uses_prior}
    assert priors == {"balanced_softmax", "logit_adjustment", "vs"}


@pytest.mark.parametrize("name", COUNTED)
def test_loss_without_its_counts_says_so(name):
    with pytest.raises(ValueError, match=f"loss={name} needs the class counts"):
        value(made(name, None))
    with pytest.raises(ValueError, match=rf"loss={name} needs at least one .* classes \[1\]"):
        made(name, torch.tensor([3, 0, 2]))


@pytest.mark.parametrize("name", COUNTED)
def test_counts_come_back_from_a_checkpoint(name):
    loss, other = made(name), made(name, None)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.class_counts, COUNTS)
    assert torch.equal(value(other), value(loss))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"focal"}))
def test_predictions_are_the_logits_themselves(name):
    assert made(name).for_prediction(Z) is Z


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("logit_adjustment", {"tau": -1.0}, "tau must be >= 0"),
        ("focal", {"gamma": -1.0}, "gamma must be >= 0"),
        ("focal", {"form": "tanh"}, "one of softmax, sigmoid, got 'tanh'"),
        ("class_balanced", {"beta": 1.0}, r"beta must be in \[0, 1\)"),
        ("class_balanced", {"start_epoch": -1}, "start_epoch counts epochs from 0"),
        ("cost_sensitive", {"gamma": -1.0}, "gamma must be >= 0"),
        ("ldam", {"max_margin": 2.0}, "max_margin is a difference of cosines"),
        ("ldam", {"scale": 0.0}, "scale must be > 0"),
        ("ldam", {"drw_epoch": -1}, "drw_epoch counts epochs from 0"),
        ("seql", {"gamma": 1.5}, r"gamma must be in \[0, 1\]"),
        ("cdt", {"gamma": -1.0}, "gamma must be >= 0"),
        ("vs", {"tau": -1.0}, "tau must be >= 0"),
        ("ib", {"alpha": 0.0}, "alpha must be > 0"),
        ("ib", {"class_weights": "sqrt"}, "one of inverse, effective, none, got 'sqrt'"),
        ("ib", {"beta": 1.0}, r"beta must be in \[0, 1\)"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name(name, options, words):
    with pytest.raises(assembly.Refused, match=words), assembly.refusals():
        made(name, None, **options)


def test_ldam_subtracts_the_margin_of_the_label_alone():
    margins, scale = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).double(), 3.0
    lowered = Z.clone()
    for i in range(B):
        lowered[i, Y[i]] -= scale * margins[Y[i]]
    ours = ldam_loss(Z, Y, margins, scale, torch.ones(C))
    torch.testing.assert_close(ours, cross_entropy(lowered, Y))


def test_class_balanced_focal_keeps_p_a_probability():
    """Weights of a single class cancel: only the focal factor is left."""
    loss, same = ClassBalanced(0.999, 1.5, 0), torch.zeros(B, dtype=torch.long)
    loss.prepare(COUNTS)
    torch.testing.assert_close(loss(Z, same), focal_loss(Z, same, 1.5))
