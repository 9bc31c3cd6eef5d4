"""A memory of earlier batches: the loss is that of the rows joined by hand, gradients and state."""

import itertools
import math
from importlib.util import find_spec

import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import normalize

from tests.compiler import fresh_compiler
from tests.criteria.fixture import LABELS, PAIRED, embeddings
from tests.criteria.made import DIM, N_CLASSES, NAMES, made, node
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.criteria.comparisons import (
    all_triplets,
    masked_pairs,
    masked_triplets,
    positive_and_negative_pairs,
)
from vmf_embeddings.methods.cross_batch_memory import CrossBatchMemory
from vmf_embeddings.methods.dml import DML, WITH_MEMORY
from vmf_embeddings.methods.matryoshka import Matryoshka
from vmf_embeddings.miners.distance import DistanceMiner
from vmf_embeddings.miners.intra_random import IntraRandomMiner
from vmf_embeddings.miners.npair import NPairMiner
from vmf_embeddings.miners.random import RandomMiner
from vmf_embeddings.miners.semihard import SemihardMiner
from vmf_embeddings.miners.softhard import SofthardMiner
from vmf_embeddings.training.optimizers import sgd, sharpness_aware
from vmf_embeddings.training.step import step_for

X = embeddings()
CAN = [name for name in NAMES if made(name).takes_memory]
BATCHES = [(X[i : i + 4], LABELS[i : i + 4]) for i in (0, 4, 8)]


def dml(name, size, start=0, miner=None, **options) -> DML:
    torch.manual_seed(0)
    criterion = assembly.instantiate("criterion", node(name, **options))
    return DML(TinyArch(N_CLASSES, DIM), criterion, miner, size, start).double()


def losses(method, batches=BATCHES):
    return [method.loss(x, y).item() for x, y in batches]


# criteria: the first rows as anchors

# the loss is a mean over anchors, each with as many terms, for two rows of every class
MEANS = {
    **dict.fromkeys(("supcon", "smooth_ap", "recall_at_k", "multisimilarity", "lifted"), {}),
    **dict.fromkeys(("contrastive", "triplet", "poincare_pairs", "npair", "angular"), {}),
    "roadmap": {"calibration_weight": 0.0},
}


@pytest.mark.parametrize("name", MEANS)
def test_losses_of_halves_of_the_anchors_average_to_that_of_all(name):
    criterion, x = made(name, **MEANS[name]), X.clone().requires_grad_()
    whole = criterion(x, PAIRED)
    halves = [criterion(x.roll(k, 0), PAIRED.roll(k), n_anchors=6) for k in (0, 6)]
    torch.testing.assert_close(sum(halves) / 2, whole)
    found, wanted = (torch.autograd.grad(v, x)[0] for v in (sum(halves) / 2, whole))
    torch.testing.assert_close(found, wanted)


def pairs_of(n_anchors, labels, same):
    every = itertools.product(range(n_anchors), range(len(labels)))
    return [(i, j) for i, j in every if i != j and (labels[i] == labels[j]) == same]


def test_margin_counts_the_active_pairs_of_the_anchors():
    criterion = made("margin")
    beta, m = criterion.beta[0].item(), criterion.margin
    d = torch.cdist(X, X)
    terms = [d[at] - beta + m for at in pairs_of(5, LABELS, True)]
    terms += [beta - d[at] + m for at in pairs_of(5, LABELS, False)]
    active = [float(t) for t in terms if t > 0]
    found = criterion(X, LABELS, n_anchors=5).item()
    assert found == pytest.approx(sum(active) / len(active), rel=1e-9)


def test_snr_has_the_variance_of_the_anchors():
    criterion, total, count = made("snr", reg_lambda=0.0), 0.0, 0
    for a, p in pairs_of(3, LABELS, True):
        for n in (n for n in range(12) if LABELS[n] != LABELS[a]):
            ratios = [float((X[a] - X[k]).var() / X[a].var()) for k in (p, n)]
            hinge = max(0.0, ratios[0] - ratios[1] + criterion.margin)
            total, count = total + hinge, count + (hinge > 0)
    found = criterion(X, LABELS, n_anchors=3).item()
    assert found == pytest.approx(total / count, rel=1e-9)


