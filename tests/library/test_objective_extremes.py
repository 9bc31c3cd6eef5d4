"""Objectives on numbers that float32 can barely hold: of a network, and of an option."""

from collections.abc import Iterator
from numbers import Real

import pytest
import torch

import vmf_embeddings as vmf
from tests.library.test_objective_contract import COUNTS, N_EPOCHS, B, C, D, F, group_of, names
from vmf_embeddings import catalogue
from vmf_embeddings.geometry import ExpectedLikelihood, VonMisesFisher, kappa_mu

LABELS = torch.arange(B) % C
EUCLIDEAN = {"angular", "npair", "lifted"}  # their losses grow with squared lengths
UNBOUNDED = {"lws", "loss_prediction"}  # so do their learned factors of logits and features


def made(key: str, **options) -> vmf.Objective:
    torch.manual_seed(0)
    known = {"n_classes": C, "n_features": F, "n_epochs": N_EPOCHS, "class_counts": COUNTS}
    loss_fn = vmf.objective(key, embedding_dim=D, **known, **options)
    if "class means" in loss_fn.needs:
        loss_fn.fit(torch.randn(40, D), torch.arange(40) % C)
    if "class weights" in loss_fn.needs:
        loss_fn.set_class_weights(torch.randn(C, D))
    return loss_fn


def everything_of(loss_fn: vmf.Objective, embeddings: torch.Tensor) -> Iterator[torch.Tensor]:
    """The loss, all its gradients and the predictions."""
    shapes = {"features": (B, F), "teacher_logits": (B, C)}
    context = {name: torch.randn(shape) for name, shape in shapes.items() if name in loss_fn.needs}
    rows = embeddings.requires_grad_()
    loss = loss_fn(rows, LABELS, **context)
    if loss.requires_grad:
        loss.backward()
    yield loss.detach()
    yield from (p.grad for p in [rows, *loss_fn.parameters()] if p.grad is not None)
    if loss_fn.method.has_logits:
        yield loss_fn.predict(rows.detach()).detach()


@pytest.mark.parametrize("key", names())
def test_rows_of_any_length_give_finite_losses_gradients_and_predictions(key):
    lengths = (0.0, 1e-38, 1e15) if key in EUCLIDEAN | UNBOUNDED else (0.0, 1e-38, 1e15, 1e20, 1e30)
    directions = torch.nn.functional.normalize(torch.randn(B, D), dim=1)
    for length in lengths:
        for found in everything_of(made(key), length * directions):
            assert found.isfinite().all(), length


def numbers(key: str) -> Iterator[str]:
    """Names of the options of an objective that are numbers, by their defaults."""
    if group_of(key)[0] == "method":
        yield from ("init_temp", "kappa_confidence")
    for name, default in catalogue.option(*group_of(key)).get("params", {}).items():
        if isinstance(default, Real) and not isinstance(default, bool):
            yield name


@pytest.mark.parametrize("key", names())
def test_an_extreme_option_is_refused_by_its_name_or_gives_a_finite_loss(key):
    for name in numbers(key):
        for value in (1e-40, 1e-12, 1e12, float("inf"), -100.0):
            try:
                loss_fn = made(key, **{name: value})
            except ValueError as refused:
                assert name in str(refused)
                continue
            for found in everything_of(loss_fn, torch.randn(B, D)):
                assert found.isfinite().all(), (name, value)


def test_temperatures_that_have_no_inverse_are_refused():
    for temperature in (0.0, -1.0, 1e-40, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="temperature: expected a number of 1e-12 to 1e"):
            made("elk").set_temperature(temperature)


def test_distributions_of_long_rows_have_their_directions():
    rows = torch.randn(B, D, generator=torch.Generator().manual_seed(0))
    longest = 1e15 * rows / rows.abs().amax(1, keepdim=True)
    torch.manual_seed(0)
    draws = VonMisesFisher().sample(1e30 * rows, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(draws, VonMisesFisher().sample(longest, 3))
    others = rows.flip(1)
    alike = ExpectedLikelihood().similarity(1e30 * rows, 1e30 * others)
    expected = ExpectedLikelihood().similarity(longest, 1e30 * others)
    torch.testing.assert_close(alike, expected)


def test_parameters_of_distributions_are_scaled_embeddings_to_the_last_bit():
    rows = torch.randn(B, D, generator=torch.Generator().manual_seed(0))
    assert kappa_mu(rows, torch.tensor(3.0)).equal(3 * rows)
    assert kappa_mu(1e38 * rows, 30.0).equal(1e15 * rows.sign())
