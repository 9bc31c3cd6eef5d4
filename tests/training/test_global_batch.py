"""A loss that compares rows of a batch learns the same in two processes over gloo as in one."""

from copy import copy
from functools import partial
from importlib.util import find_spec

import pytest
import torch

from tests.criteria.made import node
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.bcl import BCL
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.loss_prediction import LossPrediction
from vmf_embeddings.methods.nir import NIR
from vmf_embeddings.methods.paco import PaCo
from vmf_embeddings.methods.proco import ProCo
from vmf_embeddings.methods.vmf_op import VMFOP
from vmf_embeddings.miners.distance import DistanceMiner
from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.samplers.greedy_coreset import GreedyCoresetSampler
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.fit import fit
from vmf_embeddings.training.global_batch import GlobalBatch
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.optimizers import sgd, sharpness_aware
from vmf_embeddings.training.processes import start
from vmf_embeddings.training.settings import TrainingSettings

N, CLASSES, DIM = 16, 4, 3


class Rows(torch.utils.data.Dataset):
    """A data set whose splits are all the same images in memory."""

    in_memory, open_set, identity, n_classes = True, True, "rows", CLASSES
    device, is_query, is_gallery = torch.device("cpu"), None, None
    class_names, image_transform, paths, unit = None, None, None, "rows"
    class_counts = torch.full((CLASSES,), N // CLASSES)

    def __init__(self, training_views=1):
        self.x, self.labels = normal(N, 1, 4, 4), torch.arange(N) % CLASSES
        self.training_views, self.views = training_views, 1

    def __len__(self):
        return N

    def split(self, name, *, augment=False):
        return self.with_views(self.training_views if augment else 1)

    def with_views(self, views):
        copied = copy(self)
        copied.views = views
        return copied

    def batch(self, indices, generator=None):
        views = [(1 + view) * self.x[indices] for view in range(self.views)]
        examples = views[0] if self.views == 1 else torch.stack(views, 1)
        return {"examples": examples, "ids": self.labels[indices]}


class OddBatches(BatchSampler):
    """Two batches of 9 and 7 rows, which two processes cannot divide evenly."""

    def __len__(self):
        return 2

    def __iter__(self):
        yield from torch.from_numpy(self.generator().permutation(N)).split(9)


class Arch(TinyArch):
    """An arch with features before its projection."""

    n_features = 8

    def project(self, features):
        return self.projection(features)


def dml(name, miner=None, **options):
    return DML(Arch(CLASSES, DIM), assembly.instantiate("criterion", node(name, **options)), miner)


def with_memory():
    criterion = assembly.instantiate("criterion", node("contrastive"))
    return DML(Arch(CLASSES, DIM), criterion, None, memory_size=7)


def nir():
    flow = {"blocks": 2, "depth": 3, "width": 6}
    weights = {"w_flow": 1.0, "w_align": 0.1, "noise": 0.1, "logmatch": 1.0, "pair_perc": 0.5}
    rates = {"proxy_lr_factor": 10, "flow_lr_factor": 5}
    anchor = assembly.instantiate("criterion", node("proxy_anchor"))
    return NIR(Arch(CLASSES, DIM), anchor, None, flow, "nll_per_dim", **weights, **rates)


def pml():
    from vmf_embeddings.methods.pml import PML

    spec = {"class": "TripletMarginLoss", "margin": 0.5, "triplets_per_anchor": 2}
    return PML(Arch(CLASSES, DIM), spec, None, None, None, None, 1.0, "auto")


def proco():
    options = {"projection_dim": 4, "projection_hidden": 6, "min_count": 2, "kappa_max": 1e5}
    known = {"adjust": True, "statistics": "shrunk", "variant": "standard"} | options
    head = partial(CosineHead, bias=False, scale=None)
    return ProCo(Arch(CLASSES, DIM), head, CrossEntropy(), 0.0, 1, 0.1, 1.0, **known)


def bcl():
    head = partial(CosineHead, bias=False, scale=None)
    sizes = {"projection_dim": 4, "projection_hidden": 6}
    return BCL(Arch(CLASSES, DIM), head, CrossEntropy(), 0.0, 1, 0.1, 0.35, **sizes)


def paco(momentum=None):
    head = partial(CosineHead, bias=False, scale=None)
    known = {"alpha": 0.3, "beta": 1.0, "adjust": True, "queue": 6, "momentum": momentum}
    sizes = {"projection_dim": 4, "projection_hidden": 6}
    return PaCo(Arch(CLASSES, DIM), head, 0.0, 1, 0.1, **known, **sizes)


def vmf_op():
    """The mean direction of each class is compared over the whole batch."""
    weights = {"icd_weight": 0.2, "cfc_weight": 0.5, "decay": 0.9}
    made = VMFOP(Arch(CLASSES, DIM), CrossEntropy(), 16.0, 1.0, **weights)
    made.configure(margin_warmup_epochs=0, n_epochs=2)
    return made


def loss_prediction():
    """The order of predicted losses is compared in all pairs of the batch."""
    options = {"weight": 1.0, "form": "order", "margin": 0.1, "hidden": [4]}
    head = partial(CosineHead, bias=False, scale=None)
    return LossPrediction(Arch(CLASSES, DIM), head, CrossEntropy(), 0.0, **options)


margin = partial(dml, "margin", DistanceMiner(0.5, 1.4, "standard"))
METHODS = {
    "margin": margin,
    "multisimilarity": partial(dml, "multisimilarity"),
    "proxy_anchor": partial(dml, "proxy_anchor", lr_factor=10),
    "s2sd": partial(dml, "s2sd", target_dims=[5], weight=1.0, feature_weight=1.0, delay=0),
    "nir": nir,
    "cider": partial(dml, "cider", momentum=0.5),
    "mcinfonce": partial(dml, "mcinfonce", learn_temperature=True),
    "hib": partial(dml, "hib"),
    "views": partial(dml, "mcinfonce", positives="views", views=3),
    "siren": partial(dml, "siren", momentum=0.5),
    "loss_prediction": loss_prediction,
    "proco": proco,
    "bcl": bcl,
    "vmf_op": vmf_op,
    "paco": paco,
    "paco_momentum": partial(paco, momentum=0.5),
    "sharpness_aware": margin,
    "memory": with_memory,
    "warm_up": partial(dml, "multisimilarity"),
    "stored": partial(dml, "multisimilarity"),
}
if find_spec("pytorch_metric_learning"):
    METHODS["pml"] = pml


def optimizer_of(name):
    options = {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "fused": None}
    if name != "sharpness_aware":
        return partial(sgd, **options)
    sharp = {"base": "sgd", "rho": 0.1, "adaptive": False, "betas": (0.9, 0.999)}
    return partial(sharpness_aware, **options, **sharp, batch_statistics="once")


def learnt(name, make, folder):
    """Weights and status after one epoch of two steps, or after two with a warm-up."""
    torch.manual_seed(0)
    method = make().double()
    data = Rows(method.batch_layout.views)
    sampler = OddBatches(data.labels, seed=5)
    if name == "stored":
        shape = {"batch_size": 6, "n_samples": 2, "pool_size": 12, "seed": 5}
        sampler = GreedyCoresetSampler(data.labels, projection_dim=2, softened=True, **shape)
    warm_up = int(name == "warm_up")
    settings = TrainingSettings(
        epochs=1 + warm_up, patience=9, temp_learning_rate=0.0, class_weight_decay="none",
        select="valid", random_seed=3, num_workers=0, eval_batch_size=5, search="torch",
        execution=ExecutionSettings("no", True, 1, False, False, False), resume="never",
        warmup_epochs=warm_up,
    )  # fmt: skip
    before = {k: v.clone() for k, v in method.state_dict().items()}
    folder.mkdir(exist_ok=True)
    fit(TrainingJob(method, data, sampler, optimizer_of(name), settings, folder, {}))
    moved = {k: v - before[k] for k, v in method.state_dict().items() if v.is_floating_point()}
    return {"weights": dict(method.state_dict()), "moved": moved, "status": method.status()}


def of_process(rank, world, folder):
    everything = {name: learnt(name, make, folder / name) for name, make in METHODS.items()}
    return everything | {"draws": draws(rank, world)}


def draws(rank, world):
    """Random rows [7, 1] drawn inside `GlobalBatch`, and numbers drawn after it."""
    together, batch = GlobalBatch(start(cpu=True)), {"all_ids": torch.arange(7)}
    torch.manual_seed(3)
    own = []

    def rows_of(batch):
        own.append(torch.rand(len(range(rank, 7, world)), 1))
        return {"embeddings": own[0]}

    whole = together(rows_of, batch)["embeddings"]
    found = {"own": own[0], "whole": whole, "after": torch.rand(2)}
    torch.manual_seed(3)
    together(lambda batch: {}, batch)
    return found | {"undisturbed": torch.rand(2)}


def assert_alike(got, expected):
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_what_one_does(of_two_processes, name, tmp_path):
    alone = learnt(name, METHODS[name], tmp_path)
    assert max(float(change.abs().max()) for change in alone["moved"].values()) > 1e-3
    for each in of_two_processes["test_global_batch"]:
        assert_alike(each[name]["weights"], alone["weights"])
        assert each[name]["status"] == pytest.approx(alone["status"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_more_processes_do_too(of_several, name, tmp_path):
    alone = learnt(name, METHODS[name], tmp_path)
    for each in of_several["test_global_batch"]:
        assert_alike(each[name]["weights"], alone["weights"])


def test_a_network_draws_apart_and_its_loss_alike(of_two_processes):
    first, second = (each["draws"] for each in of_two_processes["test_global_batch"])
    assert torch.equal(first["whole"], second["whole"])
    assert torch.equal(first["whole"][0::2], first["own"])
    assert torch.equal(first["whole"][1::2], second["own"])
    assert first["whole"].unique().numel() == 7
    assert torch.equal(first["after"], second["after"])
    torch.manual_seed(3)
    assert torch.equal(first["undisturbed"], torch.rand(2))
