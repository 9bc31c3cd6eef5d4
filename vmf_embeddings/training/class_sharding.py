"""Class weights and their optimizer state divided among processes (`trainer.shard_classes`).

Each process writes those of its classes to a file of its own; a checkpoint that is read has all of
them, and each process takes its own when a run is resumed, whatever their number.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_sampling import ClassSampling
from vmf_embeddings.training import checkpoint, class_parts
from vmf_embeddings.training.global_batch import GlobalBatch
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

# their steps treat every number by itself
ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


@dataclass(frozen=True)
class ShardedClasses:
    """The parameters of a method that are divided among processes, by rows.

    Attributes:
        method: its parameters `names` hold the rows of this process's classes.
        shard: these classes.
        names: of the parameters.
    """

    method: Method
    shard: ClassShard
    names: tuple[str, ...]

    @classmethod
    def of(cls, method: Method) -> Self:
        """Those of a method whose classes are divided."""
        return cls(method, method.class_shard, tuple(method.sharded_parameters()))

    def parameters(self) -> list[nn.Parameter]:
        """The parameters, with this process's rows, in the order of the names."""
        return [self.method.get_parameter(name) for name in self.names]

    def own_names(self) -> list[str]:
        """The names, for wrappers that average gradients: these differ among processes."""
        return list(self.names)

    def local_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer: the same, as the parameters are ordinary ones."""
        return groups

    def connect(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuses an optimizer that needs all parameters together, see `refuse_optimizer`."""
        refuse_optimizer(optimizer)

    def own_optimizer_state(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> dict[str, Any]:
        """This process's part of a stored state of an optimizer over all classes."""
        of_parameter = dict(state["state"])
        for number in self._numbers(optimizer):
            values = of_parameter.get(number, {})
            of_parameter[number] = {
                key: value[self.shard.classes] if self._has_rows(value) else value
                for key, value in values.items()
            }
        return {**state, "state": of_parameter}

    def write_rows(
        self,
        of_method: dict[str, Any],
        of_optimizer: dict[str, Any],
        optimizer: torch.optim.Optimizer,
        folder: Path,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
        """Writes the rows of the own classes to a file of this process, see `class_parts`.

        Every process must call it; it returns when all have written.

        Args:
            of_method: state of the method.
            of_optimizer: state of the optimizer.
            optimizer: of the method's parameters.
            folder: of the run, the same for all processes.

        Returns:
            Both states without these rows, and the name of the files.
        """
        of_method = dict(of_method)
        own_weights = {name: of_method.pop(name) for name in self.names}
        of_parameter, own = dict(of_optimizer["state"]), {}
        n_own = self.shard.classes.stop - self.shard.classes.start
        for number in self._numbers(optimizer):
            values = dict(of_parameter.get(number, {}))
            rows = [key for key, value in values.items() if _has_rows(value, n_own)]
            own[number] = {key: values.pop(key) for key in rows}
            of_parameter[number] = values
        token = torch.tensor(time.time_ns(), device=self.parameters()[0].device)
        dist.broadcast(token, 0)
        named = {"token": int(token), "count": self.shard.world}
        path = class_parts.part_path(folder, named["token"], self.shard.rank, self.shard.world)
        part = {class_parts.KEY: class_parts.of_process(named, self.shard.rank)}
        part |= {class_parts.METHOD: own_weights, class_parts.OPTIMIZER: own}
        checkpoint.save(path, part)
        dist.barrier()
        return of_method, {**of_optimizer, "state": of_parameter}, named

    def status(self) -> dict[str, float]:
        """`Method.status` over all classes: the mean over processes, weighted by their classes.

        Of names that end in `_min` and `_max` the least and the largest. Every process must call
        it.
        """
        of_own, own = self.method.status(), self.shard.classes
        numbers = torch.tensor(list(of_own.values()), dtype=torch.float64)
        numbers = numbers.to(self.parameters()[0].device)
        total, least, largest = numbers * (own.stop - own.start), numbers.clone(), numbers.clone()
        dist.all_reduce(total)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        found = dict(zip(of_own, (total / self.shard.n_classes).tolist(), strict=True))
        for i, name in enumerate(of_own):
            if name.endswith(("_min", "_max")):
                found[name] = (least if name.endswith("_min") else largest)[i].item()
        return found

    def _numbers(self, optimizer: torch.optim.Optimizer) -> list[int]:
        """The numbers by which the optimizer's state names these parameters."""
        ordered = [id(p) for group in optimizer.param_groups for p in group["params"]]
        return [ordered.index(id(p)) for p in self.parameters() if p.requires_grad]

    def _has_rows(self, value: object) -> bool:
        return _has_rows(value, self.shard.n_classes)


def shard_classes(
    method: Method, *, learning_sampler: bool, accelerator: Accelerator
) -> ShardedClasses | None:
    """Leaves in each process the class weights of its classes; None for a single process.

    Args:
        method: on its device, with the weights of all classes; changed in place.
        learning_sampler: whether the sampler learns from the head after each step.
        accelerator: the processes.

    Raises:
        Refused: the method, its loss, the sampler or the number of classes does not allow it.
    """
    world = accelerator.num_processes
    try:
        names = tuple(method.sharded_parameters())
    except ValueError as error:
        raise Refused(str(error)) from error
    if learning_sampler or type(method).training_step is not Method.training_step:
        raise Refused(
            "trainer.shard_classes=true: this sampler, or this objective, needs all classes in "
            "every process; leave trainer.shard_classes=false"
        )
    if world == 1:
        return None
    n_classes = len(method.get_parameter(names[0]))
    if n_classes < world:
        raise Refused(
            f"trainer.shard_classes=true: {n_classes} classes cannot be divided among {world} "
            f"processes; start {n_classes} at most, or leave trainer.shard_classes=false"
        )
    shard = ClassShard(n_classes, accelerator.process_index, world)
    own = shard.classes
    log.info("Process %d holds classes %d to %d", shard.rank + 1, own.start, own.stop - 1)
    for name in names:
        module, _, own_name = name.rpartition(".")
        whole = method.get_parameter(name)
        rows = nn.Parameter(whole.detach()[shard.classes].clone(), whole.requires_grad)
        setattr(method.get_submodule(module), own_name, rows)
    method.class_shard, method.global_batch = shard, GlobalBatch(accelerator)
    return ShardedClasses.of(method)


def sample_classes(
    method: Method, sampling: ClassSampling, *, learning_sampler: bool, world: int
) -> None:
    """Lets the loss of each step use some of the classes, after they have been divided, if so.

    Args:
        method: on its device; changed in place.
        sampling: draws the classes.
        learning_sampler: whether the sampler learns from the head after each step.
        world: number of processes.

    Raises:
        Refused: the method or the sampler needs all classes, or processes have the same ones.
    """
    if learning_sampler or not method.samples_classes:
        raise Refused(
            "trainer.sampled_classes: this sampler, or this objective, needs all classes in every "
            "step; use method=vmf_softmax, normalized_sce, arcface or unnormalized_sce, or leave "
            "trainer.sampled_classes=null"
        )
    if world > 1 and method.class_shard is None:
        raise Refused(
            "trainer.sampled_classes in several processes needs trainer.shard_classes=true, so "
            "that each draws of its own classes"
        )
    log.info(
        "The loss of a step uses the classes of its batch and drawn ones, together %g of all; "
        "drawn ones stand for %s (trainer.sampled_classes)",
        *(sampling.fraction, "all others" if sampling.corrected else "themselves"),
    )
    shard = method.class_shard or ClassShard(len(method.class_weights), 0, 1)
    method.class_shard = replace(shard, sample=sampling)


def refuse_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuses an optimizer whose step depends on all parameters together, as by a norm.

    Raises:
        Refused: names the optimizer.
    """
    if type(optimizer) not in ELEMENTWISE:
        raise Refused(
            f"trainer.shard_classes=true: {type(optimizer).__name__} needs all parameters in every "
            "process; use optimizer=sgd, adam or adamw, or leave trainer.shard_classes=false"
        )


def _has_rows(value: object, n: int) -> bool:
    """Whether an optimizer's value has one row per class, as a momentum has."""
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == n
