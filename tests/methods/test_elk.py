"""The expected-likelihood softmax: its fused loss, golden numbers, kernels, and start."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import vmf_embeddings as vmf
from tests.conftest import cases, load_golden
from tests.methods.laws import TinyArch, normal
from vmf_embeddings import directional, native
from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.geometry import ExpectedLikelihood
from vmf_embeddings.methods.elk import ELK, KERNELS
from vmf_embeddings.methods.elk_cross_entropy import elk_cross_entropy
from vmf_embeddings.methods.vmf_concentration import elk_confidence, start_confidences

GOLDEN = load_golden("dm_elk")
PROXIES = [case for case in cases(GOLDEN) if case.startswith("proxy")]


def build(kernel="elk", n_classes=5, dim=3, **head):
    torch.manual_seed(0)
    return ELK(TinyArch(n_classes, dim, **head), kernel, "exact", None)


def problem(dim, dtype=torch.float64, n=40, n_classes=7, kappa=30.0):
    z, w = kappa * normal(n, dim) / dim**0.5, 2 * kappa * normal(n_classes, dim, seed=1) / dim**0.5
    beta = torch.tensor(0.7)
    inputs = [t.to(dtype).requires_grad_() for t in (z, w, beta)]
    return inputs, torch.arange(n) % n_classes


def value_and_gradients(loss, inputs):
    value = loss(*inputs)
    return [value, *torch.autograd.grad(value, inputs)]


@pytest.mark.parametrize("dim", (2, 3, 8, 40))
def test_the_fused_loss_is_the_cross_entropy_of_the_kernel(dim, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.methods.elk_cross_entropy.CPU_TILE", 60)  # many tiles
    inputs, labels = problem(dim)

    def plain(z, w, beta):
        return cross_entropy(beta * directional.log_elk(z, w), labels)

    found = value_and_gradients(lambda z, w, b: elk_cross_entropy(z, w, labels, b), inputs)
    for one, other in zip(found, value_and_gradients(plain, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dim", (3, 8, 16, 128))
@pytest.mark.parametrize("with_prior", (False, True))
def test_float32_is_near_float64(dim, with_prior, code):
    (z, w, beta), labels = problem(dim, torch.float32)
    prior = torch.linspace(-3, 0, len(w)) if with_prior else None
    wide = [t.detach().double().requires_grad_() for t in (z, w, beta)]

    def loss(a, b, c):
        return elk_cross_entropy(a, b, labels, c, None if prior is None else prior.to(a))

    found, expected = value_and_gradients(loss, (z, w, beta)), value_and_gradients(loss, wide)
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * scale + 1e-5)


def test_the_prior_is_added_to_the_logits():
    (z, w, beta), labels = problem(8)
    prior = torch.linspace(-3, 0, len(w)).double()
    found = elk_cross_entropy(z, w, labels, beta, prior)
    wanted = cross_entropy(beta * directional.relative_log_elk(z, w) + prior, labels)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dim", (5, 16))
def test_directions_and_concentrations_of_classes_may_be_given_apart(dim, code):
    (z, w, beta), labels = problem(dim, torch.float32)
    kappa = w.detach().norm(dim=-1)
    mu = w.detach() / kappa[:, None]
    found = value_and_gradients(
        lambda z, b: elk_cross_entropy(z, mu, labels, b, class_kappa=kappa), (z, beta)
    )
    wanted = value_and_gradients(
        lambda z, b: elk_cross_entropy(z, w.detach(), labels, b), (z, beta)
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", (3, 16))
def test_what_is_no_number_makes_the_loss_no_number(dim, code):
    (z, w, beta), labels = problem(dim, torch.float32)
    for value in (torch.nan, -torch.nan):
        broken = w.detach().clone()
        broken[3, 1] = value
        assert elk_cross_entropy(z, broken, labels, beta).isnan()


def test_labels_of_no_class_are_refused(code):
    (z, w, beta), labels = problem(16, torch.float32)
    for wrong in (len(w), -1):
        with pytest.raises((IndexError, RuntimeError)):
            elk_cross_entropy(z, w, labels.index_fill(0, torch.tensor([3]), wrong), beta)


def test_the_compiled_loss_does_not_depend_on_threads_nor_parts(monkeypatch):
    monkeypatch.setenv(native.SWITCH, "1")
    if not native.enabled():
        pytest.skip("Numba is not installed")
    from vmf_embeddings.directional.kernels import difference_compiled

    inputs, labels = problem(20, torch.float32, n_classes=13)
    before, results = torch.get_num_threads(), []
    monkeypatch.setattr(difference_compiled, "ENTRIES_PER_PART", 60)
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found = value_and_gradients(lambda a, b, c: elk_cross_entropy(a, b, labels, c), inputs)
            results.append((found[0].item(), found[-1].item()))  # value and slope in beta
    finally:
        torch.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("case", PROXIES)
def test_loss_and_gradients_are_the_golden_ones(case):
    z, w = (torch.from_numpy(GOLDEN[f"{case}/{k}"].astype(float)) for k in ("z", "weights"))
    beta = torch.tensor(1 / float(GOLDEN[f"{case}/temperature"]), dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (z, w)]
    labels = torch.from_numpy(GOLDEN[f"{case}/targets"])
    loss, *gradients = value_and_gradients(
        lambda a, b: elk_cross_entropy(a, b, labels, beta), inputs
    )
    assert loss.item() == pytest.approx(float(GOLDEN[f"{case}/exact_loss"]), rel=1e-10)
    for found, key in zip(gradients, ("z", "weights"), strict=True):
        expected = GOLDEN[f"{case}/exact_grad_{key}"]
        # 1e-15: where a loss of 1e-13 leaves p - 1 no more digits
        tolerance = 1e-9 * np.abs(expected).max() + 1e-15
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def parabola(kappa, dim):
    """The normaliser fitted by the paper's code: one parabola for D = 128, one for all others."""
    if dim == 128:
        return 127 - 0.01909 * kappa - 0.003355 * kappa**2
    return 868 - 0.0002662 * kappa - 0.0009685 * kappa**2


