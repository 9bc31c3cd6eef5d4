"""One update of the weights: by one gradient of a batch, or by two if sharpness-aware."""

from functools import cached_property

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vmf_embeddings.training.micro_batches import Batch, batch_gradient
from vmf_embeddings.training.seeding import generator_states, restore_generators


class Step:
    """Forward pass, backward pass, update.

    Args:
        model: returns the loss of a batch; the method, wrapped if there are several processes.
        optimizer: Accelerate's wrapper of the optimizer.
        accelerator: device, precision and processes.
        micro_batches: parts of a batch whose activations are in memory at a time, >= 1.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        accelerator: Accelerator,
        micro_batches: int = 1,
    ) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.gradient = batch_gradient(model, accelerator, micro_batches)

    @cached_property
    def direct_optimizer(self) -> AcceleratedOptimizer | torch.optim.Optimizer:
        """The wrapped optimizer where Accelerate's wrapper adds nothing to its steps.

        The wrapper unscales gradients, and exchanges them on TPUs. For that it looks on disk, twice
        in every step, for a package of other optimizers: 5 % of the step of a linear head.
        """
        adds_nothing = self.accelerator.scaler is None and self.accelerator.distributed_type in (
            DistributedType.NO,
            DistributedType.MULTI_CPU,
            DistributedType.MULTI_GPU,
        )
        return self.optimizer.optimizer if adds_nothing else self.optimizer

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - only two passes have a radius
        """Called before every epoch, counted from 0. Default: nothing."""

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights once.

        Args:
            batch: this process's part of the batch, on its device.
            weight: weight of its mean loss, from `TrainBatches.epoch`.

        Returns:
            The loss times `weight`, scalar, without gradient.
        """
        loss = self.gradient(batch, weight)
        self.direct_optimizer.step()
        self.direct_optimizer.zero_grad(set_to_none=True)
        return loss


class TwoPasses(Step):
    """The step of a sharpness-aware optimizer: gradient at w, then at w + eps, which updates w.

    Both passes use the same batch and the same random numbers. BatchNorm's running statistics
    change in the first pass only, at w, unless the optimizer has `batch_statistics="twice"`. The
    loss of the second pass is minimised and returned. Modules with `moves_in_pass`, 1 or 2, keep
    state of the rows, such as a queue, and take those of that pass: `frozen` is set in the other.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        accelerator: Accelerator,
        micro_batches: int = 1,
    ) -> None:
        super().__init__(model, optimizer, accelerator, micro_batches)
        if accelerator.scaler is not None:
            raise ValueError(
                "a sharpness-aware optimizer takes the norm of unscaled gradients: train with "
                "trainer.precision=no or bf16, which do not scale them"
            )
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        self.statistics = [b for layer in layers for b in layer.buffers()]
        if optimizer.optimizer.batch_statistics == "twice":
            self.statistics = []
        self.moving = [each for each in model.modules() if hasattr(each, "moves_in_pass")]

    def begin_epoch(self, epoch: int) -> None:
        """Sets the radius |eps| of the epoch."""
        self.optimizer.optimizer.begin_epoch(epoch)

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights once; see `Step`."""
        random_states = generator_states(self.accelerator.device)
        self._freeze(in_pass=1)
        self.gradient(batch, weight, perturb=True)
        self._freeze(in_pass=2)
        statistics = [b.clone() for b in self.statistics]
        losses = []

        def backward_at_perturbed_weights() -> None:
            restore_generators(self.accelerator.device, random_states)
            losses.append(self.gradient(batch, weight))

        self.direct_optimizer.step(backward_at_perturbed_weights)
        self.direct_optimizer.zero_grad(set_to_none=True)
        for buffer, value in zip(self.statistics, statistics, strict=True):
            buffer.copy_(value)
        self._freeze(in_pass=None)
        return losses[0]

    def _freeze(self, in_pass: int | None) -> None:
        for each in self.moving:
            each.frozen = in_pass not in (None, each.moves_in_pass)


def step_for(
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
    micro_batches: int = 1,
) -> Step:
    """The step for an optimizer: `TwoPasses` if the wrapped optimizer has `passes = 2`."""
    kind = TwoPasses if getattr(optimizer.optimizer, "passes", 1) == 2 else Step
    return kind(model, optimizer, accelerator, micro_batches)
