"""The gradient of a batch that is cut into parts is that of the whole batch."""

import copy
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.contracts import test_methods as contract
from tests.criteria import made
from tests.methods.laws import TinyArch, normal
from tests.training.few_digits import trained
from tests.training.test_sharpness import sharp
from vmf_embeddings import miners
from vmf_embeddings.cli import assembly
from vmf_embeddings.heads import CosineHead
from vmf_embeddings.losses.class_balanced import ClassBalanced
from vmf_embeddings.losses.cost_sensitive import CostSensitive
from vmf_embeddings.losses.ib import InfluenceBalanced
from vmf_embeddings.losses.ldam import LDAM
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.matryoshka import Matryoshka
from vmf_embeddings.methods.nir import NIR
from vmf_embeddings.methods.nivmf import NivMF
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.class_sharding import shard_classes
from vmf_embeddings.training.global_batch import GlobalBatch
from vmf_embeddings.training.micro_batches import batch_gradient
from vmf_embeddings.training.model_and_optimizer import averaging_the_rest
from vmf_embeddings.training.processes import start
from vmf_embeddings.training.seeding import generator_states
from vmf_embeddings.training.step import step_for
from vmf_embeddings.untrusted.refused import Refused

B, C, D = 24, 5, 3


class PlainArch(TinyArch):
    """A backbone whose rows do not meet: without batch normalisation."""

    n_features = 8

    def __init__(self, *args, dropout=0.0, **head):
        super().__init__(*args, **head)
        self.norm = nn.Dropout(dropout) if dropout else nn.Identity()

    def project(self, features):
        return self.projection(features)


def classifier(loss):
    head = partial(CosineHead, bias=True, scale=None)
    return lambda arch: Classifier(arch, head, loss, 0.0)


def dml(name, miner=None, **options):
    return lambda arch: DML(
        arch,
        assembly.instantiate("criterion", made.node(name, **options)),
        miner() if miner else None,
    )


def of_yaml(name):
    return lambda arch: contract.make(name, arch)


def nir(arch):
    flow = {"blocks": 2, "depth": 3, "width": 6}
    weights = {"w_flow": 1.0, "w_align": 0.1, "noise": 0.1, "logmatch": 1.0, "pair_perc": 0.5}
    anchor = assembly.instantiate("criterion", made.node("proxy_anchor"))
    rates = {"proxy_lr_factor": 10, "flow_lr_factor": 5}
    return NIR(arch, anchor, None, flow, "nll_per_dim", **weights, **rates)


MAKE = {
    "class_balanced": classifier(ClassBalanced(0.9, 1.0, 0)),
    "cost_sensitive": classifier(CostSensitive(0.5)),
    "ldam": classifier(LDAM(0.5, 4.0, 0, 0.9)),
    "ib": classifier(InfluenceBalanced(100.0, 0.1, 0, "inverse", 0.9)),
    "drawn_prefixes": lambda arch: Matryoshka(arch, NormalizedSCE, [1, 2, 3], None, 1, True),
    "nir_drawn": nir,
    **{f"method {name}": of_yaml(name) for name in contract.NODES if name != "pml"},
    **{f"criterion {name}": dml(name) for name in made.NAMES if name not in ("margin", "triplet")},
    "views": dml("mcinfonce", positives="views"),
    "mined": dml("margin", lambda: miners.DistanceMiner(0.5, 1.4, "standard")),
    "memory": lambda arch: DML(arch, made.made("supcon").float(), None, memory_size=9),
    "semihard": dml("triplet", lambda: miners.SemihardMiner(0.2)),
}


def method_of(name, **options):
    torch.manual_seed(0)
    node = contract.method_class(name[7:]) if name.startswith("method ") else None
    vmf = bool(node and node.uses_vmf)
    arch = PlainArch(C, D, use_vmf=vmf, **options)
    method = MAKE[name](arch)
    if node and node.has_teacher():
        method.set_teacher(contract.build("unnormalized_sce").double())
    method.configure(margin_warmup_epochs=0, n_epochs=4)
    method.prepare(lambda: [images()], torch.arange(2, 2 + C))
    method.begin_epoch(2)
    return method.double()


def images():
    return normal(B, 1, 4, 4).float()


def batch_of(method, n_rows=B):
    views = method.batch_layout.views
    x = normal(n_rows, 1, 4, 4)
    labels = (torch.arange(n_rows) * 3) % C
    augmented = torch.stack([factor * x for factor in range(1, views + 1)], 1)
    return {"examples": augmented if views > 1 else x, "ids": labels}


def gradients(method, n_parts, batch, weight=0.7):
    """The loss, the gradients, the numbers drawn afterwards, and what was logged."""
    method.zero_grad()
    gradient = batch_gradient(method, Accelerator(cpu=True), n_parts)
    torch.manual_seed(4)
    loss = gradient(batch, weight)
    grads = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss, "next": torch.rand(3).double(), **grads}


