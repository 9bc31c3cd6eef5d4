"""Every loss and miner of pytorch-metric-learning goes on from a checkpoint as if never stopped."""

import copy

import numpy as np
import pytest
import torch

from tests.methods.laws import normal
from tests.methods.test_pml import made_pml, spec
from vmf_embeddings.methods import pml, pml_numbers
from vmf_embeddings.methods.pml_trial import BASE, REASONS, TWO_VIEWS
from vmf_embeddings.untrusted.refused import Refused

pytest.importorskip("pytorch_metric_learning", reason="an extra: pytorch-metric-learning")
MODULES = pml.Builder({}).modules
LABELS = torch.arange(12) % 4
MEMORY = spec("CrossBatchMemory", loss="ContrastiveLoss", memory_size=20)  # wraps around in step 2
REQUIRED = {  # arguments that have no default
    "CrossBatchMemory": MEMORY,
    "MultipleLosses": spec("MultipleLosses", losses=["NTXentLoss", MEMORY]),
    "RankedListLoss": spec("RankedListLoss", margin=0.4, Tn=1, Tp=0),
    "ThresholdReducer": spec("ThresholdReducer", low=0.0),
    "MultipleReducers": spec("MultipleReducers", reducers={"loss": "SumReducer"}),
    "ClassWeightedReducer": spec("ClassWeightedReducer", weights=[1.0, 2.0, 1.0, 0.5]),
}
OF_WEIGHTS = ("CenterInvariantRegularizer", "RegularFaceRegularizer", "SparseCentersRegularizer")


def works(place):
    return [name for name in sorted(pml.classes(MODULES[place])) if name not in REASONS]


def options_of(place, name):
    given = REQUIRED.get(name, name)
    if place == "losses":
        return {"loss": given}
    if name == "SparseCentersRegularizer":
        sparse = spec(name, num_classes=4, centers_per_class=10)
        return {"loss": spec("SoftTripleLoss", weight_regularizer=sparse)}
    if name in OF_WEIGHTS:
        return {"loss": spec("ProxyAnchorLoss", weight_regularizer=name)}
    loss = "ContrastiveLoss" if place == "reducers" else "TripletMarginLoss"
    return {"loss": loss, place.removesuffix("s"): given}


