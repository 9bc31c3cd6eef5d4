"""Steps of training and prediction of every option, which count the second of two equal ones.

The first step makes what is kept from then on (constants on the device, momentum).
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from torch.nn.functional import normalize

from tests.contracts import test_methods as methods
from tests.criteria import made as criteria
from tests.criteria.fixture import LABELS
from tests.criteria.fixture import embeddings as criterion_rows
from tests.device.emulator import CUDA
from tests.device.recorder import Recorder
from tests.heads import test_heads as heads
from tests.losses import test_losses as losses
from tests.methods.laws import TinyArch, normal
from tests.miners import test_laws as miners
from tests.training import test_meta_step as meta
from tests.training.sharded_methods import embeddings_and_labels, method_of
from tests.training.test_sharpness import sharp
from vmf_embeddings import directional
from vmf_embeddings.datasets.augment import Augmentation
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_sampling import ClassSampling
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.training.class_sharding import sample_classes
from vmf_embeddings.training.fit import train_epoch
from vmf_embeddings.training.step import Step, step_for

Trial = Callable[[Recorder], None]
NOT_TRAINED = {"ncm", "vmf_bayes"}  # heads without parameters, fitted in a second stage
SAMPLED = ("vmf_softmax", "arcface")
DIMS = (3, 8, 128, 512)
B, C, S = 64, 100, 10


def trials() -> dict[str, Trial]:
    """Every step by its name; those of libraries that are not installed are left out."""
    missing = {n for n, library in methods.LIBRARIES.items() if find_spec(library) is None}
    on_triplets = [n for n in criteria.NAMES if criteria.made(n).takes == "triplets"]
    found = {f"method {n}": partial(method_step, n) for n in methods.NODES if n not in missing}
    found |= {f"prediction {n}": partial(prediction, n) for n in methods.NODES if n not in missing}
    found |= {f"criterion {n}": partial(criterion_step, n) for n in criteria.NAMES}
    found |= {f"criterion {n} mined": partial(mined_step, n, "distance") for n in on_triplets}
    found |= {f"loss {n}": partial(loss_step, n) for n in losses.NAMES}
    found |= {f"head {n}": partial(head_step, n) for n in heads.NAMES if n not in NOT_TRAINED}
    found |= {f"miner {n}": partial(mined_step, "margin", n) for n in miners.NAMES}
    found |= {f"bound D={d}": partial(bound_step, d, "antithetic") for d in DIMS}
    found |= {"bound D=128 iid": partial(bound_step, 128, "iid")}
    found |= {f"sample D={d}": partial(sample_step, d) for d in DIMS}
    found |= {f"sampled classes {n}": partial(sampled_step, n) for n in SAMPLED}
    found |= {"optimizer sam": sharpness_aware_step, "sampler meta": meta_step}
    return found | {"augmentation": augmentation_step}


def twice(step: Callable[[], object], recorder: Recorder) -> None:
    """Counts the second of two calls."""
    step()
    with recorder.counting():
        step()


def on_cuda(tensor: Tensor) -> Tensor:
    return tensor.to(CUDA)


def leaf(tensor: Tensor) -> Tensor:
    return on_cuda(tensor).requires_grad_()


# parts alone: loss, forward and backward


def criterion_step(name: str, recorder: Recorder) -> None:
    criterion = criteria.made(name).float().to(CUDA)
    x, labels = leaf(criterion_rows().float()), on_cuda(LABELS)
    features = on_cuda(normal(len(x), criteria.N_FEATURES).float())

    def step():
        criterion(criterion.prepare_embeddings(x), labels, features=features).backward()

    twice(step, recorder)


def mined_step(criterion: str, miner: str, recorder: Recorder) -> None:
    """A criterion on the triplets of a miner, as `method=dml` calls them."""
    arch = TinyArch(criteria.N_CLASSES, criteria.DIM)
    method = DML(arch, criteria.made(criterion).float(), miners.miner(miner)).to(CUDA)
    x, labels = leaf(criterion_rows().float()), on_cuda(LABELS)
    twice(lambda: method.loss(x, labels).backward(), recorder)


def loss_step(name: str, recorder: Recorder) -> None:
    loss = losses.made(name).to(CUDA)
    z, features = leaf(losses.Z.float()), leaf(losses.F.float())
    labels = on_cuda(losses.Y)
    twice(lambda: loss(z, labels, features=features).backward(), recorder)


def head_step(name: str, recorder: Recorder) -> None:
    head, x = heads.made(name).to(CUDA), leaf(normal(B, heads.D).float())
    twice(lambda: head(x).sum().backward(), recorder)


def sampled_step(name: str, recorder: Recorder) -> None:
    """A loss over some of the classes (`trainer.sampled_classes`)."""
    method = method_of(name, C, 8).float().to(CUDA)
    sample_classes(method, ClassSampling(0.2), learning_sampler=False, world=1)
    rows, labels = embeddings_and_labels(5, C, 8)
    x, labels = leaf(rows.detach().float()), on_cuda(labels)
    twice(lambda: method.loss(x, labels).backward(), recorder)


def bound_step(dim: int, estimator: str, recorder: Recorder) -> None:
    z, w = leaf(5 * normal(B, dim).float()), leaf(5 * normal(C, dim, seed=1).float())
    labels, beta = on_cuda(torch.arange(B) % C), leaf(torch.tensor(2.0))

    def step():
        directional.softmax_bound(z, w, labels, beta, S, estimator=estimator).backward()

    twice(step, recorder)


def sample_step(dim: int, recorder: Recorder) -> None:
    kappa, mu = leaf(torch.full((B,), 50.0)), leaf(normalize(normal(B, dim).float(), dim=-1))
    twice(lambda: directional.sample(mu, kappa, S).sum().backward(), recorder)


def augmentation_step(recorder: Recorder) -> None:
    """All of it, of a batch that is on the device."""
    images = on_cuda(torch.randint(0, 256, (B, 3, 32, 32), dtype=torch.uint8))
    augmentation = Augmentation(autoaugment=True, cutout=8, occlusion=8)

    def step():
        changed = augmentation.before_normalising(images, None)
        augmentation.after_normalising(changed.float(), None)

    twice(step, recorder)


def prediction(name: str, recorder: Recorder) -> None:
    """Embeddings of a batch, as they are compared, and their predictions."""
    method, images = methods.build(name).to(CUDA).eval(), on_cuda(methods.images())

    @torch.no_grad()
    def step():
        embeddings = method.embed(images)
        method.geometry.project(embeddings)
        if method.has_logits:
            method.predict(embeddings)

    twice(step, recorder)


# a step of the training loop


def method_step(name: str, recorder: Recorder) -> None:
    """The launches of the optimizer are left out."""
    method = methods.build(name).to(CUDA)
    optimizer = torch.optim.SGD(method.param_groups(1e-3), lr=0.01, momentum=0.9)
    wrapped = SimpleNamespace(optimizer=_Unmeasured(optimizer, recorder))
    batch = methods.batch(name)
    _train(method, step_for(method, wrapped, OneDevice()), lambda: batch, recorder)


def sharpness_aware_step(recorder: Recorder) -> None:
    """Two passes, and the optimizer."""
    name = "normalized_sce"
    method, batch = methods.build(name).to(CUDA), methods.batch(name)
    wrapped = SimpleNamespace(optimizer=sharp(method.param_groups(1e-3), fused=None))
    _train(method, step_for(method, wrapped, OneDevice()), lambda: batch, recorder)


def meta_step(recorder: Recorder) -> None:
    """A sampler that learns, with the optimizer of the head."""
    method, sampler = meta.classifier().float().to(CUDA), meta.sampler()
    wrapped = SimpleNamespace(optimizer=meta.optimizer_of(method))
    step, indices = meta.MetaStep(method, wrapped, OneDevice(), sampler), iter(sampler)

    def batch():
        found = meta.batch_of(next(indices))
        return found | {"examples": found["examples"].float()}

    _train(method, step, batch, recorder)


def _train(
    method: Method, step: Step, batch: Callable[[], dict[str, Tensor]], recorder: Recorder
) -> None:
    """`train_epoch` on two batches that come from the CPU."""
    loop = SimpleNamespace(
        accelerator=OneDevice(),
        method=method,
        model=method,
        warmup_frozen_params=[],
        settings=SimpleNamespace(warmup_epochs=0),
        step=step,
        schedule=SimpleNamespace(begin_step=lambda epoch, step: None),
        batches=_Batches(batch, recorder),
    )
    train_epoch(loop, 0, SimpleNamespace(due=lambda: False))


class OneDevice:
    """What the loop needs of Accelerate's `Accelerator` for one process."""

    device, scaler = CUDA, None
    distributed_type, num_processes, process_index = DistributedType.NO, 1, 0

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def reduce(self, values: Tensor, how: str) -> Tensor:
        return values

    def unwrap_model(self, model: Method) -> Method:
        return model

    def autocast(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


class _Batches:
    """Two batches; the second step is counted, from when it has its batch to its end."""

    def __init__(self, batch: Callable[[], dict[str, Tensor]], recorder: Recorder) -> None:
        self.batch, self.recorder = batch, recorder

    def __len__(self) -> int:
        return 2

    def epoch(
        self, epoch: int, first_step: int = 0, augmentation: object = None
    ) -> Iterator[tuple[dict[str, Tensor], float]]:
        yield self.batch(), 1.0
        batch = self.batch()
        with self.recorder.counting():
            yield batch, 1.0


class _Unmeasured:
    """An optimizer whose launches are not counted; its waits and copies are."""

    def __init__(self, optimizer: torch.optim.Optimizer, recorder: Recorder) -> None:
        self.optimizer, self.recorder = optimizer, recorder

    def step(self) -> None:
        with self.recorder.launches_ignored():
            self.optimizer.step()

    def zero_grad(self, set_to_none: bool) -> None:
        self.optimizer.zero_grad(set_to_none)
