"""Backbones divided among processes (`trainer.shard_backbone`) by torch's FSDP2.

Zhao et al. 2023, "PyTorch FSDP", https://arxiv.org/abs/2304.11277. Each process holds a part of
every parameter, of its gradient and of what the optimizer keeps of it; a block's parameters are
collected while it computes. Everything outside the backbone is whole in every process.

A checkpoint holds whole tensors, as of any other run: the first process collects them when it is
written, and each takes its own when a run is resumed, whatever their number.

Accelerate's plugin of FSDP2 shards on GPUs only, and would shard class weights too, which losses
and predictions need whole; so torch's `fully_shard` is called here.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.blocks import blocks
from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:  # a second of import, for those who divide backbones only
    from torch.distributed.tensor import DTensor

log = logging.getLogger(__name__)

KEY = "trainer.shard_backbone=true"
# their steps treat every number by itself
ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


@dataclass(frozen=True)
class ShardedBackbone:
    """A method whose backbones are divided among processes, and the optimizer's view of them.

    The optimizer works on the local parts as ordinary parameters, so that its fused kernels take
    them together with those of the head.

    Attributes:
        method: its backbones' parameters are distributed tensors.
        rank: this process.
        world: number of processes.
        local: local part by distributed parameter, as a parameter of the optimizer.
    """

    method: Method
    rank: int
    world: int
    local: dict[nn.Parameter, nn.Parameter]

    @classmethod
    def of(cls, method: Method, accelerator: Accelerator) -> "ShardedBackbone":
        """That of a method whose backbones are divided."""
        from torch.distributed.tensor import DTensor

        local = {
            p: nn.Parameter(p.detach().to_local(), p.requires_grad)
            for p in method.parameters()
            if isinstance(p, DTensor)
        }
        return cls(method, accelerator.process_index, accelerator.num_processes, local)

    def own_names(self) -> list[str]:
        """Names of the divided parameters, whose gradients FSDP2 averages."""
        return [name for name, p in self._named_parameters() if p in self.local]

    def local_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Parameter groups with local parts in place of distributed parameters."""
        return [{**g, "params": [self.local.get(p, p) for p in g["params"]]} for g in groups]

    def connect(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets an optimizer over `local_groups` take the gradients of the distributed parameters.

        Raises:
            Refused: its step depends on all parameters together, as by a norm.
        """
        if type(optimizer) not in ELEMENTWISE:
            raise Refused(
                f"{KEY}: {type(optimizer).__name__} needs all parameters in every process; use "
                "optimizer=sgd, adam or adamw, or leave trainer.shard_backbone=false"
            )
        optimizer.register_step_pre_hook(self._take_gradients)

    def _take_gradients(self, *_: object) -> None:
        for distributed, own in self.local.items():
            own.data = distributed.detach().to_local()
            grad, distributed.grad = distributed.grad, None
            own.grad = None if grad is None else grad.to_local()

    def own_optimizer_state(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> dict[str, Any]:
        """This process's part of a stored state of an optimizer over whole parameters."""
        of_parameter = dict(state["state"])
        for number, distributed in self._numbers(optimizer).items():
            n_rows = -(-len(distributed) // self.world)
            own = slice(n_rows * self.rank, n_rows * (self.rank + 1))
            values = of_parameter.get(number, {})
            of_parameter[number] = {k: x[own] if _has_rows(x) else x for k, x in values.items()}
        return {**state, "state": {n: v for n, v in of_parameter.items() if v}}

    def whole_states(
        self, optimizer: torch.optim.Optimizer
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """States of the method and of an optimizer with whole tensors.

        Every process must call it. They are complete in the first process, on the CPU; in the
        others they lack what is distributed.
        """
        whole = {distributed: self._whole(distributed) for distributed in self.local}
        of_method = dict(self.method.state_dict())
        for name, parameter in self._named_parameters():
            if parameter in whole:
                of_method[name] = whole[parameter]
        of_optimizer = optimizer.state_dict()
        of_parameter = dict(of_optimizer["state"])
        for number, distributed in self._numbers(optimizer).items():
            values = of_parameter.get(number, {})
            of_parameter[number] = {
                key: self._whole(_distributed(x, distributed)) if _has_rows(x) else x
                for key, x in values.items()
            }
        kept = {number: values for number, values in of_parameter.items() if values}
        return of_method, {**of_optimizer, "state": kept}

    def _whole(self, value: "DTensor") -> Tensor | None:
        """The whole tensor on the CPU in the first process; None in the others."""
        whole = value.detach().full_tensor()
        return whole.cpu() if self.rank == 0 else None

    def _numbers(self, optimizer: torch.optim.Optimizer) -> dict[int, nn.Parameter]:
        """Number in the optimizer's state -> distributed parameter."""
        ordered = [p for group in optimizer.param_groups for p in group["params"]]
        place = {id(p): number for number, p in enumerate(ordered)}
        return {place[id(o)]: d for d, o in self.local.items() if id(o) in place}

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Also those of a backbone that has a second name."""
        return list(self.method.named_parameters(remove_duplicate=False))


def shard_backbone(job: TrainingJob, accelerator: Accelerator) -> ShardedBackbone | None:
    """Leaves in each process its part of the backbones' parameters; None for a single process.

    Args:
        job: its method is on its device, with whole parameters; changed in place.
        accelerator: the processes.

    Raises:
        Refused: an option, the objective or the network does not allow it.
    """
    for reason in _reasons(job):
        raise Refused(f"{KEY}: {reason}, or leave trainer.shard_backbone=false")
    if accelerator.num_processes == 1:
        return None
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    method = job.method
    for arch in method.backbones:
        scalars = {p for p in arch.parameters() if p.ndim == 0}  # which FSDP2 does not divide
        for part in (*blocks(arch), arch):
            fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
    sharded = ShardedBackbone.of(method, accelerator)
    log.info(
        "Process %d holds %d of the backbone's %d numbers",
        *(accelerator.process_index + 1, sum(p.numel() for p in sharded.local.values())),
        sum(p.numel() for p in sharded.local),
    )
    return sharded


def _reasons(job: TrainingJob) -> list[str]:
    """Why the backbone of a job cannot be divided, with what to type instead."""
    settings, method = job.settings, job.method
    needs_features = getattr(getattr(method, "criterion", None), "needs_features", False)
    learns = all(_learns(arch) for arch in method.backbones)
    found = {
        "a warm-up freezes whole parameters; use mode.warmup_epochs=0": settings.warmup_epochs > 0,
        "a divided network is not compiled; use trainer.compile=false": settings.execution.compile,
        "a frozen backbone has no gradient to divide; use arch.params.frozen=false": not learns,
        "this criterion takes features from inside the backbone; use another": needs_features,
        "this network has no residual or transformer blocks; use arch=resnet50, timm or others of "
        "their kind": not all(map(blocks, method.backbones)),
    }
    return [reason for reason, applies in found.items() if applies]


def _learns(arch: Arch) -> bool:
    return any(p.requires_grad for p in arch.backbone_parameters())


def _has_rows(value: object) -> bool:
    """Whether an optimizer's value is divided like its parameter, as a momentum is."""
    return isinstance(value, Tensor) and value.dim() > 0


def _distributed(value: Tensor, like: "DTensor") -> "DTensor":
    """A local part as the part of a whole tensor of another one's shape."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        value,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
