"""Goldens and laws of the methods on points: dot product, cosine, ArcFace, hyperbolic."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.conftest import cases, load_golden, variants
from tests.methods.laws import TinyArch, normal, reference_checkpoint
from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.geometry import cosines
from vmf_embeddings.methods.arcface import ArcFace, arcface_loss
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy
from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE, poincare_logits
from vmf_embeddings.methods.normalized_sce import NormalizedSCE, cosine_logits
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE, dot_product_logits


def shifted_cosines(x, w, y, margin: float) -> torch.Tensor:
    """Cosines [B, C], a margin added to the angle of the target class."""
    similarities = cosines(x.double(), w.double())
    own = add_angular_margin(similarities.gather(1, y[:, None]), margin, monotone=False)[0]
    return similarities.scatter(1, y[:, None], own).to(x.dtype)


def arcface(margin: float):
    return (
        lambda x, w, y, beta: arcface_loss(x, w, y, beta, margin),
        lambda x, w, y, beta: beta * shifted_cosines(x, w, y, margin),
    )


VARIANTS = {  # loss and logits
    "unnormalized": (
        lambda x, w, y, beta: cross_entropy(dot_product_logits(x, w), y),
        lambda x, w, y, beta: dot_product_logits(x, w),
    ),
    "normalized": (cosine_cross_entropy, lambda x, w, y, beta: cosine_logits(x, w, beta)),
    # the name of a variant says its margin
    **{
        name: arcface(float(name.removeprefix("arcface_m")))
        for name in variants(load_golden("sce_losses"), "loss", "arcface_m")
    },
    "arcface_set_m_zero": arcface(0.0),
}


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32))
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_equal_the_reference(golden, variant, dtype):
    data, (loss_of, logits_of) = golden("sce_losses"), VARIANTS[variant]
    for case in cases(data):
        x, w = (torch.tensor(data[f"{case}/{n}"], dtype=dtype) for n in ("x", "weights"))
        tau = torch.tensor(float(data[f"{case}/temp"]), dtype=dtype)
        x.requires_grad_(), w.requires_grad_(), tau.requires_grad_()
        y = torch.tensor(data[f"{case}/targets"])
        loss = loss_of(x, w, y, torch.exp(-tau))
        loss.backward()
        logits = logits_of(x, w, y, torch.exp(-tau))
        results = {"loss": loss, "train_logits": logits, "grad_x": x.grad, "grad_weights": w.grad}
        if variant != "unnormalized":
            results["grad_temp"] = tau.grad
        for name, value in results.items():
            expected = data[f"{case}/{variant}/{name}"]
            # relative to the largest entry: 1e-9; in float32 1e-5, gradients 1e-4
            single = 1e-4 if name.startswith("grad") else 1e-5
            tolerance = (single if dtype == torch.float32 else 1e-9) * np.abs(expected).max()
            np.testing.assert_allclose(
                value.detach().numpy(), expected, rtol=0, atol=tolerance, err_msg=f"{case} {name}"
            )


@pytest.mark.parametrize("variant", VARIANTS)
def test_predictions_equal_the_reference(golden, variant):
    data = golden("sce_losses")
    for case in cases(data):
        x, w = (torch.tensor(data[f"{case}/{n}"]).double() for n in ("x", "weights"))
        beta = torch.exp(-torch.tensor(float(data[f"{case}/temp"])).double())
        arch = TinyArch(*w.shape, learn_temp=True)
        method = UnnormalizedSCE(arch) if variant == "unnormalized" else NormalizedSCE(arch)
        if variant.startswith("arcface"):
            method = ArcFace(arch, 0.5, None, False)
        method.double()
        method.class_parameters.weight.data.copy_(w)
        if variant != "unnormalized":
            method.class_parameters.tau.data.copy_(-beta.log())
        expected = torch.tensor(data[f"{case}/{variant}/pred_logits"])
        torch.testing.assert_close(method.logits(x), expected, rtol=1e-9, atol=1e-12)


def test_cosine_logits_ignore_lengths_and_stay_within_beta():
    x, w, beta = normal(6, 4), normal(3, 4, seed=1), torch.tensor(7.0).double()
    logits = cosine_logits(x, w, beta)
    torch.testing.assert_close(cosine_logits(5 * x, w / 3, beta), logits)
    assert logits.abs().max() <= beta
    torch.testing.assert_close(cosine_logits(w, w, beta).diagonal(), beta.expand(3))


def test_margin_adds_to_the_angle():
    angle = torch.linspace(0.01, math.pi - 0.01, 50, dtype=torch.float64)
    for margin in (0.0, 0.4, 3.0):
        cosine = angle.cos().requires_grad_()
        value, slope = add_angular_margin(cosine, margin, monotone=False)
        torch.testing.assert_close(value, (angle + margin).cos())
        torch.testing.assert_close(slope, torch.autograd.grad(value.sum(), cosine)[0])


@pytest.mark.parametrize("sign", (1.0, -1.0))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_arcface_gradient_is_finite_on_and_opposite_the_class(sign, dtype):
    w = normal(3, 4, dtype=dtype)
    x, beta = (sign * w).requires_grad_(), torch.tensor(64, dtype=dtype)
    arcface_loss(x, w.requires_grad_(), torch.arange(3), beta, 0.5).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(w.grad).all()


def test_arcface_margin_waits_for_the_warm_up():
    method = ArcFace(TinyArch(), 0.5, None, False)
    assert method.margin == 0.5
    method.configure(margin_warmup_epochs=20)
    margins = []
    for epoch in (0, 19, 20):
        method.begin_epoch(epoch)
        margins.append(method.margin)
    assert margins == [0.0, 0.0, 0.5]


def test_configured_warm_up_beats_the_data_set():
    method = ArcFace(TinyArch(), 0.5, 0, False)
    method.configure(margin_warmup_epochs=20)
    assert method.margin == 0.5


def test_arcface_in_warm_up_is_the_cosine_softmax():
    torch.manual_seed(0)
    arc, plain = ArcFace(TinyArch(), 0.5, 3, False), NormalizedSCE(TinyArch())
    plain.load_state_dict(arc.state_dict())
    embeddings, labels = normal(8, 3).float(), torch.arange(8) % 5
    torch.testing.assert_close(arc.loss(embeddings, labels), plain.loss(embeddings, labels))
    arc.begin_epoch(3)
    assert arc.loss(embeddings, labels) > plain.loss(embeddings, labels)


def test_hyperbolic_logits_and_gradients_equal_the_reference(golden):
    data = golden("hyperbolic_softmax")
    for case in cases(data):
        x, a, p = (
            torch.tensor(data[f"{case}/{n}"]).double().requires_grad_()
            for n in ("x", "a_vals", "p_vals")
        )
        c = float(data[f"{case}/c"].astype(np.float32))  # the reference's maps keep c in float32
        logits = poincare_logits(x, a, p, c)
        loss = cross_entropy(logits, torch.tensor(data[f"{case}/targets"]))
        loss.backward()
        # ... but its gradient scale does not
        scale = (1 - c * np.square(data[f"{case}/ball_points"]).sum(1, keepdims=True)) ** 2 / 4
        results = {
            "logits": (logits, data[f"{case}/logits"]),
            "loss": (loss, data[f"{case}/loss"]),
            "grad_a_vals": (a.grad, data[f"{case}/grad_a_vals"]),
            "grad_p_vals": (p.grad, data[f"{case}/grad_p_vals"]),
            "grad_x": (x.grad, data[f"{case}/grad_x_euclidean"] * scale),
        }
        for name, (value, expected) in results.items():
            np.testing.assert_allclose(
                value.detach().numpy(),
                expected,
                rtol=1e-7,
                atol=1e-10 * np.abs(expected).max(),
                err_msg=f"{case} {name}",
            )
        np.testing.assert_allclose(
            x.grad.numpy(),
            data[f"{case}/grad_x_riemannian"],
            rtol=0,
            atol=1e-7 * x.grad.abs().max().item(),
        )


def test_two_curvatures_live_side_by_side():
    x, a, p = normal(4, 3).requires_grad_(), normal(5, 3, seed=1), normal(5, 3, seed=2)

    def gradient(c: float) -> torch.Tensor:
        return torch.autograd.grad(poincare_logits(x, a, p, c).logsumexp(-1).sum(), x)[0]

    alone = gradient(0.1)
    first, _ = poincare_logits(x, a, p, 0.1), poincare_logits(x, a, p, 2.0)
    torch.testing.assert_close(torch.autograd.grad(first.logsumexp(-1).sum(), x)[0], alone)


@pytest.mark.parametrize("c", (0.0, -1.0))
def test_curvature_must_be_positive(c):
    with pytest.raises(ValueError, match="method.params.c .* > 0"):
        HyperbolicSCE(TinyArch(), c)


def test_margin_must_be_an_angle():
    with pytest.raises(ValueError, match="radians"):
        ArcFace(TinyArch(), 4.0, None, False)


def test_hyperbolic_reads_its_class_parameters_from_a_checkpoint_of_2021():
    method = HyperbolicSCE(TinyArch(), 1e-5)
    checkpoint = reference_checkpoint(method)
    with pytest.raises(ValueError, match="no mlr.a_vals"):
        method.from_reference_checkpoint(checkpoint)
    planes = {"mlr.a_vals": normal(5, 3).float(), "mlr.p_vals": normal(5, 3, seed=1).float()}
    checkpoint["arch_state_dict"] |= planes
    method.from_reference_checkpoint(checkpoint)
    assert torch.equal(method.a_vals, planes["mlr.a_vals"])
    assert torch.equal(method.p_vals, planes["mlr.p_vals"])


def test_hyperbolic_logits_stay_finite_where_an_offset_rounds_onto_the_border():
    """In float32 tanh(10) is 1, so that nothing is left of 1 - c|p|^2."""
    x, a, p = (normal(5, 8, seed=s).float().requires_grad_() for s in range(3))
    far = 10 * torch.nn.functional.normalize(p, dim=-1)
    cross_entropy(poincare_logits(x, a, far, 1.0), torch.arange(5)).backward()
    for gradient in (x.grad, a.grad, p.grad):
        assert torch.isfinite(gradient).all()
