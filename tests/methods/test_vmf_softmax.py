"""Goldens and laws of the von Mises-Fisher softmax: its loss and its module."""

import logging
import math
import random

import numpy as np
import pytest
import torch

from tests.conftest import cases
from tests.methods.laws import TinyArch, normal, reference_checkpoint
from vmf_embeddings import directional
from vmf_embeddings.geometry import VonMisesFisher
from vmf_embeddings.methods.vmf_concentration import spread_cost
from vmf_embeddings.methods.vmf_softmax import NORMALIZERS, VMFSoftmax, vmf_softmax_loss
from vmf_embeddings.methods.vmf_start import initial_kappa

OPTIONS = {
    "n_samples": 10,
    "normalizer": "exact",
    "vmf_sampler": "exact",
    "kappa_init": "exact",
    "estimator": "auto",
}


def build(n_classes: int = 5, embedding_dim: int = 3, **options: object) -> VMFSoftmax:
    torch.manual_seed(0)
    arch = TinyArch(n_classes, embedding_dim, use_vmf=True, learn_temp=True)
    return VMFSoftmax(arch, **{**OPTIONS, **options})


def images(n: int = 40) -> torch.Tensor:
    return normal(n, 1, 4, 4).float()


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


def golden_loss(data, case: str, dtype: torch.dtype):
    """The loss of a golden case and the inputs whose gradients are stored."""
    inputs = {
        name: torch.tensor(data[f"{case}/{name}"], dtype=dtype).requires_grad_()
        for name in ("z", "weights", "z_samples", "temp")
    }
    loss = vmf_softmax_loss(
        float(data[f"{case}/z_kappa_mult"]) * inputs["z"],
        inputs["weights"],
        torch.tensor(data[f"{case}/targets"]),
        torch.exp(-inputs["temp"]),
        inputs["z_samples"],
        normalizer="approx",
    )
    return loss, inputs


def test_loss_and_gradients_equal_the_reference_in_float64(golden):
    data = golden("vmf_softmax_loss")
    for case in cases(data):
        loss, inputs = golden_loss(data, case, torch.float64)
        loss.backward()
        np.testing.assert_allclose(
            loss.item(), data[f"{case}/loss_stable_f64"], rtol=1e-9, err_msg=case
        )
        for name, tensor in inputs.items():
            expected = data[f"{case}/grad_{name}"]
            # some gradients are stored in float32, whose own rounding is 6e-8
            tolerance = 1e-9 if expected.dtype == np.float64 else 1e-6
            np.testing.assert_allclose(
                tensor.grad.numpy(),
                expected,
                rtol=0,
                atol=tolerance * np.abs(expected).max(),
                err_msg=f"{case} {name}",
            )


def test_loss_and_gradients_equal_the_reference_in_float32(golden):
    data = golden("vmf_softmax_loss")
    for case in cases(data):
        loss, inputs = golden_loss(data, case, torch.float32)
        loss.backward()
        expected = float(data[f"{case}/loss_stable_f64"])
        tolerance = 2e-6 if inputs["z"].shape[1] <= 128 else 3e-5
        # the overflow cases have losses in the hundreds: there float32's own digits are the limit
        assert abs(loss.item() - expected) <= max(tolerance, 1e-6 * abs(expected)), case
        for name, tensor in inputs.items():
            gradient = data[f"{case}/grad_{name}"]
            np.testing.assert_allclose(
                tensor.grad.numpy(),
                gradient,
                rtol=0,
                atol=1e-4 * np.abs(gradient).max(),
                err_msg=f"{case} {name}",
            )


