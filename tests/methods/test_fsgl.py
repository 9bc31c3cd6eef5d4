"""FSGL: a slow loop of its equations, its schedule, its scaling, what it refuses."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.methods.feature_scaling import FeatureScaling
from vmf_embeddings.methods.fsgl import FSGL, consistency_loss, cumulative_alpha, label_weights
from vmf_embeddings.methods.mixing import mix_views

C, D, E = 5, 3, 8
COUNTS = torch.tensor([40, 20, 10, 5, 2])
OPTIONS = {
    "beta": 1.0,
    "adjust_lambda": False,
    "label_weighting": 1.2,
    "contrast_weight": 4.0,
    "rebalance": "label_weights",
    "init": "torch",
    "projection_dim": 6,
    "apply_to": ["ce", "ce_cb", "proj"],
    "sam_perturb_loss": "ce",
}
BATCH = {
    "examples": normal(12, 2, 1, 4, 4),
    "ids": torch.tensor([0, 1, 2, 0, 4, 1, 3, 3, 0, 2, 4, 1]),
}


def built(strength=0.5, mode="rank", epoch=3, **options):
    torch.manual_seed(0)
    method = FSGL(TinyArch(C, D), **OPTIONS | options).double()
    method.configure(margin_warmup_epochs=0, n_epochs=E)
    method.prepare(lambda: [], COUNTS)
    method.feature_scaling = FeatureScaling(mode, strength, round_decimals=None).double()
    method.feature_scaling.prepare(COUNTS)
    method.begin_epoch(epoch)
    return method.train()


def seeded(step, batch=BATCH):
    torch.manual_seed(5)
    return step(batch)


def slow_loss(method, alpha, eta, u=1.2, gamma=0.5):
    """The equations, row by row and class by class."""
    torch.manual_seed(5)
    mixtures = mix_views(**{"examples": BATCH["examples"], "labels": BATCH["ids"]}, n_classes=C,
                         beta=1.0, adjust_lambda=False)  # fmt: skip
    counts = COUNTS.tolist()
    omega = [C * n**-u / sum(m**-u for m in counts) for n in counts]
    factor = [1 + gamma * (1 - rank / C) for rank in range(C)]  # COUNTS fall already
    total, h, p = 0.0, [], []
    for mixture in mixtures:
        features = method.arch(mixture.images)
        rows = []
        for f, y in zip(features, mixture.labels.double(), strict=True):
            f = f * sum(y[k] * factor[k] for k in range(C))
            z = method.fc.weight @ f + method.fc.bias
            z_cb = method.fc_cb.weight @ f + method.fc_cb.bias
            for k in range(C):
                plain = -y[k] * (z[k] - z.exp().sum().log())
                balanced = -y[k] * omega[k] * (z_cb[k] - z_cb.exp().sum().log())
                total = total + (alpha * plain + (1 - alpha) * balanced) / 6
            rows.append(method.projection.weight @ f + method.projection.bias)
        h.append(torch.stack(rows))
        p.append(h[-1] @ method.predictor.weight.T + method.predictor.bias)
    for mine, other in ((p[0], h[1].detach()), (p[1], h[0].detach())):
        for a, b in zip(mine, other, strict=True):
            total = total - eta * (a @ b) / (a.norm() * b.norm()) / 6
    return total


def test_loss_and_gradients_equal_a_slow_loop():
    method = built()
    fast = seeded(method)
    fast.backward()
    gradients = [p.grad.clone() for p in method.parameters()]
    method.zero_grad()
    slow = slow_loss(method, alpha=1 - (3 / E) ** 2, eta=4.0)
    slow.backward()
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=0)  # labels are mixed in float32
    for fast_gradient, parameter in zip(gradients, method.parameters(), strict=True):
        torch.testing.assert_close(fast_gradient, parameter.grad, rtol=1e-5, atol=1e-7)


def test_sam_climbs_the_loss_without_consistency_unless_told_otherwise():
    method, full = built(), built(sam_perturb_loss="full")
    torch.testing.assert_close(
        seeded(method.perturb_loss), slow_loss(method, alpha=1 - (3 / E) ** 2, eta=0.0),
        rtol=1e-6, atol=0,
    )  # fmt: skip
    torch.testing.assert_close(seeded(full.perturb_loss), seeded(full.training_step))


def test_the_first_pass_of_sam_leaves_no_parameter_without_a_gradient():
    method = built()
    seeded(method.perturb_loss).backward()
    assert all(p.grad is not None for p in method.parameters())
    assert not method.predictor.weight.grad.any()


def test_alpha_falls_from_one():
    assert cumulative_alpha(0, E) == 1
    assert cumulative_alpha(E - 1, E) == 1 - ((E - 1) / E) ** 2
    alphas = [cumulative_alpha(epoch, 200) for epoch in range(200)]
    assert alphas == sorted(alphas, reverse=True) and alphas[-1] > 0
    method = built(epoch=E - 1)
    assert method.status() == {"alpha": 1 - ((E - 1) / E) ** 2}


def test_the_first_epoch_does_not_move_the_classifier_that_predicts():
    method = built(epoch=0)
    seeded(method).backward()
    assert not method.fc_cb.weight.grad.any() and not method.fc_cb.bias.grad.any()
    assert method.fc.weight.grad.any()
    method.begin_epoch(1)
    seeded(method).backward()
    assert method.fc_cb.weight.grad.any()


@pytest.mark.parametrize(("n_classes", "ends"), ((10, (0.0183, 4.590)), (100, (0.0204, 5.134))))
def test_label_weights_have_mean_one_and_the_published_ends(n_classes, ends):
    """Exponential profiles of CIFAR at imbalance 100 with u = 1.2."""
    largest = 50_000 // n_classes
    counts = [int(largest * 0.01 ** (k / (n_classes - 1))) for k in range(n_classes)]
    weights = label_weights(torch.tensor(counts), 1.2)
    assert weights.mean() == pytest.approx(1)
    assert weights[0].item() == pytest.approx(ends[0], abs=5e-5)
    assert weights[-1].item() == pytest.approx(ends[1], abs=5e-4)
    assert torch.equal(label_weights(torch.tensor(counts), 0.0), torch.ones(n_classes).double())


def test_inconsistency_is_symmetric_bounded_and_blind_to_length():
    p, h = (normal(4, 6), normal(4, 6, seed=1)), (normal(4, 6, seed=2), normal(4, 6, seed=3))
    value = consistency_loss(p, h)
    torch.testing.assert_close(consistency_loss(p[::-1], h[::-1]), value)
    torch.testing.assert_close(consistency_loss((3 * p[0], p[1]), (h[0], 0.1 * h[1])), value)
    assert consistency_loss(p, p[::-1]).item() == pytest.approx(-2)
    assert -2 <= value <= 2


def test_nothing_flows_back_through_the_target_of_the_consistency():
    p, h = normal(4, 6).requires_grad_(), normal(4, 6, seed=1).requires_grad_()
    consistency_loss((p, p), (h, h)).backward()
    assert p.grad.any() and h.grad is None


@pytest.mark.parametrize(
    ("n_classes", "gamma", "ends"), ((10, 0.5, (1.5, 1.05)), (100, 1.0, (2.0, 1.01)))
)
def test_scaling_by_rank_has_the_published_ends(n_classes, gamma, ends):
    scaling = FeatureScaling("rank", gamma, round_decimals=2)
    scaling.prepare(torch.arange(n_classes, 0, -1))
    factors = scaling.factors(torch.tensor([0, n_classes - 1]))
    torch.testing.assert_close(factors, torch.tensor(ends))


def test_scaling_is_off_in_evaluation_and_in_predictions():
    method, plain = built(strength=3.0), built(strength=0.0)
    features = normal(6, D)
    labels = BATCH["ids"][:6]
    assert not torch.allclose(method.loss(features, labels), plain.loss(features, labels))
    method.eval(), plain.eval()
    torch.testing.assert_close(method.loss(features, labels), plain.loss(features, labels))
    wanted = features @ method.fc_cb.weight.T + method.fc_cb.bias
    torch.testing.assert_close(method.logits(features), wanted)
    assert method.class_weights is method.fc_cb.weight


@pytest.mark.parametrize("kept", ("ce", "ce_cb", "proj"))
def test_each_head_can_be_spared_the_scaling(kept):
    """Heads spared: those gradients are the ones without scaling."""
    heads = {"ce": "fc.weight", "ce_cb": "fc_cb.weight", "proj": "projection.weight"}
    without, only = built(strength=0.0), built(strength=2.0, apply_to=[kept])
    for method in (without, only):
        seeded(method).backward()
    for head, name in heads.items():
        same = torch.allclose(
            without.get_parameter(name).grad, only.get_parameter(name).grad, rtol=1e-9
        )
        assert same == (head != kept), head


def test_without_mixing_views_or_scaling_the_two_terms_are_cross_entropies():
    method = built(strength=0.0, label_weighting=0.0)
    features, labels = normal(6, D), BATCH["ids"][:6]
    entropy = torch.nn.functional.cross_entropy
    wanted = method.alpha * entropy(method.fc(features), labels)
    wanted = wanted + (1 - method.alpha) * entropy(method.fc_cb(features), labels)
    torch.testing.assert_close(method.loss(features, labels), wanted)


def test_both_classifiers_decay_alike():
    method = built()
    weights = {id(method.fc.weight), id(method.fc_cb.weight)}
    for rule, decayed in (("none", False), ("reference", True), ("all", True)):
        first = method.param_groups(0.1, rule)[0]
        assert weights <= {id(p) for p in first["params"]} or not decayed
        assert decayed or not weights & {id(p) for p in first["params"]}


@pytest.mark.parametrize(
    "wrong",
    (
        {"beta": 0.0},
        {"label_weighting": -1.0},
        {"contrast_weight": math.nan},
        {"projection_dim": 0},
        {"apply_to": ["fc"]},
        {"sam_perturb_loss": "none"},
        {"rebalance": "focal"},
        {"init": "zeros"},
    ),
)
def test_wrong_values_are_refused_by_their_names(wrong):
    with pytest.raises(ValueError, match=f"method.params.{next(iter(wrong))}"):
        FSGL(TinyArch(C, D), **OPTIONS | wrong)


def test_balanced_softmax_adds_log_counts_to_the_classifier_that_predicts():
    plain, balanced = built(strength=0.0), built(strength=0.0, rebalance="balanced_softmax")
    z, y = normal(7, D), torch.arange(7) % C
    logits = balanced.fc_cb(z) + COUNTS.double().log()
    alpha = cumulative_alpha(3, E)
    expected = alpha * cross_entropy(balanced.fc(z), y) + (1 - alpha) * cross_entropy(logits, y)
    torch.testing.assert_close(balanced.loss(z, y), expected)
    torch.testing.assert_close(balanced.logits(z), plain.logits(z))  # without, as always
    assert balanced.uses_prior and not plain.uses_prior


def test_linear_layers_begin_with_the_weights_that_are_asked_for():
    """Standard deviations (2 / D)^1/2 and (3 D)^-1/2."""
    wide = {"projection_dim": 400}
    for init, deviation in (("kaiming", (2 / 400) ** 0.5), ("torch", (3 * 400) ** -0.5)):
        torch.manual_seed(0)
        method = FSGL(TinyArch(300, 400), **OPTIONS | wide | {"init": init})
        for layer in (method.fc, method.fc_cb, method.projection, method.predictor):
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)


def test_counts_of_other_classes_are_refused():
    method = FSGL(TinyArch(C, D), **OPTIONS)
    for counts in (COUNTS[:4], torch.tensor([4, 3, 2, 1, 0])):
        with pytest.raises(ValueError, match=r"images of 4; say arch\.params\.n_classes=null"):
            method.prepare(lambda: [], counts)


def test_a_plain_batch_is_refused_with_the_words_to_type():
    with pytest.raises(ValueError, match=r"dataset\.params\.views=2"):
        built()({"examples": BATCH["examples"][:, 0], "ids": BATCH["ids"]})
