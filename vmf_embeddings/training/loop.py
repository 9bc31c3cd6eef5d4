"""The parts of one run, on their device: what the epochs work with."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training import processes
from vmf_embeddings.training.batches import SequentialBatches, TrainBatches
from vmf_embeddings.training.embed import local_batches
from vmf_embeddings.training.epoch_evaluator import EpochEvaluator
from vmf_embeddings.training.global_batch import GlobalBatch
from vmf_embeddings.training.meta_step import MetaStep
from vmf_embeddings.training.optimizers import grouped, restore
from vmf_embeddings.training.schedules import Constant, Schedule
from vmf_embeddings.training.seeding import SHARED_STREAM, epoch_seed, seed_everything
from vmf_embeddings.training.settings import Settings
from vmf_embeddings.training.step import Step, step_for
from vmf_embeddings.training.stored_state import give_weights, refuse_other_kinds, restore_part

log = logging.getLogger(__name__)

PREPARE_BATCH_SIZE = 256  # 2021's batch for measuring concentrations before training


@dataclass(frozen=True)
class Loop:
    """What the epochs of one run work with."""

    method: Method
    model: torch.nn.Module  # the method, wrapped where there are several processes
    optimizer: Any
    step: Step
    schedule: Schedule
    batches: TrainBatches
    valid: SequentialBatches  # of the split to select by
    sampler_embedding_batches: (
        SequentialBatches | None
    )  # training images, for a sampler that needs embeddings
    evaluator: EpochEvaluator  # scores of further splits, logged only
    warmup_frozen_params: list[torch.nn.Parameter]  # of the backbone, which learn after the warm-up
    open_set: bool
    accelerator: Accelerator
    settings: Settings


def assemble(
    method: Method,
    dataset: Any,
    sampler: Any,
    make_optimizer: Callable[[list[dict]], torch.optim.Optimizer],
    settings: Settings,
    state: dict[str, Any] | None,
    schedule: Schedule | None = None,
) -> Loop:
    """Puts the parts on their device, prepared for a first epoch or restored from `state`.

    Without a schedule the learning rates stay as they are.
    """
    speed = settings.speed
    accelerator = speed.make_accelerator(find_unused_parameters=settings.warmup_epochs > 0)
    rank, world = accelerator.process_index, accelerator.num_processes
    train, valid = (
        speed.move_split(split, accelerator.device)
        for split in (dataset.split("train", augment=True), dataset.split(settings.validates_on))
    )
    log.info(
        "Training on %d images of %d classes, validating on %d by %s; training images %s",
        *(len(train), train.n_classes, len(valid)),
        "Recall@1" if dataset.open_set or not method.has_logits else "accuracy",
        train.identity,
    )
    if settings.select == "test":
        log.warning("mode.select=test: the best epoch is chosen on the test split that it reports")
    if settings.evaluate_on:
        log.info(
            "Also scoring %s after every epoch (mode.evaluate_on), for the records alone: %s",
            ", ".join(settings.evaluate_on),
            "the last epoch is kept"
            if settings.select == "last"
            else f"the best epoch is chosen on {settings.select}",
        )
    sampler.configure(n_epochs=settings.epochs)
    method.to(accelerator.device)
    if state is None:
        _prepare(method, train, settings, accelerator.device)
    else:
        give_weights(method, state, "the last checkpoint")
    if world > 1:
        processes.share_batch_statistics(method)
        method.global_batch = GlobalBatch(accelerator) if method.needs_global_batch else None
    for arch in method.backbones:
        speed.configure_backbone(arch)
    late = _late_parameters(method, settings.warmup_epochs)
    groups = method.param_groups(settings.temp_learning_rate, settings.class_weight_decay)
    model, optimizer = accelerator.prepare(method, grouped(make_optimizer, groups))
    schedule = schedule or Constant("epoch", 0, None)
    schedule.attach(optimizer.optimizer, settings.epochs, len(sampler))
    if state is not None:
        restore(optimizer.optimizer, state["optimizer_state_dict"])
        _restore(schedule, state["scheduler_state_dict"], "schedule")
        _restore(sampler, state["sampler_state_dict"], "sampler")
    batches = TrainBatches(
        train,
        sampler,
        seed=settings.random_seed,
        rank=rank,
        world=world,
        num_workers=settings.num_workers,
    )
    share = _share(valid, accelerator, settings)
    shares = {
        name: share
        if name == settings.validates_on
        else _share(
            speed.move_split(dataset.split(name), accelerator.device), accelerator, settings
        )
        for name in settings.evaluate_on
    }
    watch = EpochEvaluator(shares, settings.evaluate_k, dataset.open_set)
    stored = None
    if sampler.needs_embeddings:
        plain = speed.move_split(dataset.split("train"), accelerator.device)
        stored = _share(plain, accelerator, settings)
    step = (
        MetaStep(model, optimizer, accelerator, sampler)
        if sampler.learns
        else step_for(model, optimizer, accelerator)
    )
    parts = (method, model, optimizer, step, schedule, batches, share, stored, watch, late)
    return Loop(*parts, dataset.open_set, accelerator, settings)


def _restore(part: Any, stored: dict[str, Any], name: str) -> None:
    """Lets a schedule or a sampler go on from its stored state.

    Raises:
        Refused: it is the state of another one.
    """
    complaint = f"the last checkpoint's {name} does not fit"
    refuse_other_kinds(stored, part.state_dict(), complaint)
    restore_part(lambda: part.load_state_dict(stored), complaint)


def _late_parameters(method: Method, warmup_epochs: int) -> list[torch.nn.Parameter]:
    """The backbones' parameters that wait for the end of the warm-up; none where there is none.

    Raises:
        ValueError: nothing else learns.
    """
    if not warmup_epochs:
        return []
    backbones = [p for arch in method.backbones for p in arch.backbone_parameters()]
    late = [p for p in backbones if p.requires_grad]
    if len(late) == sum(p.requires_grad for p in method.parameters()):
        raise ValueError(
            f"mode.warmup_epochs={warmup_epochs} leaves nothing to learn: this network has no "
            "embedding layer and the objective no parameters; say mode.warmup_epochs=0"
        )
    return late


def _share(split: Any, accelerator: Accelerator, settings: Settings) -> SequentialBatches:
    batch_size, num_workers = settings.eval_batch_size, settings.num_workers
    return local_batches(split, accelerator, batch_size=batch_size, num_workers=num_workers)


def _prepare(method: Method, train: Any, settings: Settings, device: torch.device) -> None:
    """Lets the method look at the training data before the first epoch, alike in every process."""
    seed = epoch_seed(settings.random_seed, 0, SHARED_STREAM)
    seed_everything(seed)

    def batches() -> Any:
        order = torch.arange(len(train))
        for batch in SequentialBatches(
            train, order, PREPARE_BATCH_SIZE, settings.num_workers, seed=seed
        ):
            yield batch["examples"].to(device, non_blocking=True)

    method.prepare(batches, train.class_counts)