def steps(method, first, last):
    """Steps of SGD on fixed embeddings; the random numbers of a step depend on its number."""
    optimizer = torch.optim.SGD([*method.parameters()], lr=0.1)
    losses = []
    for step in range(first, last):
        torch.manual_seed(step)
        np.random.seed(step)
        x = normal(12, 3, seed=step).double().requires_grad_()
        loss = method.loss(x, LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((float(loss), x.grad))
    return losses


ALL = [(place, name) for place in MODULES for name in works(place)]


@pytest.mark.parametrize(("place", "name"), ALL)
def test_two_steps_a_checkpoint_and_two_more_are_four(place, name, tmp_path):
    options = options_of(place, name)
    expected = steps(made_pml(**options), 0, 4)
    first = made_pml(**options)
    steps(first, 0, 2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    assert all(isinstance(value, torch.Tensor) for value in first.state_dict().values())
    second = made_pml(**options)
    steps(second, 7, 8)  # what a used object holds beforehand does not matter
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    for got, wanted in zip(steps(second, 2, 4), expected[2:], strict=True):
        assert got[0] == wanted[0]
        assert torch.equal(got[1], wanted[1])


def test_the_position_of_a_queue_is_in_the_checkpoint():
    method = made_pml(loss=MEMORY)
    assert not [key for key in method.state_dict() if key.startswith(pml_numbers.KEY)]
    steps(method, 0, 2)
    state = method.state_dict()
    assert float(state["plain_numbers.objective.queue_idx"]) == 4
    assert float(state["plain_numbers.objective.has_been_filled"]) == 1


def test_a_copy_has_its_own_numbers():
    method = made_pml(loss=MEMORY)
    steps(method, 0, 1)
    other = copy.deepcopy(method)
    steps(other, 1, 2)
    assert (method.objective.queue_idx, other.objective.queue_idx) == (12, 4)
    assert float(other.state_dict()["plain_numbers.objective.queue_idx"]) == 4


WRONG = [
    ("objective.queue_idx", torch.tensor(2.5), "expected a int"),
    ("objective.queue_idx", torch.tensor(-1.0), "expected a int"),
    ("objective.queue_idx", torch.tensor(float("nan")), "expected a int"),
    ("objective.has_been_filled", torch.tensor(3.0), "expected a bool"),
    ("objective.loss", torch.tensor(1.0), "no number"),
    ("objective.__class__", torch.tensor(1.0), "no number"),
    ("objective.queue_idx", torch.ones(2), "no number"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG)
def test_numbers_of_another_kind_are_refused(path, value, words):
    method = made_pml(loss=MEMORY)
    with pytest.raises(Refused, match=words):
        method.load_state_dict(method.state_dict() | {f"plain_numbers.{path}": value})


def test_an_older_checkpoint_is_read_and_its_forgotten_memory_is_said(caplog):
    method = made_pml(loss=MEMORY)
    steps(method, 0, 2)
    older = {k: x for k, x in method.state_dict().items() if not k.startswith(pml_numbers.KEY)}
    fresh = made_pml(loss=MEMORY)
    fresh.load_state_dict(older)
    assert "begins with an empty memory" in caplog.text
    assert fresh.objective.queue_idx == 0 and not fresh.objective.has_been_filled


def test_the_size_of_a_memory_limits_the_batch():
    assert made_pml(loss=MEMORY).max_batch_size == 20
    assert made_pml(loss=spec("MultipleLosses", losses=["NTXentLoss", MEMORY])).max_batch_size == 20
    assert made_pml(loss="NTXentLoss").max_batch_size is None


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_work_is_refused_with_the_reason(name):
    place = next(place for place in MODULES if name in pml.classes(MODULES[place]))
    with pytest.raises(ValueError, match=f"{name} .* does not fit here: {REASONS[name][:30]}"):
        made_pml(**options_of(place, name))


def test_reasons_hold(monkeypatch):
    """Without the table, each of the losses fails in its trial, in one way or another."""
    from vmf_embeddings.methods import pml_trial

    monkeypatch.setattr(pml_trial, "REASONS", {})
    two_views = {"SelfSupervisedLoss": spec("SelfSupervisedLoss", loss="NTXentLoss")}
    arguments = two_views | {"ManifoldLoss": spec("ManifoldLoss", l=3)}
    losses = [name for name in REASONS if name.endswith("Loss") and REASONS[name] != BASE]
    assert len(losses) == 4 and TWO_VIEWS in REASONS.values()
    for name in losses:
        with pytest.raises(ValueError, match="fails on a batch of labelled embeddings"):
            made_pml(loss=arguments.get(name, name))


def test_parts_that_do_not_fit_together_are_refused_before_training():
    with pytest.raises(ValueError, match="fails on a batch .*Triplet reduction not supported"):
        made_pml(loss="TripletMarginLoss", reducer="PerAnchorReducer")


def test_the_trial_changes_neither_states_nor_random_numbers(monkeypatch):
    def drawn():
        np.random.seed(3)
        method = made_pml(loss=MEMORY, miner="DistanceWeightedMiner")
        return method, torch.rand(3).tolist(), np.random.rand()

    method, *after = drawn()
    assert not method.objective.embedding_memory.any() and method.objective.queue_idx == 0
    monkeypatch.setattr(pml, "refuse_what_fails", lambda *_: None)
    assert drawn()[1:] == tuple(after)


def test_initial_weights_are_chosen_by_the_name_of_torchs_function():
    constant = spec("constant_", val=0.25)
    method = made_pml(loss=spec("ProxyAnchorLoss", weight_init_func=constant))
    assert bool((method.class_weights == 0.25).all())
    for name in ("SoftTripleLoss", "ArcFaceLoss", "NormalizedSoftmaxLoss"):
        loss = made_pml(loss=spec(name, weight_init_func="ones_")).objective
        assert all(bool((p == 1).all()) for p in loss.parameters())
    with pytest.raises(ValueError, match=r"torch\.nn\.init, one of .*xavier_uniform_.* got 'xav'"):
        made_pml(loss=spec("ProxyAnchorLoss", weight_init_func="xav"))
    with pytest.raises(ValueError, match="ProxyAnchorLoss of pytorch-metric-learning"):
        made_pml(loss=spec("ProxyAnchorLoss", weight_init_func=spec("normal_", sd=1)))
