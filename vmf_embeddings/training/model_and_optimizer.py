"""A method wrapped for its processes, and its optimizer: new, or restored to resume."""

import logging
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from vmf_embeddings.training.backbone_sharding import ShardedBackbone
from vmf_embeddings.training.class_sharding import (
    ShardedClasses,
    refuse_optimizer,
    sample_classes,
    shard_classes,
)
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.learned_parameters import learned_line, refuse_nothing_to_learn
from vmf_embeddings.training.optimizers import grouped, restore
from vmf_embeddings.training.stored_state import refuse_other_types, restore_part

log = logging.getLogger(__name__)


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def sharded_classes(job: TrainingJob, accelerator: Accelerator) -> ShardedClasses | None:
    """Logs what learns; divides the classes among the processes if `trainer.shard_classes`.

    With `trainer.sampled_classes`, losses use some of the classes of a process.

    Args:
        job: its method is on its device, with the weights of all classes.
        accelerator: the processes.

    Returns:
        None where every process has all classes.

    Raises:
        Refused: nothing learns, or the classes cannot be divided or sampled.
    """
    log.info("%s", learned_line(job.method))
    if job.settings.epochs:
        refuse_nothing_to_learn(job.method)
    sharded, learns = None, job.sampler.learns
    if job.settings.shard_classes:
        sharded = shard_classes(job.method, learning_sampler=learns, accelerator=accelerator)
    if job.settings.sampling is not None:
        sampling, world = job.settings.sampling, accelerator.num_processes
        sample_classes(job.method, sampling, learning_sampler=learns, world=world)
    return sharded


def model_and_optimizer(
    job: TrainingJob,
    n_steps: int,
    accelerator: Accelerator,
    sharded: ShardedClasses | ShardedBackbone | None,
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """The wrapped method and its optimizer; optimizer, schedule and sampler restored to resume.

    Args:
        job: what to train.
        n_steps: batches of an epoch.
        accelerator: device, precision and processes.
        sharded: the parameters that are divided among the processes, if any are.

    Raises:
        Refused: the optimizer cannot work on divided parameters, or the state to resume from does
            not belong to these parts.
    """
    settings, schedule, state = job.settings, job.schedule, job.state
    groups = job.method.param_groups(settings.temp_learning_rate, settings.class_weight_decay)
    if sharded is not None:
        unwrapped = _optimizer_of_own(job, groups, sharded)
        model, optimizer = sharded.model(accelerator), accelerator.prepare_optimizer(unwrapped)
    elif groups:
        model, optimizer = accelerator.prepare(job.method, grouped(job.make_optimizer, groups))
    else:  # without epochs, a method without parameters; no optimizer works on none
        nothing = [{"params": [nn.Parameter(torch.zeros(1))]}]
        model = job.method
        optimizer = accelerator.prepare_optimizer(grouped(job.make_optimizer, nothing))
    schedule.attach(optimizer.optimizer, max(settings.epochs, 1), n_steps)
    if state is not None:
        stored = state["optimizer_state_dict"]
        if sharded is not None:
            stored = sharded.own_optimizer_state(optimizer.optimizer, stored)
        restore(optimizer.optimizer, stored)
        _restore(schedule, state["scheduler_state_dict"], "schedule")
        _restore(job.sampler, state["sampler_state_dict"], "sampler")
    return model, optimizer


def _optimizer_of_own(
    job: TrainingJob, groups: list[dict[str, Any]], sharded: ShardedClasses | ShardedBackbone
) -> torch.optim.Optimizer:
    """The optimizer over the parameters of which this process has a part.

    Raises:
        Refused: its step depends on all parameters together.
    """
    if isinstance(sharded, ShardedBackbone):
        optimizer = grouped(job.make_optimizer, sharded.local_groups(groups))
        sharded.connect(optimizer)
        return optimizer
    optimizer = grouped(job.make_optimizer, groups)
    refuse_optimizer(optimizer)
    return optimizer


def _restore(part: _Stateful, stored: dict[str, Any], name: str) -> None:
    """Loads the stored state of a schedule or a sampler.

    Raises:
        Refused: it is the state of another one.
    """
    message = f"the last checkpoint's {name} does not fit"
    refuse_other_types(stored, part.state_dict(), message)
    restore_part(lambda: part.load_state_dict(stored), message)