def test_histograms_hold_each_pair_of_the_batch_once_and_all_with_earlier_rows():
    criterion, s = made("histogram", n_nodes=1001), X @ X.T
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 12)]
    positive = [float(s[at]) for at in pairs if LABELS[at[0]] == LABELS[at[1]]]
    negative = [float(s[at]) for at in pairs if LABELS[at[0]] != LABELS[at[1]]]
    above = sum(n > p for p in positive for n in negative) / (len(positive) * len(negative))
    assert criterion(X, LABELS, n_anchors=5).item() == pytest.approx(above, abs=0.01)


def test_multisimilarity_of_nir_has_means_over_the_anchors():
    criterion, s = made("multisimilarity_nir", margin=None), X @ X.T
    wanted = 0.0
    for same, sign, weight, threshold in zip(
        (True, False), (-1, 1), criterion.weights, criterion.thresholds, strict=True
    ):
        sums = [0.0] * 5
        for i, j in pairs_of(5, LABELS, same):
            sums[i] += math.exp(sign * weight * (float(s[i, j]) - threshold))
        mean = sum(math.log1p(v) for v in sums) / 5
        wanted += math.log1p(math.exp(mean)) / weight
    assert criterion(X, LABELS, n_anchors=5).item() == pytest.approx(wanted, rel=1e-9)


def test_roadmap_calibrates_the_pairs_of_the_anchors():
    options = made("roadmap"), made("roadmap", calibration_weight=0.0)
    found = options[0](X, LABELS, n_anchors=5) - options[1](X, LABELS, n_anchors=5)
    s, (pull, push) = X @ X.T, options[0].thresholds
    terms = [
        [pull - float(s[at]) for at in pairs_of(5, LABELS, True)],
        [float(s[at]) - push for at in pairs_of(5, LABELS, False)],
    ]
    active = [[t for t in each if t > 0] for each in terms]
    wanted = sum(sum(each) / max(1, len(each)) for each in active)
    assert found.item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["mcinfonce", "hib"])
def test_pairs_of_draws_are_those_of_the_anchors(name):
    """The mean over anchors, each with as many pairs, of certain distributions: no draw differs."""
    criterion, x = made(name), 1e12 * X
    whole = criterion(x, PAIRED)
    halves = [criterion(x.roll(k, 0), PAIRED.roll(k), n_anchors=6) for k in (0, 6)]
    torch.testing.assert_close(sum(halves) / 2, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_masked_pairs_and_triplets_of_anchors_are_those_that_there_are(n):
    for one, other in zip(
        masked_triplets(LABELS, n).compact(), all_triplets(LABELS, n), strict=True
    ):
        assert torch.equal(one, other)
    of_anchors = positive_and_negative_pairs(LABELS, None, n)
    for masked, pairs in zip(masked_pairs(LABELS, n), of_anchors, strict=True):
        at = masked.valid.nonzero(as_tuple=True)
        assert torch.equal(masked.anchor.expand_as(masked.valid)[at], pairs.anchor)
        assert torch.equal(masked.other.expand_as(masked.valid)[at], pairs.other)


@pytest.mark.parametrize(
    "miner",
    [
        *(DistanceMiner(0.5, 1.4, "standard"), SemihardMiner(0.2), SofthardMiner()),
        *(RandomMiner(), NPairMiner()),
    ],
)
def test_miners_choose_partners_of_the_anchors_among_all_rows(miner):
    found = [miner(X, PAIRED, torch.Generator().manual_seed(k), n_anchors=5) for k in range(30)]
    anchor, positive, negative = (torch.cat(rows) for rows in zip(*found, strict=True))
    assert anchor.max() < 5 <= negative.max()
    assert (PAIRED[anchor] == PAIRED[positive]).all() and (anchor != positive).all()
    assert (PAIRED[anchor] != PAIRED[negative]).all()
    assert set(positive.tolist()) >= {0, 1, 2, 3, 5}


def test_triplets_within_a_class_have_their_anchor_in_the_batch():
    found = IntraRandomMiner()(X, PAIRED, torch.Generator().manual_seed(0), n_anchors=5)
    assert len(found.anchor) == 5 and found.anchor.max() < 5
    assert (PAIRED[found.anchor] == PAIRED[found.negative]).all()


# the memory


@pytest.mark.parametrize("name", CAN)
def test_the_loss_is_that_of_the_batch_joined_with_earlier_rows_by_hand(name):
    needs_miner = made(name).takes_all_triplets
    miner = NPairMiner() if needs_miner else None
    method = dml(name, 8, miner=miner)
    losses(method, BATCHES[:2])
    x = X[8:].clone().requires_grad_()
    torch.manual_seed(1)
    found = method.loss(x, LABELS[8:])
    criterion, again = made(name), X[8:].clone().requires_grad_()
    rows = criterion.prepare_embeddings(torch.cat([again, X[:8]]))
    labels = torch.cat([LABELS[8:], LABELS[:8]])
    torch.manual_seed(1)
    mined = miner(rows.detach(), labels, n_anchors=4) if miner else None
    wanted = criterion(rows, labels, mined, n_anchors=4)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)  # the memory is in float64
    grads = (torch.autograd.grad(v, z)[0] for v, z in ((found, x), (wanted, again)))
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-7)
    assert found.item() != pytest.approx(dml(name, 0, miner=miner).loss(x, LABELS[8:]).item())


