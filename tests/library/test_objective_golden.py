"""Golden losses and gradients of published code through `vmf.objective`."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import vmf_embeddings as vmf
from tests.conftest import cases
from vmf_embeddings.miners.base import Miner, Triplets


def number(data, key: str) -> float:
    return float(data[key])


def close(found: Tensor, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    """Equal to `tolerance` times the largest entry."""
    atol = tolerance * max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def compare(loss_fn: vmf.Objective, data, case: str, row: str, *, x: str = "x") -> None:
    """Loss and gradient of the embeddings; class weights have theirs where the file has one."""
    rows = torch.tensor(data[f"{case}/{x}"]).double().requires_grad_()
    loss = loss_fn(rows, torch.tensor(data[f"{case}/targets"]))
    loss.backward()
    close(loss, data[f"{row}/loss"])
    close(rows.grad, data[f"{row}/grad_{x}"])


POINTS = {
    "unnormalized": ("unnormalized_sce", {}),
    "normalized": ("normalized_sce", {}),
    "arcface_m0.5": ("arcface", {"m": 0.5}),
    "arcface_m0.3": ("arcface", {"m": 0.3}),
}


@pytest.mark.parametrize("variant", POINTS)
def test_softmax_on_points_equals_the_golden(golden, variant):
    data, (name, options) = golden("sce_losses"), POINTS[variant]
    for case in cases(data):
        weights = torch.tensor(data[f"{case}/weights"]).double()
        n_classes, dim = weights.shape
        loss_fn = vmf.objective(name, embedding_dim=dim, n_classes=n_classes, **options).double()
        loss_fn.set_class_weights(weights)
        if name != "unnormalized_sce":
            loss_fn.set_temperature(np.exp(number(data, f"{case}/temp")))
        compare(loss_fn, data, case, f"{case}/{variant}")
        close(loss_fn.class_weights.grad, data[f"{case}/{variant}/grad_weights"])
        if name != "unnormalized_sce":
            tau = loss_fn.get_parameter("method.class_parameters.tau")
            close(tau.grad, data[f"{case}/{variant}/grad_temp"])


def test_hyperbolic_softmax_equals_the_golden(golden):
    data = golden("hyperbolic_softmax")
    for case in cases(data):
        (n_classes, dim), c = data[f"{case}/a_vals"].shape, np.float32(data[f"{case}/c"])
        loss_fn = vmf.objective(
            "hyperbolic_sce", embedding_dim=dim, n_classes=n_classes, c=float(c)
        ).double()
        normals, offsets = (loss_fn.get_parameter(f"method.{n}") for n in ("a_vals", "p_vals"))
        normals.data.copy_(torch.tensor(data[f"{case}/a_vals"]))
        offsets.data.copy_(torch.tensor(data[f"{case}/p_vals"]))
        rows = torch.tensor(data[f"{case}/x"]).double()
        loss = loss_fn(rows, torch.tensor(data[f"{case}/targets"]))
        loss.backward()
        np.testing.assert_allclose(loss.item(), data[f"{case}/loss"], rtol=1e-7)
        close(normals.grad, data[f"{case}/grad_a_vals"], 1e-7)
        close(offsets.grad, data[f"{case}/grad_p_vals"], 1e-7)


def test_vmf_softmax_equals_the_golden_under_its_draws(golden, monkeypatch):
    data = golden("vmf_softmax_loss")
    for case in cases(data):
        draws = torch.tensor(data[f"{case}/z_samples"]).double()
        weights = torch.tensor(data[f"{case}/weights"]).double()
        n_classes, dim = weights.shape
        loss_fn = vmf.objective(
            "vmf_softmax",
            embedding_dim=dim,
            n_classes=n_classes,
            normalizer="approx",
            n_samples=draws.shape[1],
        ).double()
        loss_fn.set_class_weights(weights)
        loss_fn.set_temperature(np.exp(number(data, f"{case}/temp")))
        loss_fn.method.kappa_scale.fill_(number(data, f"{case}/z_kappa_mult"))
        monkeypatch.setattr(loss_fn.method, "draw", lambda *_, draws=draws, **__: draws)
        loss = loss_fn(
            torch.tensor(data[f"{case}/z"]).double(), torch.tensor(data[f"{case}/targets"])
        )
        loss.backward()
        np.testing.assert_allclose(loss.item(), data[f"{case}/loss_stable_f64"], rtol=1e-9)
        close(loss_fn.class_weights.grad, data[f"{case}/grad_weights"], 1e-6)  # some in float32


def test_tvmf_heads_equal_the_golden(golden):
    data = golden("tvmf_heads")
    for case in set(cases(data)) - {"similarity"}:
        own = [k for k in data if k.startswith(f"{case}/") and k.endswith("/kappa")]
        kappas = {k.split("/")[1]: number(data, k) for k in own}
        for row, kappa in kappas.items():
            weights = torch.tensor(data[f"{case}/weight"]).double()
            n_classes, dim = weights.shape
            has_bias = bool(data[f"{case}/has_bias"])
            loss_fn = vmf.objective(
                "tvmf", embedding_dim=dim, n_classes=n_classes, kappa=kappa, bias=has_bias
            ).double()
            bias = torch.tensor(data[f"{case}/bias"]).double() if has_bias else None
            loss_fn.set_class_weights(weights, bias)
            loss_fn.head.raw_scale.data.fill_(number(data, f"{case}/s_param"))
            compare(loss_fn, data, case, f"{case}/{row}")
            close(loss_fn.class_weights.grad, data[f"{case}/{row}/grad_weight"])
            close(loss_fn.head.raw_scale.grad, data[f"{case}/{row}/grad_s"])


def on_logits(name: str, data, case: str, **options: float) -> vmf.Objective:
    """A loss whose logits are its embeddings: class weights are the unit matrix."""
    counts = data[f"{case}/class_counts"].tolist()
    n_classes = len(counts)
    loss_fn = vmf.objective(
        name, embedding_dim=n_classes, n_classes=n_classes, class_counts=counts, **options
    ).double()
    return loss_fn.set_class_weights(torch.eye(n_classes).double())


def long_tail_rows() -> list[tuple[str, str, Callable[..., dict[str, float]]]]:
    def gamma(data, row: str) -> dict[str, float]:
        return {"gamma": number(data, f"{row}/gamma")}

    focal = [(f"focal_g{g}", "focal", gamma) for g in (0, 1, 2)]
    return [("balanced_softmax", "balanced_softmax", lambda *_: {}), *focal]


@pytest.mark.parametrize(("row", "name", "options"), long_tail_rows())
def test_long_tailed_losses_equal_the_golden(golden, row, name, options):
    data = golden("longtail_losses")
    for case in cases(data):
        at = f"{case}/{row}"
        loss_fn = on_logits(name, data, case, **options(data, at))
        compare(loss_fn, data, case, at, x="logits")


def compare_on_sphere(loss_fn: vmf.Objective, data, case: str, row: str) -> None:
    """Criteria get unit vectors: the gradient lacks its part along the embedding.

    The file's rows are unit vectors in float32, so that normalising them in float64 moves them by
    1e-8.
    """
    rows = torch.tensor(data[f"{case}/x"]).double().requires_grad_()
    loss = loss_fn(rows, torch.tensor(data[f"{case}/labels"]))
    loss.backward()
    close(loss, data[f"{row}/loss"], 1e-6)
    unit, gradient = rows.detach().numpy(), data[f"{row}/grad_x"]
    along = (gradient * unit).sum(1, keepdims=True) * unit
    close(rows.grad, gradient - along, 1e-5)


class Given(Miner):
    """The triplets of a golden file."""

    triplets: Triplets

    def mine(self, embeddings, same, generator) -> Triplets:
        return self.triplets


ALPHAS = ("pos_weight", "neg_weight", "pos_thresh", "neg_thresh", "margin")
CRITERIA = [
    ("softmax", "softmax", ("temperature",), {}),
    ("softmax_T0p2", "softmax", ("temperature",), {}),
    ("arcface", "criterion/arcface", ("angular_margin",), {"variant": "reference", "scale": 16.0}),
    ("multisimilarity", "multisimilarity_nir", ALPHAS, {}),
    ("triplet", "triplet", ("margin",), {"miner": Given}),
    ("contrastive", "contrastive", ("pos_margin", "neg_margin"),
     {"variant": "reference", "miner": Given}),
    ("margin", "margin", ("margin",), {"variant": "reference", "miner": Given}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "name", "read", "options"), CRITERIA)
def test_criteria_equal_the_golden(golden, row, name, read, options):
    data = golden("dml_criteria")
    for case in cases(data):
        at, labels = f"{case}/{row}", data[f"{case}/labels"]
        Given.triplets = Triplets(*torch.tensor(data[f"{case}/triplets"]).T)
        classes = data.get(f"{at}/class_map", data.get(f"{at}/beta", labels.max(keepdims=True) + 1))
        loss_fn = vmf.objective(
            name,
            embedding_dim=data[f"{case}/x"].shape[1],
            n_classes=int(classes[0]) if classes.shape == (1,) else len(classes),
            **{key: number(data, f"{at}/{key}") for key in read},
            **options,
        ).double()
        if f"{at}/class_map" in data:
            loss_fn.set_class_weights(torch.tensor(classes))
        if f"{at}/beta" in data:
            loss_fn.criterion.beta.data.copy_(torch.tensor(classes))
        compare_on_sphere(loss_fn, data, case, at)
        if f"{at}/class_map" in data:
            close(loss_fn.class_weights.grad, data[f"{at}/grad_class_map"], 1e-5)
