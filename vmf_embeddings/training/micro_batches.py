"""The gradient of a batch from parts of it: the activations of one part are in memory at a time.

Where the loss is a mean over rows, each part has its own backward pass. Where the loss sees the
whole batch together, the parts are embedded twice ("gradient caching", Gao, Zhang, Han, Callan
2021, https://arxiv.org/abs/2101.06983): first without gradient, for the loss and its gradient with
respect to the embeddings; then with, for the gradient of the network.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vmf_embeddings.archs.batch_norm_statistics import kept_statistics
from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.seeding import generator_states, restore_generators
from vmf_embeddings.untrusted.refused import Refused

Batch = dict[str, Any]


class BatchGradient:
    """Adds the gradient of a batch's loss to the gradients of the parameters.

    Args:
        model: returns the loss of a batch; the method, wrapped if there are several processes.
        accelerator: device, precision and processes.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        self.model, self.accelerator = model, accelerator

    def __call__(self, batch: Batch, weight: float, *, perturb: bool = False) -> Tensor:
        """One forward and backward pass.

        Args:
            batch: this process's part of the batch, on its device.
            weight: factor of its mean loss.
            perturb: whether the loss is that of `Method.perturb_loss`.

        Returns:
            The loss times `weight`, scalar, without gradient.
        """
        return self._backward(self._loss(batch, perturb=perturb) * weight)

    def _loss(self, batch: Batch, *, perturb: bool) -> Tensor:
        if not perturb:
            return self.model(batch)
        # it may not use all parameters, while processes wait for the gradient of each
        return self.model(batch, perturb=True) + zero_from_all_parameters(
            self.model, self.accelerator
        )

    def _backward(self, loss: Tensor) -> Tensor:
        self.accelerator.backward(loss)
        return loss.detach()


class _InParts(BatchGradient):
    """Base of those that cut a batch into parts of equal size, up to one row.

    Args:
        model: see `BatchGradient`.
        accelerator: see there.
        n_parts: of a batch; a small last batch has fewer, so that each has two rows.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator, n_parts: int) -> None:
        super().__init__(model, accelerator)
        self.method: Method = accelerator.unwrap_model(model)
        self.n_parts = n_parts

    def parts(self, batch: Batch) -> list[Batch]:
        """The parts of this process's part of a batch: as many in every process."""
        paired = self.method.batch_layout.paired
        n_total = len(batch.get("all_ids", batch["ids"]))
        # of the process with the fewest; batch normalisation needs two
        n_units = n_total // self.accelerator.num_processes // (4 if paired else 2)
        n_parts = max(1, min(self.n_parts, n_units))
        cut = _cut_pairs if paired else partial(torch.tensor_split, dim=0)
        columns = {key: cut(x, n_parts) for key, x in batch.items() if key != "all_ids"}
        return [{key: x[number] for key, x in columns.items()} for number in range(n_parts)]

    def exchanged(self, *, now: bool) -> AbstractContextManager:
        """Inside, a backward pass exchanges gradients with other processes only if `now`."""
        no_sync = getattr(self.model, "no_sync", nullcontext)
        return nullcontext() if now else no_sync()


def _cut_pairs(rows: Tensor, n_parts: int) -> list[Tensor]:
    """Parts of a batch of 2 B rows in which row B + i is paired with row i, in the same form."""
    halves = (half.tensor_split(n_parts) for half in rows.chunk(2))
    return [torch.cat(pair) for pair in zip(*halves, strict=True)]


class GradientOfRowMean(_InParts):
    """Of a loss that is a mean over rows: the parts' gradients, weighted by their rows.

    A loss that draws random numbers draws them part by part. What a method draws once for a whole
    batch of pairs, such as the weight of a mixture, is the same in all parts: each begins with the
    random generators in the same state, as then does its dropout.
    """

    def __call__(self, batch: Batch, weight: float, *, perturb: bool = False) -> Tensor:
        """One forward and backward pass for each part; see `BatchGradient`."""
        device = self.accelerator.device
        parts, n_rows, losses = self.parts(batch), len(batch["ids"]), []
        states = generator_states(device) if self.method.batch_layout.paired else None
        for number, part in enumerate(parts, 1):
            if states is not None:
                restore_generators(device, states)
            with self.exchanged(now=number == len(parts)):
                loss = self._loss(part, perturb=perturb)
                losses.append(self._backward(loss * (weight * len(part["ids"]) / n_rows)))
        return torch.stack(losses).sum()