def test_memory_of_size_0_is_none_and_before_its_start_none_counts():
    plain, waiting, begun = dml("supcon", 0), dml("supcon", 8, start=2), dml("supcon", 8)
    assert not any("memory" in key for key in plain.state_dict())
    of_plain, of_waiting, of_begun = (losses(method) for method in (plain, waiting, begun))
    assert of_waiting[:2] == of_plain[:2] and of_waiting[2] == of_begun[2] != of_plain[2]
    assert of_begun[0] == of_plain[0] and of_begun[1] != of_plain[1]


def test_the_oldest_rows_go_first_and_of_a_batch_that_is_too_large_the_last_stay():
    memory, rows = CrossBatchMemory(5, 1, 0), torch.arange(20.0)[:, None]
    seen = []
    for batch in rows[:18].split(3):
        memory.add(batch, batch[:, 0].long())
        seen += batch[:, 0].tolist()
        kept, labels = memory.joined(rows[:1], torch.zeros(1).long())
        assert sorted(kept[1:, 0].tolist()) == sorted(seen[-5:]) == sorted(labels[1:].tolist())
    memory.add(rows[:7], torch.arange(7))
    assert sorted(memory.labels.tolist()) == [2, 3, 4, 5, 6]


def test_own_rows_are_no_positives_of_their_own():
    """A row that is alone in its class has no positive in the step in which it enters."""
    method = dml("supcon", 12)
    assert method.loss(X[:6], torch.arange(6)) == 0
    assert method.loss(X[:6], torch.arange(6)) > 0


def test_evaluation_leaves_the_memory_as_it_is():
    method = dml("supcon", 8)
    losses(method, BATCHES[:1])
    before = {k: v.clone() for k, v in method.state_dict().items()}
    values = losses(method.eval(), BATCHES[1:2] * 2)
    assert values[0] == values[1] == losses(method.train(), BATCHES[1:2])[0]
    after = dml("supcon", 8)
    after.load_state_dict(before)
    assert losses(after, BATCHES[1:2])[0] == values[0]


@pytest.mark.parametrize("n_seen", [1, 2, 3])
def test_a_state_goes_on_where_it_was(n_seen):
    one, other = dml("multisimilarity", 6, start=2), dml("multisimilarity", 6, start=2)
    losses(one, BATCHES[:n_seen])
    losses(other)  # what it knows of its memory is replaced
    other.load_state_dict(one.state_dict())
    assert losses(one) == losses(other)
    assert torch.equal(one.memory.rows, other.memory.rows)


def test_rows_enter_once_where_an_optimizer_passes_twice_over_a_batch():
    known = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "fused": None}
    sharp = {"base": "sgd", "rho": 0.1, "adaptive": False, "betas": (0.9, 0.999)}
    for make in (sgd, lambda p, **k: sharpness_aware(p, **k, **sharp, batch_statistics="once")):
        accelerator, method = Accelerator(cpu=True), dml("contrastive", 20)
        model, optimizer = accelerator.prepare(method, make(method.parameters(), **known))
        step = step_for(model, optimizer, accelerator)
        for k in range(3):
            step({"examples": normal(4, 1, 4, 4, seed=k), "ids": torch.arange(4) % 2}, 1.0)
        assert method.memory.counts == (3, 12) and not method.memory.frozen