@pytest.mark.parametrize("case", ("pairs_d128", "pairs_d512"))
def test_the_papers_code_is_off_by_hundreds_of_nats(case):
    """What the published kernel is, so that nobody takes ours for it."""
    vectors = [
        GOLDEN[f"{case}/kappa{i}"].astype(float)[:, None] * GOLDEN[f"{case}/mu{i}"] for i in (1, 2)
    ]
    dim = vectors[0].shape[1]
    lengths = [np.linalg.norm(v, axis=1) for v in (*vectors, sum(vectors))]
    one, two, both = (parabola(length, dim) for length in lengths)
    np.testing.assert_allclose(one + two - both, GOLDEN[f"{case}/ref_pdml_log_elk"], rtol=1e-5)
    error = one + two - both - GOLDEN[f"{case}/exact_log_elk"]
    assert np.ptp(error) > 100  # a constant would not matter


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_loss_is_the_cross_entropy_of_the_logits(kernel):
    method = build(kernel, dim=6, init_temp=-0.5).double()
    z, labels = 20 * normal(15, 6), torch.arange(15) % 5
    torch.testing.assert_close(method.loss(z, labels), cross_entropy(method.logits(z), labels))
    assert method.geometry == ExpectedLikelihood()


def test_kernels_differ_and_others_are_refused():
    z = 20 * normal(4, 6).float()
    first, second, third = (build(kernel, dim=6).predict(z) for kernel in KERNELS)
    assert not torch.allclose(first, second) and not torch.allclose(first, third)
    with pytest.raises(ValueError, match="must be one of elk, bhattacharyya, kl, got 'nivmf'"):
        build("nivmf")


def test_a_sure_image_has_sure_predictions():
    method = build(dim=8, kappa_confidence=0.9)
    z = method.class_weights.detach()[:1]
    probabilities = [method.predict(s * z / z.norm())[0].max() for s in (0.0, 1.0, 300.0)]
    assert 0.2 - 1e-6 < probabilities[0] < probabilities[1] < 0.9 < 0.99 < probabilities[2]


@pytest.mark.parametrize("dim", (2, 3, 16, 128, 512))
@pytest.mark.parametrize("n_classes", (2, 5, 10_000))
def test_the_automatic_start_reaches_the_scale_that_the_classes_need(dim, n_classes):
    confidence = elk_confidence(1.0, n_classes, dim)
    kappa = float(directional.mean_cosine_inverse(torch.tensor([confidence]).double(), dim))
    z, w = torch.zeros(1, dim).double(), torch.zeros(1, dim).double()
    z[0, 0], w[0, 1] = kappa, kappa
    step = 1e-4
    turned = torch.cat([w[:, :1] + s * kappa * step for s in (1, -1)])
    both = torch.cat([turned, w[:, 1:].expand(2, -1)], 1)
    slope = directional.relative_log_elk(z, both)[0].diff().abs().item() / (2 * step)
    probability = 1 / (1 + (n_classes - 1) * math.exp(-slope * n_classes / (n_classes - 1)))
    assert confidence >= 0.95 - 1e-12
    assert probability > 0.998


def test_auto_means_the_rule_of_the_method():
    spec = ClassSpec(5, 128, init_temp=-2.773, kappa_confidence="auto")
    assert start_confidences(spec, None, elk_confidence).classes == pytest.approx(0.95)
    assert build(dim=128, kappa_confidence="auto").confidences.classes == pytest.approx(0.95)


def test_the_status_has_the_concentrations_of_the_classes():
    method = build()
    kappas = method.class_weights.detach().norm(dim=-1)
    status = method.status()
    found = [status[key] for key in ("kappa_min", "kappa", "kappa_max")]
    assert found == pytest.approx([float(f()) for f in (kappas.min, kappas.mean, kappas.max)])


def test_the_library_has_it():
    loss_fn = vmf.objective("elk", embedding_dim=8, n_classes=5, kernel="kl")
    assert loss_fn(torch.randn(4, 8), torch.arange(4)).isfinite()
