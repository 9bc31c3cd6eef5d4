"""Prepares the parts of a training on their device: new for epoch 0, or restored to resume."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.backbone_sharding import ShardedBackbone, shard_backbone
from vmf_embeddings.training.batch_statistics import share_batch_statistics
from vmf_embeddings.training.batches import SequentialBatches, TrainBatches, end_workers
from vmf_embeddings.training.class_sharding import ShardedClasses
from vmf_embeddings.training.cuda_graphs import graphed_step
from vmf_embeddings.training.division import refuse_larger_batches
from vmf_embeddings.training.embed import local_batches
from vmf_embeddings.training.epoch_evaluator import EpochEvaluator
from vmf_embeddings.training.feature_cache import FeatureCache, features_are_cached
from vmf_embeddings.training.global_batch import GlobalBatch
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.meta_step import MetaStep
from vmf_embeddings.training.model_and_optimizer import model_and_optimizer, sharded_classes
from vmf_embeddings.training.schedules import Schedule
from vmf_embeddings.training.seeding import SHARED_STREAM, epoch_seed, seed_everything
from vmf_embeddings.training.selection import Selection
from vmf_embeddings.training.settings import TrainingSettings
from vmf_embeddings.training.step import Step, step_for
from vmf_embeddings.training.stored_state import load_weights
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

PREPARE_BATCH_SIZE = 256  # as in 2021 for the concentrations that are measured before training


@dataclass(frozen=True)
class Loop:
    """The parts of a training, on their device.

    Attributes:
        method: what is trained.
        model: the method, wrapped for gradient averaging if there are several processes.
        optimizer: Accelerate's wrapper of the optimizer.
        step: one update of the weights.
        schedule: sets the learning rates.
        batches: this process's part of the training batches.
        valid_batches: this process's part of the split that is validated on.
        sampler_embedding_batches: its part of the training images without augmentation, for a
            sampler that needs embeddings; else None.
        evaluator: scores of additional splits, logged only.
        warmup_frozen_params: parameters of the backbones that are frozen during the warm-up.
        open_set: whether the classes of held-out splits are unknown to the method.
        accelerator: device, precision and processes.
        settings: options of the loop.
        sharded: the parameters of the classes, if they are divided among the processes.
        backbone: the parameters of the backbone, if they are.
    """

    method: Method
    model: nn.Module
    optimizer: AcceleratedOptimizer
    step: Step
    schedule: Schedule
    batches: TrainBatches
    valid_batches: SequentialBatches
    sampler_embedding_batches: SequentialBatches | None
    evaluator: EpochEvaluator
    warmup_frozen_params: list[nn.Parameter]
    open_set: bool
    accelerator: Accelerator
    settings: TrainingSettings
    sharded: ShardedClasses | None
    backbone: ShardedBackbone | None

    def status(self) -> dict[str, float]:
        """`Method.status`, of all classes where these are divided: every process calls it."""
        return self.method.status() if self.sharded is None else self.sharded.status()

    def class_kappas(self) -> list[float] | None:
        """Concentrations of the classes [C]; None without, or where classes are divided."""
        found = self.method.class_kappas() if self.sharded is None else None
        return None if found is None else found.tolist()

    @property
    def selection(self) -> Selection:
        """By which validation score the best epoch is chosen."""
        by, select = self.settings.select_by, self.settings.select
        return Selection.of(by, select, self.method, open_set=self.open_set)

    @property
    def metric_name(self) -> str:
        """What the validation metric is: `accuracy`, `Recall@1` or `MAP@R`."""
        return self.selection.metric_name

    def end_workers(self) -> None:
        """Ends the processes that load data."""
        others = (self.valid_batches, self.sampler_embedding_batches)
        for batches in (self.batches, *others, *self.evaluator.local_batches.values()):
            if batches is not None:
                end_workers(batches)


def assemble(job: TrainingJob) -> Loop:
    """Moves the parts of a job to their device and prepares or restores them.

    Args:
        job: with `state` None for a first epoch, else the state to resume from.

    Raises:
        ValueError: parts of the job do not work together.
        Refused: `state` does not belong to these parts.
    """
    method, dataset, settings = job.method, job.dataset, job.settings
    accelerator = settings.execution.make_accelerator(
        find_unused_parameters=settings.warmup_epochs > 0
    )
    _load_method(job, accelerator)
    source = _source(job, accelerator)
    train, valid = source("train", augment=True), source(settings.validates_on)
    _log_splits(job, train, valid)
    job.sampler.configure(n_epochs=settings.epochs)
    if method.max_batch_size is not None:
        refuse_larger_batches(job.sampler, accelerator.num_processes, method.max_batch_size)
    batches = TrainBatches(
        train,
        job.sampler,
        seed=settings.random_seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        num_workers=settings.num_workers,
    )
    _prepare_method(job, train, accelerator)
    warmup_frozen_params = _warmup_frozen_params(method, settings.warmup_epochs)
    sharded = sharded_classes(job, accelerator)
    backbone = shard_backbone(job, accelerator) if settings.shard_backbone else None
    divided = [part for part in (sharded, backbone) if part is not None]
    model, optimizer = model_and_optimizer(job, len(batches), accelerator, divided)
    valid_batches = _local_batches(valid, accelerator, settings)
    return Loop(
        method=method,
        model=model,
        optimizer=optimizer,
        step=_step(job, model, optimizer, accelerator),
        schedule=job.schedule,
        batches=batches,
        valid_batches=valid_batches,
        sampler_embedding_batches=(
            _local_batches(source("train"), accelerator, settings)
            if job.sampler.needs_embeddings
            else None
        ),
        evaluator=_evaluator(job, source, valid_batches, accelerator),
        warmup_frozen_params=warmup_frozen_params,
        open_set=dataset.open_set,
        accelerator=accelerator,
        settings=settings,
        sharded=sharded,
        backbone=backbone,
    )


def _log_splits(job: TrainingJob, train: Split, valid: Split) -> None:
    """Logs what is trained on, and by which metric on which split the kept epoch is selected."""
    settings = job.settings
    options = {"open_set": job.dataset.open_set}
    selection = Selection.of(settings.select_by, settings.select, job.method, **options)
    log.info(
        "Training on %d %s of %d classes, validating on %d by %s; training %s %s",
        *(len(train), train.unit, train.n_classes, len(valid)),
        *(selection.by, train.unit, train.identity),
    )
    if settings.select == "test":
        log.warning("mode.select=test: the best epoch is chosen on the test split that it reports")
    if settings.evaluate_on:
        log.info(
            "Also evaluating %s after every epoch (mode.evaluate_on), only for the records: %s",
            ", ".join(settings.evaluate_on),
            "the last epoch is kept"
            if settings.select == "last"
            else f"the best epoch is chosen on {settings.select}",
        )


def _load_method(job: TrainingJob, accelerator: Accelerator) -> None:
    """Moves the method to its device, and restores its weights to resume."""
    job.method.to(accelerator.device)
    if job.state is not None:
        load_weights(job.method, job.state, "the last checkpoint")


class _Source(Protocol):
    """Gives the splits to train and evaluate on: of images, or of their features."""

    def __call__(self, name: str, *, augment: bool = False) -> Split: ...


def _source(job: TrainingJob, accelerator: Accelerator) -> _Source:
    """Splits of images or of cached features, on the device where they are wanted and fit."""
    cache = FeatureCache(job, accelerator) if features_are_cached(job) else None
    found: dict[tuple[str, bool], Split] = {}

    def split(name: str, *, augment: bool = False) -> Split:
        if (name, augment) not in found:
            given = (cache or job.dataset).split(name, augment=augment)
            found[name, augment] = job.settings.execution.move_split(given, accelerator.device)
        return found[name, augment]

    return split


def _prepare_method(job: TrainingJob, train: Split, accelerator: Accelerator) -> None:
    """Initialises the method from the data for a first epoch; shares it among processes."""
    method = job.method
    if job.state is None:
        _initialize_from_data(method, train, job.settings, accelerator.device)
    if accelerator.num_processes > 1:
        share_batch_statistics(method)
        # a sampler that learns needs the loss of each row by itself
        is_divided = method.loss_is_row_mean or job.sampler.learns
        method.global_batch = None if is_divided else GlobalBatch(accelerator)
    for arch in method.backbones:
        job.settings.execution.configure_backbone(arch)


def _initialize_from_data(
    method: Method, train: Split, settings: TrainingSettings, device: torch.device
) -> None:
    """Calls `Method.prepare` with the training images, under the same seed in every process."""
    seed = epoch_seed(settings.random_seed, 0, SHARED_STREAM)
    seed_everything(seed)
    train = train if method.batch_layout.views == 1 else train.with_views(1)

    def batches() -> Iterator[Tensor]:
        order = torch.arange(len(train))
        for batch in SequentialBatches(
            train, order, PREPARE_BATCH_SIZE, settings.num_workers, seed=seed
        ):
            yield batch["examples"].to(device, non_blocking=True)

    method.prepare(batches, train.class_counts)


def _warmup_frozen_params(method: Method, warmup_epochs: int) -> list[nn.Parameter]:
    """Trainable parameters of the backbones that are frozen during the warm-up; [] without one.

    Raises:
        Refused: no other parameter is trainable.
    """
    if not warmup_epochs:
        return []
    backbones = [p for arch in method.backbones for p in arch.backbone_parameters()]
    frozen = [p for p in backbones if p.requires_grad]
    if len(frozen) == sum(p.requires_grad for p in method.parameters()):
        raise Refused(
            f"mode.warmup_epochs={warmup_epochs} leaves nothing to learn: this network has no "
            "embedding layer and the objective no parameters; use mode.warmup_epochs=0"
        )
    return frozen


def _step(
    job: TrainingJob, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator
) -> Step:
    if job.settings.execution.cuda_graph:
        return graphed_step(job, model, optimizer, accelerator)
    n_parts = job.settings.micro_batches
    if job.sampler.learns and n_parts > 1:
        raise Refused(
            f"trainer.micro_batches={n_parts}: this sampler learns from the step of a head, whose "
            "batches are not cut; use trainer.micro_batches=1"
        )
    if job.sampler.learns:
        return MetaStep(model, optimizer, accelerator, job.sampler)
    return step_for(model, optimizer, accelerator, n_parts)


def _evaluator(
    job: TrainingJob, source: _Source, valid_batches: SequentialBatches, accelerator: Accelerator
) -> EpochEvaluator:
    """The evaluator of the splits in `mode.evaluate_on`."""
    settings = job.settings
    batches = {
        name: valid_batches
        if name == settings.validates_on
        else _local_batches(source(name), accelerator, settings)
        for name in settings.evaluate_on
    }
    return EpochEvaluator(batches, settings.evaluate_k, job.dataset.open_set)


def _local_batches(
    split: Split, accelerator: Accelerator, settings: TrainingSettings
) -> SequentialBatches:
    batch_size, num_workers = settings.eval_batch_size, settings.num_workers
    return local_batches(split, accelerator, batch_size=batch_size, num_workers=num_workers)