def test_a_compiled_loss_is_the_same_while_the_memory_fills():
    plain, compiled = dml("supcon", 10), dml("supcon", 10)
    batches = BATCHES * 4
    with fresh_compiler():
        counts = torch._dynamo.utils.counters["stats"]
        before = counts["unique_graphs"]  # of other tests
        loss = torch.compile(compiled.loss, backend="aot_eager")
        found = [loss(x, y).item() for x, y in batches]
        assert 1 <= counts["unique_graphs"] - before <= 2
    assert found == pytest.approx(losses(plain, batches))


# refusals


def test_the_message_names_the_criteria_that_take_a_memory():
    assert {name.strip() for name in WITH_MEMORY.replace(" or ", ",").split(",")} == set(CAN)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CAN])
def test_criteria_that_compare_no_rows_with_those_of_others_are_refused(name):
    with pytest.raises(ValueError, match=f"criterion={name} cannot compare .*contrastive, triplet"):
        dml(name, 8)


@pytest.mark.parametrize(
    ("name", "options"), [("triplet", {}), ("snr", {}), ("margin", {"variant": "reference"})]
)
def test_all_triplets_with_a_memory_are_refused_and_a_miner_is_named(name, options):
    with pytest.raises(ValueError, match="choose some by miner=distance"):
        dml(name, 8, **options)


@pytest.mark.parametrize(("size", "start"), [(-1, 0), (0, 5), (8, -1)])
def test_sizes_and_starts_that_make_no_sense_are_refused(size, start):
    with pytest.raises(ValueError, match="memory_size=0 memory_start=0 for no memory"):
        dml("supcon", size, start)


def test_columns_of_one_batch_have_no_rows_of_others():
    with pytest.raises(ValueError, match="criterion=poincare_pairs cannot compare"):
        dml("poincare_pairs", 8, pairs="columns")


def test_prefixes_of_embeddings_are_refused():
    with pytest.raises(ValueError, match="its memory holds whole embeddings"):
        Matryoshka(
            TinyArch(N_CLASSES, DIM),
            lambda arch: DML(arch, made("supcon").float(), None, 8),
            *([4, DIM], None, None, True),
        )


# the library pytorch-metric-learning

PML = pytest.mark.skipif(
    find_spec("pytorch_metric_learning") is None, reason="an optional library is missing"
)


def of_library(name, size):
    """`CrossBatchMemory` of the library; its rows are those of this batch too."""
    from pytorch_metric_learning import distances, losses, reducers

    lp = distances.LpDistance(normalize_embeddings=False)
    of = {
        "contrastive": lambda: losses.ContrastiveLoss(distance=lp, reducer=reducers.MeanReducer()),
        "multisimilarity": lambda: losses.MultiSimilarityLoss(alpha=2, beta=40, base=0.5),
        "supcon": lambda: losses.SupConLoss(temperature=0.1),
    }
    return losses.CrossBatchMemory(of[name](), DIM, memory_size=size).double()


OPTIONS = {"contrastive": {}, "supcon": {}, "multisimilarity": {"epsilon": None, "beta": 40.0}}


@PML
@pytest.mark.parametrize("name", OPTIONS)
def test_values_are_those_of_the_library_whose_memory_has_this_batch_too(name):
    theirs, ours = of_library(name, 10), dml(name, 6, **OPTIONS[name])
    labels = torch.arange(4) % 2  # each anchor has a positive: the library's mean is over all
    for k in range(5):  # the ring is full after three
        x = normalize(normal(4, DIM, seed=k), dim=-1)
        assert ours.loss(x, labels).item() == pytest.approx(theirs(x, labels).item(), rel=1e-6)


@PML
def test_gradients_are_those_of_the_library_where_rows_of_a_batch_are_far_apart():
    """The library has no gradient to the partner in the batch, as its memory has a copy of it."""
    theirs, ours = of_library("contrastive", 10), dml("contrastive", 8)
    for k in range(8):
        x, labels = normalize(normal(1, DIM, seed=k), dim=-1), torch.tensor([k % 3, 3])
        x = torch.cat([x, -x])  # at a distance of 2, where the loss of a negative is flat
        rows = [x.clone().requires_grad_() for _ in range(2)]
        values = ours.loss(rows[0], labels), theirs(rows[1], labels)
        if k:  # the first batch has nothing to compare
            grads = [torch.autograd.grad(v, r)[0] for v, r in zip(values, rows, strict=True)]
            along = grads[1] - (grads[1] * x).sum(1, keepdim=True) * x  # of the unit vector
            torch.testing.assert_close(grads[0], along, rtol=1e-6, atol=1e-8)