def test_exact_loss_equals_a_slow_loop_in_three_dimensions():
    """There C(kappa) = kappa / (4 pi sinh kappa) and A(kappa) = coth kappa - 1 / kappa."""
    z, w, y = 3 * normal(4, 3), 2 * normal(5, 3, seed=1), torch.tensor([0, 3, 1, 4])
    directions, beta = unit(4, 6, 3, seed=2), 2.5

    def log_c(k: float) -> float:
        return math.log(k / math.sinh(k))

    def mean(v: torch.Tensor) -> torch.Tensor:
        k = float(v.norm())
        return (1 / math.tanh(k) - 1 / k) * v / k

    total = 0.0
    for b in range(4):
        for s in range(6):
            terms = [
                math.exp(
                    log_c(float(v.norm())) - log_c(float((v + beta * directions[b, s]).norm()))
                )
                for v in w
            ]
            total += math.log(sum(terms)) / 6
        total -= beta * float(mean(z[b]) @ mean(w[y[b]]))
    loss = vmf_softmax_loss(z, w, y, torch.tensor(beta), directions)
    assert loss.item() == pytest.approx(total / 4, rel=1e-9)


@pytest.mark.parametrize("dim", (2, 8))
def test_loss_bounds_the_expected_cross_entropy_from_above(dim):
    z, w, y = 5 * normal(3, dim), 4 * normal(4, dim, seed=1), torch.tensor([0, 3, 1])
    n, beta = 4000, torch.tensor(3.0).double()
    generator = torch.Generator().manual_seed(0)
    kappa, mu = VonMisesFisher.split(torch.cat([z, w]))
    draws = directional.sample(mu, kappa, n, gradient=False, generator=generator)
    logits = beta * torch.einsum("sbd,scd->sbc", draws[:, :3], draws[:, 3:])
    entropies = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), y.repeat(n), reduction="none"
    )
    bound = vmf_softmax_loss(z, w, y, beta, draws[:, :3].transpose(0, 1))
    assert bound > entropies.mean() - 5 * entropies.std() / (3 * n) ** 0.5
    assert bound < entropies.mean() + 0.5  # and it is not idle


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_loss_of_wide_laws_is_the_logarithm_of_the_number_of_classes(normalizer):
    z, w = 1e-4 * normal(6, 16), 1e-4 * normal(50, 16, seed=1)
    loss = vmf_softmax_loss(z, w, torch.arange(6), torch.tensor(1.0), unit(6, 4, 16), normalizer)
    assert loss.item() == pytest.approx(math.log(50) + 0.5 / 16, abs=0.01)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("dim, kappa, beta", [(3, 5e3, 1e3), (128, 5e3, 134.0), (512, 1e-3, 16.0)])
def test_loss_and_gradients_stay_finite_in_float32(normalizer, dim, kappa, beta):
    w = (kappa * unit(7, dim, seed=1)).float().requires_grad_()
    z = (kappa * unit(5, dim)).float().requires_grad_()
    tau = torch.tensor(-math.log(beta), requires_grad=True)
    loss = vmf_softmax_loss(
        z, w, torch.arange(5), (-tau).exp(), unit(5, 3, dim).float(), normalizer
    )
    loss.backward()
    assert all(torch.isfinite(t).all() for t in (loss, w.grad, z.grad, tau.grad))


def test_an_embedding_of_length_zero_is_a_wide_law():
    method = build()
    embeddings = torch.zeros(4, 3, requires_grad=True)
    loss = method.loss(embeddings, torch.arange(4))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(method.predict(embeddings)).all()


def test_both_normalizers_agree_in_high_and_differ_in_low_dimensions():
    def gap(dim: int) -> float:
        z, w = dim * unit(6, dim), dim * unit(9, dim, seed=1)
        arguments = (z, w, torch.arange(6), torch.tensor(4.0), unit(6, 5, dim, seed=2))
        exact, approx = (vmf_softmax_loss(*arguments, n) for n in ("exact", "approx"))
        return abs(float(exact - approx))

    assert gap(256) < 5e-3 < gap(2)


def test_draws_follow_the_chosen_sampler_and_the_seed():
    embeddings = 4 * normal(6, 8)
    kappa, mu = VonMisesFisher.split(embeddings)
    for sampler in ("exact", "reference", "power"):
        method = build(embedding_dim=8, vmf_sampler=sampler).double()
        torch.manual_seed(3)
        draws = method.draw(embeddings, gradient=False)
        assert draws.shape == (6, 10, 8)
        torch.manual_seed(3)
        expected = directional.sample(mu, kappa, 10, gradient=False, sampler=sampler)
        assert torch.equal(draws, expected.transpose(0, 1))


