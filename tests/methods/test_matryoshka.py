"""Laws of Matryoshka training: a weighted sum of one objective's losses on prefixes."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import vmf_embeddings as vmf
from tests.conftest import cases, load_golden
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.matryoshka import Matryoshka
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE

GOLDEN = load_golden("compact")
B, C, D, F = 24, 5, 16, 20
DIMS = (16, 8, 3)
LABELS = torch.arange(B) % C
COUNTS = [40, 20, 9, 5, 3]
# objective -> what it takes, of every kind that there is
OBJECTIVES = {
    "normalized_sce": {},
    "unnormalized_sce": {},
    "arcface": {},
    "vmf_softmax": {"n_samples": 2},
    "balanced_softmax": {"class_counts": COUNTS},
    "ldam": {"class_counts": COUNTS},
    "tvmf": {},
    "lws": {},
    "margin": {},
    "triplet": {"miner": "semihard"},
    "histogram": {},
    "proxy_anchor": {},
    "soft_triple": {},
    "s2sd": {"n_features": F},
}
RANDOM = ("vmf_softmax", "triplet")
each_objective = pytest.mark.parametrize("name", OBJECTIVES)


def made(name: str, dim: int = D, **options: object) -> vmf.Objective:
    torch.manual_seed(0)
    options = {**OBJECTIVES[name], **options}
    made = vmf.objective(name, embedding_dim=dim, n_classes=C, **options).double()
    made.begin_epoch(5)
    return made


def matryoshka(name: str, **options: object) -> vmf.Objective:
    torch.manual_seed(0)
    usual = {"dims": DIMS, **OBJECTIVES[name], **options}
    made = vmf.objective("matryoshka", objective=name, embedding_dim=D, n_classes=C, **usual)
    made.double().begin_epoch(5)
    return made


def fill_class_weights(*objectives: vmf.Objective) -> None:
    for each in objectives:
        if "class weights" in each.needs:
            each.set_class_weights(normal(*each.class_weights.shape, seed=9))


def result(objective: vmf.Objective, rows: Tensor, seed: int = 4) -> tuple[Tensor, Tensor, dict]:
    """Loss, gradient of the rows, gradients of the parameters by the end of their names."""
    rows = rows.clone().requires_grad_()
    context = {"features": normal(B, F, seed=2)} if "features" in objective.needs else {}
    objective.zero_grad()
    torch.manual_seed(seed)
    loss = objective(rows, LABELS, **context)
    if loss.requires_grad:
        loss.backward()
    own = {name.removeprefix("method.").removeprefix("objective."): p.grad
           for name, p in objective.named_parameters()}  # fmt: skip
    return loss.detach(), rows.grad, own


@each_objective
def test_all_dimensions_alone_are_the_objective_itself_to_the_last_bit(name):
    whole, alone = matryoshka(name, dims=[D]), made(name)
    fill_class_weights(whole, alone)
    for ours, theirs in zip(result(whole, normal(B, D)), result(alone, normal(B, D)), strict=True):
        if isinstance(ours, dict):
            assert ours.keys() == theirs.keys()
            for key, gradient in theirs.items():
                torch.testing.assert_close(ours[key], gradient, rtol=0, atol=0)
        else:
            assert torch.equal(ours, theirs)


@each_objective
@pytest.mark.parametrize("separate_heads", (False, True))
def test_loss_and_gradient_are_sums_over_prefixes_of_the_objective_on_each(name, separate_heads):
    weights = [1.0, 0.5, 2.0]
    whole = matryoshka(name, weights=weights, separate_heads=separate_heads)
    fill_class_weights(whole)
    rows, total, gradient = normal(B, D), 0.0, torch.zeros(B, D).double()
    state = whole.method.objective.state_dict()
    random = torch.Generator().manual_seed(4)
    for dim, weight in zip(DIMS, weights, strict=True):
        alone = made(name, dim)
        own = state
        if separate_heads and dim < D:
            own = whole.method.heads[str(dim)].state_dict()
        cut = {key: cut_to(own[key], tensor) for key, tensor in alone.method.state_dict().items()}
        alone.method.load_state_dict(cut)
        alone._missing.clear()
        torch.manual_seed(4)  # then on to where the prefixes before have left the generator
        torch.set_rng_state(random.get_state())
        loss, own_gradient, _ = result_here(alone, rows[:, :dim])
        random.set_state(torch.get_rng_state())
        total, gradient[:, :dim] = total + weight * loss, gradient[:, :dim] + weight * own_gradient
    loss, found, _ = result(whole, rows)
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(found, gradient)


def result_here(objective: vmf.Objective, rows: Tensor) -> tuple[Tensor, Tensor, dict]:
    """As `result`, with the random numbers that come next."""
    rows = rows.clone().requires_grad_()
    context = {"features": normal(B, F, seed=2)} if "features" in objective.needs else {}
    loss = objective.method.loss(rows, LABELS, **context)
    loss.backward()
    return loss.detach(), rows.grad, {}


def cut_to(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor[tuple(slice(0, n) for n in like.shape)].clone()


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_loss_and_gradients_equal_the_golden(case):
    data = {key.split("/", 1)[1]: GOLDEN[key] for key in GOLDEN if key.startswith(f"{case}/")}
    rows = torch.from_numpy(data["embeddings"]).double().requires_grad_()
    labels = torch.from_numpy(np.unique(data["labels"], return_inverse=True)[1])
    weights = torch.from_numpy(data["matryoshka/class_weights"]).double()
    dims, factors = data["dims"].tolist(), data["matryoshka/dim_weights"].tolist()
    objective = vmf.objective(
        "matryoshka", embedding_dim=rows.shape[1], n_classes=len(weights), dims=dims,
        weights=factors,
    ).double()  # fmt: skip
    objective.set_class_weights(weights)
    objective.method.objective.class_parameters.tau.data.fill_(
        -float(np.log(data["matryoshka/scale"]))
    )
    loss = objective(rows, labels)
    loss.backward()
    torch.testing.assert_close(
        loss.item(), float(data["matryoshka/formula_loss"]), rtol=1e-6, atol=0
    )
    # the original lengths of rows divide by 1e-12 at least: rows of length 0 are left out
    nonzero = np.abs(data["matryoshka/formula_grad_embeddings"]).max(1) < 1e6
    np.testing.assert_allclose(
        rows.grad[nonzero],
        data["matryoshka/formula_grad_embeddings"][nonzero],
        rtol=1e-6,
        atol=1e-9,
    )
    np.testing.assert_allclose(
        objective.class_weights.grad, data["matryoshka/formula_grad_weights"], rtol=1e-6, atol=1e-9
    )


def tiny(wrapped=NormalizedSCE, *, dim: int = D, seed: int = 0, **options: object) -> Matryoshka:
    torch.manual_seed(seed)
    usual = {"dims": None, "weights": None, "subset_per_step": None, "separate_heads": False}
    return Matryoshka(TinyArch(C, dim), wrapped, **(usual | options)).double()


def batch() -> dict[str, Tensor]:
    return {"examples": normal(B, 1, 4, 4), "ids": LABELS}


@pytest.mark.parametrize(("dim", "dims"), [(64, (64, 32, 16, 8)), (100, (100, 50, 25, 12)),
                                           (16, (16, 8)), (15, (15,)), (3, (3,))])  # fmt: skip
def test_without_dims_they_are_halved_down_to_8(dim, dims):
    assert tiny(dim=dim).dims == dims


def test_dims_are_sorted_falling_with_their_weights():
    method = tiny(dims=[3, 16, 8], weights=[0.1, 1, 0.5])
    assert method.dims == (16, 8, 3)
    assert method.weights == (1, 0.5, 0.1)


@pytest.mark.parametrize("separate_heads", (False, True))
def test_a_training_step_reaches_every_parameter_and_groups_are_a_partition(separate_heads):
    method = tiny(dims=DIMS, separate_heads=separate_heads, subset_per_step=1)
    for _ in range(3):
        method.zero_grad()
        method(batch()).backward()
        assert all(p.grad is not None for p in method.parameters())
    groups = [id(p) for group in method.param_groups(0.1) for p in group["params"]]
    assert sorted(groups) == sorted(id(p) for p in method.parameters() if p.requires_grad)


def test_a_subset_per_step_draws_prefixes_and_evaluation_takes_all():
    method, every = (tiny(dims=DIMS, subset_per_step=n) for n in (2, None))
    rows = method.embed(batch()["examples"]).detach()
    alone = [every._on_prefix("loss", dim, rows, LABELS).detach() for dim in DIMS]
    pairs = {float(a + b) for i, a in enumerate(alone) for b in alone[i + 1 :]}
    found = {float(method.loss(rows, LABELS).detach()) for _ in range(60)}
    assert len(found) == 3
    assert all(min(abs(x - y) for y in pairs) < 1e-12 for x in found)
    torch.testing.assert_close(method.eval().loss(rows, LABELS), every.eval().loss(rows, LABELS))


@pytest.mark.parametrize("separate_heads", (False, True))
def test_logits_of_a_prefix_are_those_of_its_class_weights(separate_heads):
    method = tiny(UnnormalizedSCE, dims=DIMS, separate_heads=separate_heads)
    rows = normal(B, D)
    weights = method.heads["8"].class_weights if separate_heads else method.class_weights[:, :8]
    torch.testing.assert_close(method.prefix_logits(rows, 8), rows[:, :8] @ weights.T)
    torch.testing.assert_close(method.prefix_logits(rows, D), method.logits(rows))
    with pytest.raises(ValueError, match=r"one of \[16, 8, 3\], got 4"):
        method.prefix_logits(rows, 4)


@pytest.mark.parametrize("separate_heads", (False, True))
def test_a_copy_and_a_state_dict_keep_loss_and_predictions(separate_heads):
    method, other = (
        tiny(dims=DIMS, separate_heads=separate_heads, seed=seed).eval() for seed in (1, 2)
    )
    other.load_state_dict(method.state_dict())
    rows = normal(B, D)
    with torch.no_grad():
        copied = copy.deepcopy(method)
        method.objective.class_weights.zero_()  # a copy has tensors of its own
        assert not torch.equal(copied.loss(rows, LABELS), method.loss(rows, LABELS))
    torch.testing.assert_close(copied.loss(rows, LABELS), other.loss(rows, LABELS))
    prefixes = {"dims": [16, 8, 3], "separate_heads": separate_heads}
    assert copied.describe() == {"prefixes": prefixes}


def test_initial_weights_are_those_of_the_objective_alone():
    method = tiny(dims=DIMS)
    torch.manual_seed(0)
    alone = NormalizedSCE(TinyArch(C, D)).double()
    assert torch.equal(method.class_weights, alone.class_weights)
    assert torch.equal(method.arch.projection.weight, alone.arch.projection.weight)


def classifier(arch: TinyArch) -> Method:
    from vmf_embeddings.heads.linear import LinearHead
    from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax

    return Classifier(arch, partial(LinearHead, bias=True), BalancedSoftmax(), 0.0)


def test_class_counts_reach_every_prefix():
    method = tiny(classifier, dims=DIMS)
    method.set_class_counts(torch.tensor(COUNTS))
    head, rows = method.classifier, normal(B, D)
    prior = torch.tensor(COUNTS).double().log()
    wanted = sum(
        torch.nn.functional.cross_entropy(
            rows[:, :m] @ head.weight[:, :m].T + head.bias + prior, LABELS
        )
        for m in DIMS
    )
    torch.testing.assert_close(method.loss(rows, LABELS), wanted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dims": [8, 4]}, "with 16"),
        ({"dims": [16, 17]}, "1 to 16"),
        ({"dims": [16, 8, 8]}, "different"),
        ({"dims": [16, 0]}, "1 to 16"),
        ({"dims": [16, 8.5]}, "whole"),
        ({"dims": [16, 8], "weights": [1]}, "2 numbers"),
        ({"dims": [16, 8], "weights": [1, -1]}, ">= 0"),
        ({"dims": [16, 8], "weights": [0, 0]}, "not all 0"),
        ({"dims": [16, 8], "subset_per_step": 3}, "1 to 2"),
        ({"dims": [16, 8], "subset_per_step": 0}, "1 to 2"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nir", "flow"),
        ("hyperbolic_sce", "Poincare"),
        ("fsgl", "training step of its own"),
        ("dive", "teacher"),
        ("paco", "queue"),
    ],
)
def test_objectives_that_mean_nothing_on_prefixes_are_refused(name, words):
    with pytest.raises(ValueError, match=words):
        vmf.objective("matryoshka", objective=name, embedding_dim=D, n_classes=C)


def test_one_dimension_of_a_von_mises_fisher_distribution_is_refused():
    with pytest.raises(ValueError, match="2 dimensions or more"):
        matryoshka("vmf_softmax", dims=[D, 1])


@pytest.mark.parametrize("subset", [None, 1])
def test_all_prefixes_count_a_batch_once(subset):
    """Teaching by the features sets in for every prefix with the same batch."""
    delay = 2

    def taught_after(batches: int) -> vmf.Objective:
        options = {"name": "s2sd", "feature_weight": 9.0, "delay": batches}
        return matryoshka("s2sd", criterion=options, subset_per_step=subset)

    late, early, never = (taught_after(batches) for batches in (delay, 0, 99))
    rows = normal(B, D, seed=1)
    for batch in range(4):
        loss = result(late, rows)[0]
        assert loss == result(early if batch >= delay else never, rows)[0]
    assert late.method.wrapped.criterion.delayed == 4
