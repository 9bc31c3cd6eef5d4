"""Laws of the cost of a class distribution's spread, and of the confidence that bounds it."""

import itertools
import math

import pytest
import torch

import vmf_embeddings as vmf
from tests.methods.laws import TinyArch
from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.directional import cosine_variance, mean_cosine, softmax_bound
from vmf_embeddings.methods.vmf_concentration import (
    SPREAD_COST,
    automatic_confidence,
    spread_cost,
    start_confidences,
)
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.methods.vmf_start import initial_kappa

OPTIONS = {"n_samples": 10, "normalizer": "exact", "vmf_sampler": "exact", "kappa_init": "exact"}


@pytest.mark.parametrize(
    ("beta", "classes", "images", "dim", "expected"),
    [
        (16, 0.7, 0.7, 128, 0.33372),
        (16, 0.96, 0.96, 128, 0.00909),
        (16, 0.99, 0.7, 128, 0.01028),
        (16, 0.7, 0.7, 512, 0.08565),
    ],
)
def test_cost_equals_values_of_another_quadrature(beta, classes, images, dim, expected):
    cost = spread_cost(beta, initial_kappa(classes, dim), initial_kappa(images, dim), dim)
    assert cost == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (3, 20.0), (16, 40.0), (128, 175.0)])
def test_cost_is_the_loss_of_an_image_whose_class_is_the_only_one(dim, kappa):
    mean = kappa * torch.nn.functional.normalize(torch.ones(1, dim, dtype=torch.float64))
    torch.manual_seed(1)
    losses = torch.stack(
        [
            softmax_bound(mean, mean, torch.zeros(1, dtype=torch.long), torch.tensor(4.0), 200)
            for _ in range(100)
        ]
    )
    error = losses.std() / len(losses) ** 0.5
    expected = spread_cost(4.0, kappa, kappa, dim)
    assert abs(float(losses.mean()) - expected) < 5 * float(error) + 1e-9
    assert float(error) < 0.05 * expected


def test_cost_is_positive_falls_with_the_class_concentration_and_is_nothing_at_beta_0():
    for dim, images in itertools.product((2, 3, 16, 512, 2048), (0.1, 30.0, 1e5)):
        costs = [spread_cost(8.0, kappa, images, dim) for kappa in (1.0, 10.0, 100.0, 1e3, 1e4)]
        assert all(a > b > 0 for a, b in itertools.pairwise(costs))
        assert spread_cost(0.0, 10.0, images, dim) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dim", (128, 512))
def test_cost_of_a_small_beta_is_half_the_variance_of_the_logit(dim):
    kappa = torch.tensor(20.0 * dim, dtype=torch.float64)
    cosine, variance = mean_cosine(kappa, dim), cosine_variance(kappa, dim)
    along = variance + cosine**2
    logit_variance = variance * along + cosine / kappa * (1 - along)
    expected = 4.0**2 / 2 * float(logit_variance)
    assert spread_cost(4.0, float(kappa), float(kappa), dim) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("images", (None, 0.7))
def test_automatic_confidence_meets_the_bound_and_no_more(images):
    found = {}
    for beta, dim in itertools.product((8.0, 32.0), (3, 128)):
        confidence = found[beta, dim] = automatic_confidence(beta, 5, dim, images)
        kappas = [initial_kappa(c, dim) for c in (confidence, images or confidence)]
        assert spread_cost(beta, *kappas, dim) == pytest.approx(SPREAD_COST, rel=1e-5)
    assert found[32.0, 3] > found[8.0, 3] > found[8.0, 128]
    assert found[32.0, 128] > found[8.0, 128]


def test_automatic_confidence_keeps_that_of_the_paper_where_it_costs_nothing():
    assert automatic_confidence(0.1, 1, 128) == 0.4


def test_auto_reaches_class_weights_and_the_scale_of_images():
    torch.manual_seed(0)
    arch = TinyArch(
        n_classes=400, embedding_dim=16, use_vmf=True, init_temp=-2.773, kappa_confidence="auto"
    )
    method = VMFSoftmax(arch, **OPTIONS)
    confidence = automatic_confidence(math.exp(2.773), 400, 16)
    expected = initial_kappa(confidence, 16)
    kappas = method.class_parameters.weight.detach().norm(dim=-1)
    torch.testing.assert_close(kappas, torch.full_like(kappas, expected))
    images = torch.randn(64, 1, 4, 4)
    method.init_from_data(lambda: [images])
    with torch.no_grad():
        lengths = method.embed(images).square().sum(-1).mean().sqrt()
    assert float(lengths) == pytest.approx(expected, rel=0.3)  # BatchNorm in evaluation differs


def test_images_may_start_less_sure_than_classes():
    spec = ClassSpec(5, 128, init_temp=-2.773, kappa_confidence="auto")
    untied, tied = start_confidences(spec, 0.7), start_confidences(spec, None)
    assert (untied.images, tied.images) == (0.7, tied.classes)
    assert untied.classes > tied.classes
    with pytest.raises(ValueError, match=r"image_confidence must lie in \(0, 1\).* got 1.2"):
        start_confidences(spec, 1.2)


def test_other_words_are_refused():
    for bad in ("automatic", 0.0, 1, True):
        with pytest.raises(ValueError, match=r"must lie in \(0, 1\) or be auto"):
            start_confidences(ClassSpec(5, 8, kappa_confidence=bad), None)


@pytest.mark.parametrize("tau", (-11.6, -27.0))
def test_temperatures_beyond_any_confidence_are_refused(tau):
    with pytest.raises(ValueError, match="auto needs arch.params.init_temp >= -11.5, got"):
        start_confidences(ClassSpec(5, 8, init_temp=tau, kappa_confidence="auto"), None)


@pytest.mark.parametrize("tau", (-1000.0, -1e308, float("nan"), float("-inf")))
def test_temperatures_beyond_float32_are_refused(tau):
    with pytest.raises(ValueError, match=r"init_temp must be in \[-27, 27\].* got"):
        ClassSpec(5, 8, init_temp=tau)


def test_the_smallest_temperature_still_meets_the_bound():
    spec = ClassSpec(5, 3, init_temp=-11.5, kappa_confidence="auto")
    kappa = initial_kappa(start_confidences(spec, None).classes, 3)
    assert spread_cost(math.exp(11.5), kappa, kappa, 3) == pytest.approx(SPREAD_COST, rel=1e-3)


def test_the_library_takes_auto():
    loss_fn = vmf.objective("vmf_softmax", embedding_dim=8, n_classes=5, kappa_confidence="auto")
    assert loss_fn(torch.randn(4, 8), torch.arange(4)).isfinite()
