"""The one place where the benchmarks touch the project: thin adapters to its public functions.

Where a function or an option does not exist, `NotAvailable` says so, and the figure is reported as
not measurable.
"""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

import vmf_embeddings
from benchmarks.results import NotAvailable
from vmf_embeddings import directional, geometry, hyperbolic, metrics
from vmf_embeddings.archs.base import Arch, ClassSpec
from vmf_embeddings.datasets.arrays import ArraySplit
from vmf_embeddings.datasets.augment import Augmentation
from vmf_embeddings.methods import arcface, vmf_softmax
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy
from vmf_embeddings.methods.hyperbolic_sce import poincare_logits
from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.samplers.episodic import EpisodicSampler
from vmf_embeddings.samplers.random import RandomSampler
from vmf_embeddings.training import loop, optimizers
from vmf_embeddings.training.fit import train_epoch
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.progress import EpochProgress
from vmf_embeddings.training.settings import TrainingSettings

CONF = Path(vmf_embeddings.__file__).parent / "conf"
ESTIMATOR_OPTIONS = ("estimator", "draws", "directions", "sampling")


def conf(group: str, name: str) -> dict[str, Any]:
    """A configuration file as it is written."""
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


def defaults(group: str, name: str) -> dict[str, Any]:
    """Its constructor arguments."""
    return {k: v for k, v in conf(group, name)["params"].items() if k != "_target_"}


class NoBackbone(Arch):
    """Its images are features [B, F] already."""

    def features(self, images: Tensor) -> Tensor:
        return images


def vmf_method(
    weights: Tensor, tau: Tensor, n_samples: int, estimator: str | None = None, **changes: Any
) -> vmf_softmax.VMFSoftmax:
    """The method as configured by default, around given class weights [C, D] and log temperature.

    Args:
        weights: class weights, become the method's parameter.
        tau: log temperature, scalar, likewise.
        n_samples: S.
        estimator: "iid", "antithetic", or None for the default.
        changes: other settings of the method.
    """
    spec = ClassSpec(len(weights), weights.shape[1], use_vmf=True, learn_temp=True)
    settings = defaults("method", "vmf_softmax") | {"n_samples": n_samples} | changes
    settings |= _estimator_setting(estimator)
    try:
        method = vmf_softmax.VMFSoftmax(NoBackbone(spec), **settings)
    except ValueError as error:
        raise NotAvailable(f"method.params: {error}") from error
    method.class_parameters.weight = nn.Parameter(weights.detach().clone())
    method.class_parameters.tau = nn.Parameter(tau.detach().clone())
    return method.to(weights.device)


def _estimator_setting(estimator: str | None) -> dict[str, str]:
    known = inspect.signature(vmf_softmax.VMFSoftmax.__init__).parameters
    option = next((name for name in ESTIMATOR_OPTIONS if name in known), None)
    if estimator is None or (option is None and estimator == "iid"):
        return {}
    if option is None:
        raise NotAvailable(f"the {estimator} estimator: vmf_softmax has only iid draws yet")
    return {option: estimator}


def vmf_parameters(method: vmf_softmax.VMFSoftmax) -> list[Tensor]:
    """Class weights and log temperature."""
    return [method.class_parameters.weight, method.class_parameters.tau]


def vmf_loss(
    z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor, draws: Tensor, normalizer: str
) -> Tensor:
    """Loss for given draws [B, S, D]."""
    return vmf_softmax.vmf_softmax_loss(z, weights, labels, beta, draws, normalizer)


def class_logits(weights: Tensor, beta: Tensor, draws: Tensor, normalizer: str) -> Tensor:
    """log C(|w|) - log C(|w + beta z|) [B, S, C]."""
    names = {
        "exact": "log_normalizer_difference",
        "approx": "log_normalizer_difference_approx",
    }
    delta = beta.square() + 2 * beta * (draws @ weights.T)
    function = getattr(directional, names[normalizer])
    return function(weights.square().sum(-1), delta, weights.shape[1])


