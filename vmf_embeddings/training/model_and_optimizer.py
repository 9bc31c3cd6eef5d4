"""A method wrapped for its processes, and its optimizer: new, or restored to resume."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.backbone_sharding import ShardedBackbone
from vmf_embeddings.training.class_sharding import (
    ShardedClasses,
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
    divided: Sequence[ShardedClasses | ShardedBackbone],
) -> tuple[nn.Module, AcceleratedOptimizer]:
    """The wrapped method and its optimizer; optimizer, schedule and sampler restored to resume.

    Args:
        job: what to train.
        n_steps: batches of an epoch.
        accelerator: device, precision and processes.
        divided: the parameters that are divided among the processes, if any are.

    Raises:
        Refused: the optimizer cannot work on divided parameters, or the state to resume from does
            not belong to these parts.
    """
    settings, schedule, state = job.settings, job.schedule, job.state
    groups = job.method.param_groups(settings.temp_learning_rate, settings.class_weight_decay)
    if divided:
        model = averaging_the_rest(job.method, divided, accelerator)
        optimizer = accelerator.prepare_optimizer(_optimizer_of_own(job, groups, divided))
    elif groups:
        model, optimizer = accelerator.prepare(job.method, grouped(job.make_optimizer, groups))
    else:  # without epochs, a method without parameters; no optimizer works on none
        nothing = [{"params": [nn.Parameter(torch.zeros(1))]}]
        model = job.method
        optimizer = accelerator.prepare_optimizer(grouped(job.make_optimizer, nothing))
    schedule.attach(optimizer.optimizer, max(settings.epochs, 1), n_steps)
    if state is not None:
        stored = state["optimizer_state_dict"]
        for part in divided:
            stored = part.own_optimizer_state(optimizer.optimizer, stored)
        restore(optimizer.optimizer, stored)
        _restore(schedule, state["scheduler_state_dict"], "schedule")
        _restore(job.sampler, state["sampler_state_dict"], "sampler")
    return model, optimizer


def averaging_the_rest(
    method: Method, divided: Sequence[ShardedClasses | ShardedBackbone], accelerator: Accelerator
) -> nn.Module:
    """The method, prepared so that gradients of parameters that are not divided are averaged.

    Args:
        method: on its device.
        divided: its parameters that are divided among the processes.
        accelerator: the processes.

    Returns:
        The wrapped method; the method itself if nothing else learns.
    """
    names = [name for part in divided for name in part.own_names()]
    own = {id(method.get_parameter(name)) for name in names}
    if not any(p.requires_grad and id(p) not in own for p in method.parameters()):
        return method  # there is nothing to average
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(method, names)
    return accelerator.prepare_model(method)


def _optimizer_of_own(
    job: TrainingJob,
    groups: list[dict[str, Any]],
    divided: Sequence[ShardedClasses | ShardedBackbone],
) -> torch.optim.Optimizer:
    """The optimizer over the parameters of which this process has a part.

    Raises:
        Refused: its step depends on all parameters together.
    """
    for part in divided:
        groups = part.local_groups(groups)
    optimizer = grouped(job.make_optimizer, groups)
    for part in divided:
        part.connect(optimizer)
    return optimizer


def _restore(part: _Stateful, stored: dict[str, Any], name: str) -> None:
    """Loads the stored state of a schedule or a sampler.

    Raises:
        Refused: it is the state of another one.
    """
    message = f"the last checkpoint's {name} does not fit"
    refuse_other_types(stored, part.state_dict(), message)
    restore_part(lambda: part.load_state_dict(stored), message)