def in_parts_by_hand(method, n_parts, batch, weight=0.7):
    """The weighted mean of the parts' losses, in one graph."""
    method.zero_grad()
    torch.manual_seed(4)
    images, labels = (batch[key].tensor_split(n_parts) for key in ("examples", "ids"))
    parts = zip(images, labels, strict=True)
    losses = [method({"examples": x, "ids": y}) * len(y) / len(batch["ids"]) for x, y in parts]
    loss = weight * torch.stack(losses).sum()
    loss.backward()
    grads = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "next": torch.rand(3).double(), **grads}


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        assert float((got[name] - value).abs().max()) <= 1e-12 * scale, name


def draws_for_rows(method):
    """Whether the loss of a row draws random numbers."""
    return isinstance(method, VMFSoftmax | NivMF)


@pytest.mark.parametrize("n_parts", [3, 5])
@pytest.mark.parametrize("name", MAKE)
def test_gradients_are_those_of_the_whole_batch(name, n_parts):
    method = method_of(name)
    batch = batch_of(method)
    by_hand = draws_for_rows(method) and method.loss_is_row_mean
    expected = in_parts_by_hand(method, n_parts, batch) if by_hand else gradients(method, 1, batch)
    # what a loss keeps of a batch is not part of the next
    got = gradients(method_of(name), n_parts, batch)
    if method.batch_layout.paired:  # what is drawn once is drawn first in every part
        assert torch.equal(got["next"], expected["next"])
    assert_same(got, expected)
    assert any(float(value.abs().max()) > 1e-6 for key, value in got.items() if "arch" in key)


class Watched(PlainArch):
    """Notes how many rows are in the network at a time, with gradient and without."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sizes = []

    def features(self, images):
        self.sizes.append(len(images) if torch.is_grad_enabled() else -len(images))
        return super().features(images)


of_both_kinds = pytest.mark.parametrize(
    "name", ["method normalized_sce", "criterion multisimilarity"]
)


@of_both_kinds
@pytest.mark.parametrize(
    ("n_rows", "n_parts", "sizes"), [(7, 2, [4, 3]), (5, 9, [3, 2]), (1, 4, [1])]
)
def test_parts_are_of_equal_size_and_have_two_rows(name, n_rows, n_parts, sizes):
    method = MAKE[name](Watched(C, D)).double()
    batch = batch_of(method, n_rows)
    gradient = batch_gradient(method, Accelerator(cpu=True), n_parts)
    gradient(batch, 1.0)
    twice = [-n for n in sizes] if name.startswith("criterion") else []
    assert method.arch.sizes == twice + sizes


def test_dropout_of_the_second_pass_is_that_of_the_first():
    """The gradient is that of one graph in which every part is embedded once."""
    torch.manual_seed(0)
    method = dml("multisimilarity")(PlainArch(C, D, dropout=0.5)).double()
    batch = batch_of(method)
    got = gradients(method, 3, batch)
    method.zero_grad()
    torch.manual_seed(4)
    rows = torch.cat([method.embed(x) for x in batch["examples"].tensor_split(3)])
    loss = 0.7 * method.loss(rows, batch["ids"])
    loss.backward()
    expected = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert_same(got, {"loss": loss.detach(), "next": torch.rand(3).double(), **expected})


@of_both_kinds
def test_batch_normalisation_sees_each_part_once(name):
    method = MAKE[name](TinyArch(C, D)).double()
    slow = copy.deepcopy(method)
    batch = batch_of(method)
    gradients(method, 3, batch)
    for x in batch["examples"].tensor_split(3):
        slow.embed(x)
    for key, value in slow.arch.norm.state_dict().items():
        assert torch.equal(method.arch.norm.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["method normalized_sce", "criterion supcon", "method fsgl"])
def test_a_sharpness_aware_step_in_parts_is_that_of_the_whole_batch(name):
    def learnt(n_parts):
        method, accelerator = method_of(name), Accelerator(cpu=True)
        optimizer = sharp([{"params": list(method.parameters())}], rho=0.5)
        model, wrapped = accelerator.prepare(method, optimizer)
        step = step_for(model, wrapped, accelerator, n_parts)
        torch.manual_seed(3)
        losses = [step(batch_of(method), 1.0) for _ in range(2)]
        return dict(method.state_dict()) | {"losses": torch.stack(losses)}

    assert_same(learnt(3), learnt(1))


def test_a_frozen_network_is_embedded_without_gradient():
    torch.manual_seed(0)
    method = dml("proxy_anchor")(PlainArch(C, D)).double()
    method.arch.requires_grad_(False)
    batch = batch_of(method)
    assert_same(gradients(method, 3, batch), gradients(method, 1, batch))


@of_both_kinds
def test_in_bfloat16_the_gradient_is_that_of_the_whole_batch_up_to_rounding(name):
    method, found = method_of(name).float(), []
    batch = batch_of(method) | {"examples": images()}
    accelerator, in_bfloat16 = Accelerator(cpu=True), torch.autocast("cpu", torch.bfloat16)
    accelerator.autocast = lambda: in_bfloat16
    method.forward = in_bfloat16(method.forward)  # as Accelerate prepares it
    for n_parts in (1, 3):
        method.zero_grad()
        batch_gradient(method, accelerator, n_parts)(batch, 1.0)
        found.append(torch.cat([p.grad.flatten() for p in method.parameters()]))
    whole, parts = found
    assert 0 < float(whole.norm())
    assert float((parts - whole).norm()) < 0.02 * float(whole.norm())


class OwnStep(DML):
    """Compares rows in a training step of its own."""

    def training_step(self, batch):
        return super().training_step(batch)


def test_a_step_of_its_own_that_compares_rows_is_refused():
    method = OwnStep(PlainArch(C, D), assembly.instantiate("criterion", made.node("supcon")), None)
    with pytest.raises(Refused, match="method=test_micro_batches compares the rows of a batch in"):
        batch_gradient(method, Accelerator(cpu=True), 2)
    batch_gradient(method, Accelerator(cpu=True), 1)


@pytest.mark.parametrize("value", [0, -1, 1.5, "two", True])
def test_other_numbers_of_parts_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="trainer.micro_batches must be"):
        trained(tmp_path, "method=normalized_sce", f"trainer.micro_batches={value}")


def weights_of(folder, *overrides):
    trained(folder, "trainer.micro_batches=3", *overrides)
    return checkpoint.load(folder / "last.pt")["method_state_dict"]


@pytest.mark.parametrize(
    "options",
    [["method=vmf_softmax"], ["method=dml", "criterion=margin", "miner=distance"]],
)
def test_a_training_in_parts_is_resumed_to_the_last_bit(tmp_path, options):
    whole = weights_of(tmp_path / "whole", *options, "mode.epochs=2")
    weights_of(tmp_path / "two", *options, "mode.epochs=1")
    resumed = weights_of(tmp_path / "two", *options, "mode.epochs=2")
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_random_numbers_after_a_step_do_not_depend_on_the_parts():
    """A loss that draws none leaves the generators as they are, however often rows are embedded."""
    method = method_of("criterion multisimilarity")
    before = generator_states(torch.device("cpu"))
    batch_gradient(method, Accelerator(cpu=True), 4)(batch_of(method), 1.0)
    assert all(map(torch.equal, before, generator_states(torch.device("cpu"))))


ROWS = 25  # which neither the processes nor the parts divide
IN_PROCESSES = [
    *("method normalized_sce", "method nir", "nir_drawn", "mined", "criterion s2sd"),
    *("criterion proxy_anchor", "criterion multisimilarity", "drawn_prefixes", "method dive"),
    *("method fsgl", "class_balanced", "ldam"),
]


def local_part(method, rank, world):
    """This process's rows of a batch, and the weight of its mean loss."""
    n_rows = B if method.batch_layout.paired else ROWS
    batch = batch_of(method, n_rows)
    own = {key: x[rank::world] for key, x in batch.items()}
    weight = 1.0 if method.global_batch is not None else len(own["ids"]) * world / n_rows
    return own | {"all_ids": batch["ids"]}, weight