def split(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths [..] and unit vectors [.., D]."""
    return geometry.VonMisesFisher.split(vectors)


def sample(mu: Tensor, kappa: Tensor, n_samples: int, sampler: str = "exact") -> Tensor:
    """Draws [S, .., D] without gradient."""
    return directional.sample(mu, kappa, n_samples, gradient=False, sampler=sampler)


def mean_cosine(kappa: Tensor, dim: int) -> Tensor:
    return directional.mean_cosine(kappa, dim)


def normalized_loss(z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor) -> Tensor:
    return cosine_cross_entropy(z, weights, labels, beta)


def arcface_loss(z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor) -> Tensor:
    return arcface.arcface_loss(z, weights, labels, beta, 0.5)


def hyperbolic_loss(z: Tensor, a: Tensor, p: Tensor, labels: Tensor, c: float) -> Tensor:
    return nn.functional.cross_entropy(poincare_logits(z, a, p, c), labels)


def to_ball(x: Tensor, c: float) -> Tensor:
    return geometry.Poincare(c).project(x)


def hyperbolic_distances(x: Tensor, c: float) -> Tensor:
    """All pairs [N, N] of points of the ball."""
    return hyperbolic.distance(x, x, c)


def hyperbolic_recall(x: Tensor, labels: Tensor, c: float) -> float:
    """Recall@1 of points of the ball."""
    ball = geometry.Poincare(c)
    return metrics.retrieval(x, labels, similarity=ball.similarity, only_recall=True).recall[1]


def retrieval(x: Tensor, labels: Tensor, ks: tuple[int, ...] = (1,)) -> tuple[float, float]:
    """R@1 and MAP@R of unit rows; every other score is computed with them."""
    scores = metrics.retrieval(x, labels, metric="ip", ks=ks)
    return scores.recall[1], scores.map_at_r


def retrieval_fields() -> set[str]:
    """What the scores hold."""
    return set(metrics.RetrievalScores.__dataclass_fields__)


def marginal_retrieval(z: Tensor, labels: Tensor, n_samples: int) -> tuple[float, float]:
    """The protocol with draws: majority of R@1, mean MAP@R; one draw in memory at a time."""
    law = geometry.VonMisesFisher()
    draws = (law.sample(z, 1)[0] for _ in range(n_samples))
    scores = metrics.marginal_retrieval(draws, labels, metric="ip")
    return scores.recall[1], scores.map_at_r


def episodic_sampler(
    labels: Tensor, n_episodes: int, n_classes: int, n_samples: int
) -> EpisodicSampler:
    return EpisodicSampler(
        labels, n_episodes=n_episodes, n_classes=n_classes, n_samples=n_samples, seed=0
    )


def random_sampler(n: int, batch_size: int) -> RandomSampler:
    return RandomSampler(torch.zeros(n), batch_size=batch_size, seed=0)


def array_split(images: np.ndarray, labels: np.ndarray, *, colour: bool) -> ArraySplit:
    """A split in memory: MNIST's way, or CIFAR's with its augmentation."""
    pixels = torch.from_numpy(images)
    pixels = pixels.permute(0, 3, 1, 2).contiguous() if colour else pixels[:, None]
    extra: dict[str, Any] = {}
    if colour:
        extra = {
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2470, 0.2435, 0.2616),
            "augmentation": Augmentation(occlusion=8),
        }
    ids = torch.from_numpy(labels)
    return ArraySplit(pixels, ids, identity="", n_classes=int(labels.max()) + 1, **extra)


def build_arch(name: str, **changes: Any) -> Arch:
    """A backbone by its configuration name."""
    import importlib

    module, _, kind = conf("arch", name)["params"]["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**(defaults("arch", name) | changes))


class _Pictures:
    """A closed set in memory, the same pictures for training and validation."""

    open_set = False

    def __init__(self, split: ArraySplit) -> None:
        self.whole = split

    def split(self, name: str, *, augment: bool = False) -> ArraySplit:
        return self.whole


def forget_precision() -> None:
    """Lets a loop of another precision follow in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._shared_state = {}


def training_epoch(
    arch: str,
    images: np.ndarray,
    labels: np.ndarray,
    sampler: BatchSampler,
    trainer: dict[str, Any],
    fused: bool | None,
    **changes: Any,
) -> Callable[[], Any]:
    """One epoch after another of the project's own loop, with the vMF softmax.

    Args:
        arch: option of `arch`.
        images: uint8 [N, channels, H, W]; colour pictures are augmented as CIFAR's.
        labels: int64 [N].
        sampler: batches of an epoch.
        trainer: changes to the keys of `conf/trainer/default.yaml`.
        fused: `optimizer.params.fused`.
        changes: settings of the arch.
    """
    forget_precision()
    torch.manual_seed(0)
    n_classes = int(labels.max()) + 1
    net = build_arch(arch, n_classes=n_classes, use_vmf=True, learn_temp=True, **changes)
    method = vmf_softmax.VMFSoftmax(net, **defaults("method", "vmf_softmax"))
    method.prepare = lambda *_: None  # the pass before training is no part of an epoch
    if images.shape[1] == 3:
        split = array_split(images.transpose(0, 2, 3, 1).copy(), labels, colour=True)
    else:
        split = array_split(images[:, 0], labels, colour=False)
    mode = conf("mode", "train") | {"random_seed": 0, "num_workers": 0}
    config = {"mode": mode, "trainer": conf("trainer", "default") | {"threads": 1} | trainer,
              "search": "auto", "resume": "never", "logger": {"trackers": []},
              "random_seed": 0, "num_workers": 0}  # fmt: skip
    optimizer = partial(
        optimizers.sgd, lr=1e-4, momentum=0.9, nesterov=True, weight_decay=0.0, fused=fused
    )
    settings = TrainingSettings.from_config(config)
    data = _Pictures(split)
    parts = loop.assemble(
        TrainingJob(method, data, sampler, optimizer, settings, Path("unused"), config)
    )
    quiet = EpochProgress(0, 1, len(sampler), notes=[], enabled=False)
    return lambda: train_epoch(parts, 0, quiet)
