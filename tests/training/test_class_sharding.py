"""Classes that are divided among processes over gloo: losses, bytes sent, runs and checkpoints."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from tests.methods.laws import TinyArch, normal
from tests.training.few_digits import trained
from tests.training.sharded_methods import (
    MAKE,
    Counted,
    classifier,
    dml,
    embeddings_and_labels,
    method_of,
    rows_of_all,
)
from tests.training.test_class_parts import assert_in_parts
from tests.training.test_runs_in_processes import assert_alike, float64
from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.heads import LinearHead, LWSHead
from vmf_embeddings.losses.focal import Focal
from vmf_embeddings.methods.class_sampling import ClassSampling
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.class_sharding import refuse_optimizer, sample_classes, shard_classes
from vmf_embeddings.training.processes import start
from vmf_embeddings.untrusted.refused import Refused

SIZES = [(5, 7, 3), (4, 11, 128)]  # rows, classes, dimensions: none is divided evenly by 2 and 3


def loss_and_gradients(name, size, world=1, shard=None, sampling=None):
    """The loss, and its gradients in the embeddings and all parameters that have one."""
    method = method_of(name, *size[1:])
    sharded = None
    if world > 1:
        sharded = shard_classes(method, learning_sampler=False, accelerator=start(cpu=True))
    method.class_shard = shard or method.class_shard
    if sampling is not None:
        sample_classes(method, sampling, learning_sampler=False, world=world)
    embeddings, labels = embeddings_and_labels(*size)
    torch.manual_seed(5)
    loss = method.loss(embeddings, labels)
    loss.backward()
    found = {"loss": loss.detach(), "embeddings": embeddings.grad}
    for key, parameter in method.named_parameters():
        if parameter.grad is not None:
            rows = sharded is not None and key in sharded.names
            found[key] = rows_of_all(parameter.grad, world) if rows else parameter.grad
    status = method.status() if sharded is None else sharded.status()
    kappas = {key: torch.tensor(value) for key, value in status.items() if "kappa" in key}
    return found | kappas


SAMPLED = ("vmf_softmax", "vmf_softmax iid", "normalized_sce", "arcface", "unnormalized_sce")
SAMPLED_SIZE = (5, 45, 8)  # of 15, 22 or 23 classes of a process, 10 to 12 are used
SAMPLING = ClassSampling(0.5)


def samples_of_all_processes(world):
    """In one process, the classes that so many would use together."""

    def sample(shard, labels):
        before, steps = torch.get_rng_state(), []
        for rank in range(world):
            torch.set_rng_state(before)
            steps.append(SAMPLING(ClassShard(shard.n_classes, rank, world), labels))
        assert all(0 < len(step.columns) < step.classes.stop - step.classes.start for step in steps)
        columns = torch.cat([step.classes.start + step.columns for step in steps])
        log_weights = torch.cat([step.log_weights for step in steps])
        return dataclasses.replace(shard, columns=columns, log_weights=log_weights)

    return sample


def sampled_alone(name, world):
    alone = ClassShard(SAMPLED_SIZE[1], 0, 1, sample=samples_of_all_processes(world))
    return loss_and_gradients(name, SAMPLED_SIZE, shard=alone)


def bytes_of_a_step(world, rank, n_classes):
    """What the loss of a batch of 5 rows receives, with 3 pairs of draws in 8 dimensions."""
    method = method_of("vmf_softmax", n_classes, 8).float()
    accelerator = start(cpu=True)
    shard_classes(method, learning_sampler=False, accelerator=accelerator)
    labels = torch.arange(5)
    batch = {"examples": normal(5, 1, 4, 4).float()[rank::world], "ids": labels[rank::world]}
    torch.manual_seed(7)
    with Counted() as counted:
        method.eval().training_step(batch | {"all_ids": labels}).backward()
    return counted.bytes


TRAINED = {
    "vmf_softmax": ["method=vmf_softmax"],
    "normalized_sce": ["method=normalized_sce", "arch.params.learn_temp=true"],
    "arcface": ["method=arcface", "arch.params.learn_temp=true"],
    "unnormalized_sce": ["method=unnormalized_sce"],
    "classifier": ["method=classifier", "head=cosine", "head.params.bias=true"],
    "frozen": ["method=unnormalized_sce", "arch.params.frozen=true"],
}
TRAINED["proxy_anchor"] = ["method=dml", "criterion=proxy_anchor"]
TRAINED["soft_triple"] = ["method=dml", "criterion=soft_triple"]
TRAINED["classifier"] += ["mode.evaluate_on=[test]", "method.params.posthoc_tau=0.5"]
# not through the net: of biases before a batch normalisation adamw makes steps out of rounding
TRAINED["frozen"] += ["optimizer=adamw", "mode.learning_rate=0.01"]
TRAINED["frozen"] += ["arch.params.projection=none", "arch.params.embedding_dim=120"]
QUICK = ("vmf_softmax",)
STEPS = "mode.epochs=4"  # of 5 batches each, the last of 24 images
SHARDED = "trainer.shard_classes=true"


def learnt(name, folder, *overrides, epochs=STEPS):
    """The last checkpoint's weights and optimizer state, and the metrics of every epoch.

    Not the accuracy of predictions by draws, which are others where classes are divided.
    """
    with float64():
        trained(folder, *TRAINED[name], epochs, *overrides)
    state = checkpoint.load(folder / "last.pt")
    found = dict(state["method_state_dict"])
    for number, values in state["optimizer_state_dict"]["state"].items():
        found |= {f"{number}.{key}": x for key, x in values.items() if isinstance(x, torch.Tensor)}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines):
        row = json.loads(line)
        metric = () if name == "vmf_softmax" else ("valid_metric",)
        keys = ("train_loss", "kappa", *metric, *sorted(k for k in row if "/" in k))
        found[f"epoch {number}"] = torch.tensor([row.get(k, 0.0) for k in keys]).double()
    return found


def in_part_sharded(folder, world):
    """Two epochs with all classes in every process, then two with divided ones."""
    own = folder / f"in_part_{world}"
    learnt("normalized_sce", own, epochs="mode.epochs=2")
    dist.barrier()
    return learnt("normalized_sce", own, SHARDED)


def of_process(rank, world, folder, trainings=QUICK):
    folder = folder / "sharded"
    cases = [(name, size) for name in MAKE for size in SIZES]
    losses = {case: loss_and_gradients(*case, world) for case in cases}
    sampled = {
        name: loss_and_gradients(name, SAMPLED_SIZE, world, sampling=SAMPLING) for name in SAMPLED
    }
    sent = {n_classes: bytes_of_a_step(world, rank, n_classes) for n_classes in (7, 23)}
    runs = {name: learnt(name, folder / f"{name}_{world}", SHARDED) for name in trainings}
    found = {"losses": losses, "sampled": sampled}
    return found | {"sent": sent, "runs": runs, "folder": str(folder)}


def of_process_with_all(rank, world, folder):
    found = of_process(rank, world, folder, tuple(TRAINED))
    return found | {"in part": in_part_sharded(folder / "sharded", world)}


def assert_close(got, expected, tolerance, name):
    assert got.keys() == expected.keys(), name
    for key, value in expected.items():
        error = float((got[key] - value).abs().max() / (value.abs().max() + 1e-30))
        assert error <= tolerance, (name, key, error)


def check_losses(processes):
    for each in processes:
        for (name, size), found in each["losses"].items():
            assert_close(found, loss_and_gradients(name, size), 1e-12, (name, size))


def check_sampled(processes):
    for each in processes:
        for name, found in each["sampled"].items():
            assert_close(found, sampled_alone(name, len(processes)), 1e-12, name)


def check_bytes(processes):
    world = len(processes)
    padded = -(-5 // world) * world * 8 * 4  # rows of all processes, float32
    for each in processes:
        for sent in each["sent"].values():  # whatever the number of classes
            assert sent["all_gather"] == [padded, 8 * 2 * 3 * 5 * world]
            # alignment forward; embeddings and beta backward
            assert sent["all_reduce"] == [4, 4 * (5 * 8 + 1)]


def check_runs(processes, tmp_path):
    for name in processes[0]["runs"]:
        alone = learnt(name, tmp_path / name)
        for each in processes:
            assert_alike(each["runs"][name], alone)
        assert_in_parts(Path(processes[0]["folder"]) / f"{name}_{len(processes)}", len(processes))


def check_resumed(processes, tmp_path):
    alone = learnt("normalized_sce", tmp_path / "alone")
    for each in processes:
        assert_alike(each["in part"], alone)
    stored = f"{processes[0]['folder']}/in_part_{len(processes)}"
    shutil.copytree(stored, tmp_path / "further")
    further = learnt("normalized_sce", tmp_path / "further", epochs="mode.epochs=5")
    assert_alike(further, learnt("normalized_sce", tmp_path / "five", epochs="mode.epochs=5"))


def test_losses_and_gradients_are_those_of_all_classes(of_two_processes):
    check_losses(of_two_processes["test_class_sharding"])


def test_sampled_losses_are_those_of_the_classes_that_all_processes_draw(of_two_processes):
    check_sampled(of_two_processes["test_class_sharding"])


def test_what_is_sent_does_not_depend_on_the_number_of_classes(of_two_processes):
    check_bytes(of_two_processes["test_class_sharding"])


def test_twenty_steps_end_with_the_weights_of_one_process(of_two_processes, tmp_path):
    check_runs(of_two_processes["test_class_sharding"], tmp_path)


@pytest.mark.slow
def test_more_methods_in_more_processes(of_several, tmp_path):
    processes = of_several["test_class_sharding"]
    check_losses(processes)
    check_sampled(processes)
    check_bytes(processes)
    check_runs(processes, tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_divided_classes_and_then_in_one_process(of_several, tmp_path):
    check_resumed(of_several["test_class_sharding"], tmp_path)


@pytest.mark.parametrize(("n_classes", "world"), [(7, 2), (7, 3), (3, 3), (1000, 7)])
def test_every_class_has_one_process(n_classes, world):
    shards = [ClassShard(n_classes, rank, world) for rank in range(world)]
    owned = [c for shard in shards for c in range(n_classes)[shard.classes]]
    assert owned == list(range(n_classes))
    sizes = [len(range(n_classes)[shard.classes]) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    labels = torch.arange(n_classes)
    for shard in shards:
        is_own, rows = shard.own(labels)
        assert labels[is_own].tolist() == list(range(n_classes)[shard.classes])
        assert rows[is_own].tolist() == list(range(int(is_own.sum())))


def place(world):
    return SimpleNamespace(num_processes=world, process_index=0, device=torch.device("cpu"))


REFUSED = {
    "method=hyperbolic_sce needs all classes": lambda arch: HyperbolicSCE(arch, 1e-3),
    "criterion=margin has no proxies, or needs all": lambda arch: dml(arch, "margin"),
    "criterion=supcon has no proxies, or needs all": lambda arch: dml(arch, "supcon"),
    "loss=focal needs the logits of all": lambda arch: Classifier(
        arch, functools.partial(LinearHead, bias=True), Focal(1.0, "softmax"), 0.0
    ),
    "head=lws needs all classes": lambda arch: classifier(arch, LWSHead, ("bias", True)),
    "needs method.params.normalizer=exact": lambda arch: VMFSoftmax(
        arch, 4, "approx", "exact", "exact"
    ),
    "5 classes cannot be divided among 6 processes": UnnormalizedSCE,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_needs_all_classes_is_refused_before_training(message):
    method = REFUSED[message](TinyArch())
    with pytest.raises(Refused, match=message):
        shard_classes(method, learning_sampler=False, accelerator=place(6))
    assert method.class_shard is None


def test_a_sampler_that_learns_and_an_optimizer_with_a_norm_are_refused():
    with pytest.raises(Refused, match="this sampler, or this objective"):
        shard_classes(NormalizedSCE(TinyArch()), learning_sampler=True, accelerator=place(2))
    with pytest.raises(Refused, match="Adagrad needs all parameters"):
        refuse_optimizer(torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))]))


def test_a_single_process_has_all_classes():
    method = NormalizedSCE(TinyArch())
    assert shard_classes(method, learning_sampler=False, accelerator=place(1)) is None
    assert method.class_shard is None and len(method.class_weights) == 5