def gradients_in_processes(name, rank, world, n_parts):
    """The gradients of a batch, and how often processes exchanged some."""
    accelerator, messages = start(cpu=True), []
    method = method_of(name)
    if not method.loss_is_row_mean:
        method.global_batch = GlobalBatch(accelerator)
    model = accelerator.prepare_model(method)

    def averaged(_, bucket):
        messages.append(bucket.buffer().numel())
        done = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return done.then(lambda reduced: reduced.value()[0] / world)

    model.register_comm_hook(None, averaged)
    gradient = batch_gradient(model, accelerator, n_parts)
    torch.manual_seed(4)
    gradient(*local_part(method, rank, world))
    found = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    return found | {"messages": torch.tensor([float(sum(messages)), len(messages)])}


def divided_classes(rank, world, n_parts):
    """The gradients of an objective whose classes are divided among the processes."""
    accelerator, method = start(cpu=True), method_of("method normalized_sce")
    sharded = shard_classes(method, learning_sampler=False, accelerator=accelerator)
    model = averaging_the_rest(method, [sharded], accelerator)
    gradient = batch_gradient(model, accelerator, n_parts)
    gradient(*local_part(method, rank, world))
    return {key: p.grad for key, p in method.named_parameters() if p.grad is not None}


def of_process(rank, world, folder):
    found = {
        name: [gradients_in_processes(name, rank, world, n_parts) for n_parts in (1, 3)]
        for name in IN_PROCESSES
    }
    found["divided"] = [divided_classes(rank, world, n_parts) for n_parts in (1, 3)]
    return found


def check_processes(processes):
    for each in processes:
        for whole, parts in each.values():
            assert_same(parts, whole)


def test_two_processes_have_the_gradients_of_the_whole_batch(of_two_processes):
    """Also those of one process; and they exchange as many numbers as without parts."""
    processes = of_two_processes["test_micro_batches"]
    check_processes(processes)
    for name in IN_PROCESSES:
        if name == "method fsgl":  # each process draws mixtures of its own
            continue
        method = method_of(name)
        alone = gradients(method, 1, batch_of(method, ROWS), 1.0)
        for key in alone.keys() - {"loss", "next"}:
            assert_same({key: processes[0][name][1][key]}, {key: alone[key]})


@pytest.mark.slow
def test_more_processes_do_too(of_several):
    check_processes(of_several["test_micro_batches"])