@dataclass
class _JoinedRows:
    """The arguments of a loss for a whole batch, computed part by part without gradient.

    Attributes:
        method: computes them.
        parts: of the batch.
        device: of the random generators.
        states: of the generators before each part.
        leaves: the joined rows by name; those of floating point collect a gradient.
    """

    method: Method
    parts: list[Batch]
    device: torch.device
    states: list[list[Tensor]] = field(default_factory=list)
    leaves: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Stands for `Method.loss_inputs` of the whole batch."""
        found = []
        with kept_statistics(self.method), torch.no_grad():
            for part in self.parts:
                self.states.append(generator_states(self.device))
                found.append(self.method.loss_inputs(part))
        self.leaves = {name: torch.cat([rows[name] for rows in found]) for name in found[0]}
        for name, rows in self.leaves.items():
            if name != "labels" and rows.is_floating_point():
                rows.requires_grad_()
        return self.leaves

    def gradients(self) -> Iterator[dict[str, Tensor]]:
        """For each part, the gradients of its rows by name."""
        sizes = [len(part["ids"]) for part in self.parts]
        grads = {k: x.grad.split(sizes) for k, x in self.leaves.items() if x.grad is not None}
        for number in range(len(sizes)):
            yield {name: of_parts[number] for name, of_parts in grads.items()}


class GradientOfJoinedRows(_InParts):
    """Of a loss that sees the rows of the whole batch together: equal to that without parts.

    Each part is embedded a second time with the random numbers of the first. Batch normalisation
    updates its running statistics in the second pass only.
    """

    def __call__(self, batch: Batch, weight: float, *, perturb: bool = False) -> Tensor:
        """The loss of the joined rows, then a backward pass for each part; see `BatchGradient`."""
        device = self.accelerator.device
        joined = _JoinedRows(self.method, self.parts(batch), device)
        with self.accelerator.autocast():
            together = self.method.global_batch
            inputs = joined(batch) if together is None else together(joined, batch)
            loss = self.method.loss(**inputs) * weight
        loss = self._backward(loss)
        after = generator_states(device)
        for number, gradients in enumerate(joined.gradients(), 1):
            restore_generators(device, joined.states[number - 1])
            is_last = number == len(joined.parts)
            with self.exchanged(now=is_last):
                of_rows = self._inner_product(gradients, of_all=is_last)
                value = self.model(joined.parts[number - 1], of_inputs=of_rows)
                if value.requires_grad:
                    self.accelerator.backward(value)
        restore_generators(device, after)
        return loss

    def _inner_product(
        self, gradients: dict[str, Tensor], *, of_all: bool
    ) -> Callable[[dict[str, Tensor]], Tensor]:
        """Rows by name -> sum of rows * gradients, whose derivative is that of the loss.

        With `of_all`, it is a function of all parameters: gradients are exchanged after its
        backward pass, including those that the loss itself has left.
        """

        def of_rows(rows: dict[str, Tensor]) -> Tensor:
            products = [(rows[k] * g).sum() for k, g in gradients.items() if rows[k].requires_grad]
            zero = zero_from_all_parameters(self.model, self.accelerator) if of_all else 0.0
            return torch.as_tensor(sum(products) + zero)

        return of_rows


def zero_from_all_parameters(model: nn.Module, accelerator: Accelerator) -> Tensor | float:
    """0, with a gradient of 0 for every trainable parameter whose gradient processes average."""
    if accelerator.num_processes == 1:
        return 0.0
    from torch.distributed.tensor import DTensor  # of a divided backbone, which averages by itself

    averaged = [p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    return 0.0 * sum(p.sum() for p in averaged)


def batch_gradient(model: nn.Module, accelerator: Accelerator, n_parts: int) -> BatchGradient:
    """What computes the gradient of a batch.

    Args:
        model: the method, wrapped if there are several processes.
        accelerator: device, precision and processes.
        n_parts: parts of a batch, >= 1.

    Raises:
        Refused: the loss sees the whole batch together, in a training step of the method's own.
    """
    if n_parts == 1:
        return BatchGradient(model, accelerator)
    method = accelerator.unwrap_model(model)
    if method.loss_is_row_mean and method.class_shard is None:
        return GradientOfRowMean(model, accelerator, n_parts)
    own = [
        name
        for name in ("training_step", "perturb_loss")
        if getattr(type(method), name) is not getattr(Method, name)
    ]
    if own:
        raise Refused(
            f"trainer.micro_batches={n_parts}: method={method.name} compares the rows of a batch "
            f"in its own {own[0]}, which cannot be cut; use trainer.micro_batches=1"
        )
    return GradientOfJoinedRows(model, accelerator, n_parts)
