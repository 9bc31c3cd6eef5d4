"""One update of the weights: forward and backward once, or twice for a sharpness-aware one."""

from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vmf_embeddings.training.seeding import generator_states, restore_generators

Batch = dict[str, Any]


class Step:
    """Forward, backward, update.

    Args:
        model: the method, wrapped where there are several processes; from a batch to a loss.
        optimizer: Accelerate's, around the one that updates.
        accelerator: device, precision and processes.
    """

    def __init__(self, model: nn.Module, optimizer: Any, accelerator: Accelerator) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - only two passes have a radius
        """Told before every epoch, counted from 0. Default: nothing."""

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights once.

        Args:
            batch: this process's share, on its device.
            weight: of the share, by `TrainBatches.epoch`.

        Returns:
            The loss times `weight`, scalar, without gradient.
        """
        loss = self.model(batch) * weight
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class TwoPasses(Step):
    """For a sharpness-aware optimizer: the gradient at the weights, then the one to update by.

    Both passes see the same batch and make the same random draws. Batch statistics move in the
    first alone, at the weights themselves, unless the optimizer says twice. The loss of the second
    is the one that is minimised, and the one returned.
    """

    def __init__(self, model: nn.Module, optimizer: Any, accelerator: Accelerator) -> None:
        super().__init__(model, optimizer, accelerator)
        if accelerator.scaler is not None:
            raise ValueError(
                "a sharpness-aware optimizer takes the norm of unscaled gradients: train with "
                "trainer.precision=no or bf16, which scale nothing"
            )
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        self.statistics = [b for layer in layers for b in layer.buffers()]
        if optimizer.optimizer.batch_statistics == "twice":
            self.statistics = []

    def begin_epoch(self, epoch: int) -> None:
        """Sets the radius of the epoch."""
        self.optimizer.optimizer.begin_epoch(epoch)

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights once; see `Step`."""
        draws = generator_states(self.accelerator.device)
        first = self.model(batch, perturb=True) * weight + self._touch_everything()
        self.accelerator.backward(first)
        statistics = [b.clone() for b in self.statistics]
        losses = []

        def at_the_worst_point() -> None:
            restore_generators(self.accelerator.device, draws)
            loss = self.model(batch) * weight
            self.accelerator.backward(loss)
            losses.append(loss.detach())

        self.optimizer.step(at_the_worst_point)
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, value in zip(self.statistics, statistics, strict=True):
            buffer.copy_(value)
        return losses[0]

    def _touch_everything(self) -> Tensor | float:
        """0 with a gradient of 0 for every parameter: processes that share gradients wait for all.

        A method's `perturb_loss` may leave some parameters out.
        """
        if self.accelerator.num_processes == 1:
            return 0.0
        return 0.0 * sum(p.sum() for p in self.model.parameters() if p.requires_grad)


def step_for(model: nn.Module, optimizer: Any, accelerator: Accelerator) -> Step:
    """The step that Accelerate's `optimizer` takes: one pass, unless it says `passes = 2`."""
    kind = TwoPasses if getattr(optimizer.optimizer, "passes", 1) == 2 else Step
    return kind(model, optimizer, accelerator)