def test_predictions_repeat_with_their_generator():
    method, embeddings = build(), 4 * normal(6, 3).float()
    first, again, other = (
        method.logits(embeddings, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (6, 10, 5)
    assert not first.requires_grad


@pytest.mark.parametrize("rule", ("exact", "reference"))
def test_prepare_brings_embeddings_to_the_wanted_concentration(rule, caplog):
    method = build(kappa_init=rule)
    with caplog.at_level(logging.INFO):
        method.prepare(lambda: images().split(10), torch.full((5,), 8))
    assert f"Set z-kappa-mult: {method.kappa_scale:.4f}" in caplog.text
    method.train()
    embedded = torch.cat([method.embed(block) for block in images().split(10)])
    if rule == "exact":
        reached = directional.mean_cosine(embedded.square().sum(-1).mean().sqrt(), 3)
        assert reached.item() == pytest.approx(0.4, abs=1e-4)
    else:
        assert embedded.abs().mean().item() == pytest.approx(0.4 / 0.84 * 2 / 3**0.5, rel=1e-4)


@pytest.mark.parametrize("training", (True, False))
def test_prepare_leaves_statistics_mode_and_randomness_untouched(training):
    method = build().train(training)
    before = {k: v.clone() for k, v in method.state_dict().items()}

    def augmented():
        return (block + torch.rand(1) for block in images().split(10))

    torch.manual_seed(7)
    state = torch.get_rng_state()
    method.prepare(augmented, torch.full((5,), 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert method.training == method.arch.norm.training == training
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"kappa_scale"}


def test_prepare_does_not_mind_a_last_batch_of_one_image():
    method, whole = build(), build()
    method.prepare(lambda: images(21).split(10), torch.ones(5))
    whole.prepare(lambda: images(21)[:20].split(10), torch.ones(5))
    assert method.kappa_scale == whole.kappa_scale
    with pytest.raises(ValueError, match="at least two training images"):
        method.prepare(lambda: images(1).split(1), torch.ones(5))


def test_class_weights_start_at_the_wanted_concentration():
    for dim, rule, expected in ((3, "exact", 0.4), (64, "exact", 0.4), (3, "reference", 0.3)):
        weights = build(20_000, dim, kappa_init=rule).class_weights
        length = weights.square().sum(-1).mean().sqrt()
        assert directional.mean_cosine(length, dim).item() == pytest.approx(expected, abs=3e-3)


def test_status_shows_temperature_scale_and_concentration():
    method = build()
    method.kappa_scale.fill_(2.5)
    kappas = method.class_weights.detach().norm(dim=-1)
    image = initial_kappa(0.4, 3)
    assert method.status() == {
        "temperature": 1.0,
        "kappa_scale": 2.5,
        "kappa": pytest.approx(kappas.mean().item()),
        "kappa_min": pytest.approx(kappas.min().item()),
        "kappa_max": pytest.approx(kappas.max().item()),
        "spread_cost": pytest.approx(spread_cost(1.0, kappas.mean().item(), image, 3)),
    }


@pytest.mark.parametrize("tau", (-200.0, 200.0, math.nan))
def test_a_status_of_a_run_that_diverged_can_be_written(tau):
    method = build()
    method.class_parameters.tau.data.fill_(tau)
    assert set(method.status()) >= {"kappa", "spread_cost"}
    method.class_parameters.weight.data.fill_(0.0)
    assert method.status()["kappa_min"] == 0.0


@pytest.mark.parametrize("key", ("z_kappa_mult", "z_mult"))
def test_a_checkpoint_of_2021_brings_its_scale(key):
    method = build()
    with pytest.raises(ValueError, match="neither z_kappa_mult nor z_mult"):
        method.from_reference_checkpoint(reference_checkpoint(method))
    value = random.Random(0).uniform(1, 9)
    method.from_reference_checkpoint(reference_checkpoint(method, **{key: np.float32(value)}))
    assert method.kappa_scale.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    "option, value",
    [
        ("normalizer", "fast"),
        ("vmf_sampler", "wood"),
        ("kappa_init", "big"),
        ("estimator", "mirror"),
    ],
)
def test_unknown_choices_list_the_known_ones(option, value):
    with pytest.raises(ValueError, match=f"method.params.{option} must be one of .*'{value}'"):
        build(**{option: value})


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        build(n_samples=0)
    with pytest.raises(ValueError, match="embedding_dim >= 2"):
        build(embedding_dim=1)
    with pytest.raises(ValueError, match=r"kappa_confidence must lie in \(0, 1\)"):
        VMFSoftmax(TinyArch(use_vmf=True, kappa_confidence=1.0), **OPTIONS)


def test_antithetic_loss_has_the_expectation_of_the_independent_one():
    embeddings, labels = 4 * normal(6, 3).float(), torch.arange(6) % 5
    means, errors = [], []
    for estimator in ("iid", "antithetic"):
        method = build(estimator=estimator)
        torch.manual_seed(1)
        losses = torch.stack([method.loss(embeddings, labels).detach() for _ in range(600)])
        means.append(losses.mean())
        errors.append(losses.var() / 600)
    assert abs(means[0] - means[1]) < 4 * sum(errors).sqrt()


NOT_FOR_PAIRS = (
    {"n_samples": 3},
    {"normalizer": "approx"},
    {"vmf_sampler": "reference"},
    {"vmf_sampler": "power"},
)


@pytest.mark.parametrize("options", NOT_FOR_PAIRS)
def test_pairs_are_refused_by_name_and_left_by_default_where_they_do_not_apply(options):
    with pytest.raises(ValueError, match="estimator=antithetic needs"):
        build(estimator="antithetic", **options)
    assert build(**options).estimator == "iid"


def test_pairs_are_the_default():
    assert build().estimator == "antithetic"
    assert VMFSoftmax(TinyArch(use_vmf=True), 4, "exact", "exact", "exact").estimator == (
        "antithetic"
    )
    assert build(estimator="iid").estimator == "iid"


def loss_and_gradients(loss, method: VMFSoftmax, embeddings: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(1)
    value = loss(embeddings, torch.arange(len(embeddings)) % 5)
    leaves = [embeddings, method.class_parameters.weight, method.class_parameters.tau]
    return [value, *torch.autograd.grad(value, leaves)]


def test_autocast_leaves_the_loss_in_full_precision(code):
    method, embeddings = build(5, 20), (9 * normal(6, 20)).float().requires_grad_()
    expected = loss_and_gradients(method.loss, method, embeddings)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss_and_gradients(method.loss, method, embeddings)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, expected, strict=True))


def test_half_precision_embeddings_are_fine(code):
    method, embeddings = build(5, 20), (9 * normal(6, 20)).bfloat16().requires_grad_()
    loss, grad, *_ = loss_and_gradients(method.loss, method, embeddings)
    assert loss.dtype == torch.float32
    assert grad.dtype == torch.bfloat16
    assert grad.isfinite().all()


def test_torch_compile_leaves_the_loss_as_it_is(code):
    method, embeddings = build(5, 20), (9 * normal(6, 20)).float().requires_grad_()
    expected = loss_and_gradients(method.loss, method, embeddings)
    compiled = torch.compile(method.loss, backend="eager")
    got = loss_and_gradients(compiled, method, embeddings)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_power_spherical_draws_change_loss_and_gradient_little():
    """By less than 3 % here: the draws alone are of another distribution."""
    embeddings, labels = 6 * normal(6, 8), torch.arange(6) % 5
    found = {}
    for sampler in ("exact", "power"):
        torch.manual_seed(0)
        method = build(embedding_dim=8, n_samples=20_000, estimator="iid", vmf_sampler=sampler)
        method, z = method.double(), embeddings.clone().requires_grad_()
        loss = method.loss(z, labels)
        found[sampler] = [loss.detach(), torch.autograd.grad(loss, z)[0]]
    for exact, power in zip(found["exact"], found["power"], strict=True):
        assert 0 < (exact - power).norm() < 0.03 * exact.norm()


def test_classes_cannot_be_divided_with_other_samplers():
    with pytest.raises(ValueError, match="vmf_sampler=exact, got exact and power"):
        build(vmf_sampler="power").sharded_parameters()
