"""A loss that compares rows sees those of the whole batch, however many processes share it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.seeding import generator_states, restore_generators

Batch = dict[str, Tensor]


class _Gather(torch.autograd.Function):
    """Rows of all processes in the order of the batch; a process's own get their gradient back.

    All processes compute the same loss of the same rows, so no gradient has to be sent. The loop
    weighs a process's loss by its share and gradients are averaged over processes, which leaves
    n_own / n_total of the gradient of the own rows: hence the factor.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, rows: Tensor, rank: int, world: int, n_total: int
    ) -> Tensor:
        ctx.own, ctx.factor = slice(rank, None, world), n_total / len(rows)
        return gather_rows(rows, rank, world, n_total)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, None, None, None]:
        return grad[ctx.own] * ctx.factor, None, None, None


class GlobalBatch:
    """Puts the shares of a batch together, under the same random draws in every process.

    Args:
        accelerator: says which of how many processes this is; their generators must be alike.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    def __call__(self, rows_of: Callable[[Batch], Batch], batch: Batch) -> Batch:
        """What a loss is given of the whole batch.

        Args:
            rows_of: from a batch to what the loss is given, with `labels`; see `Method.rows`.
            batch: this process's share, with the labels of the whole in `all_ids` [B].

        Returns:
            The same names, rows [B, …] in the order of the whole batch, with their dtype.
        """
        with self._drawing_apart():
            rows = rows_of(batch)
        labels = batch["all_ids"]
        place = self.rank, self.world, len(labels)
        gathered = {k: _Gather.apply(x, *place) for k, x in rows.items() if k != "labels"}
        return gathered | {"labels": labels}

    @contextmanager
    def _drawing_apart(self) -> Iterator[None]:
        """Draws within, such as a dropout's, differ by process; afterwards all are alike again.

        Where nothing is drawn, the generators go on as they would in one process.
        """
        alike = generator_states(self.device)
        meeting = int(torch.randint(2**62, ()))
        torch.manual_seed(meeting + 1 + self.rank)
        before = generator_states(self.device)
        yield
        after = generator_states(self.device)
        if all(map(torch.equal, before, after)):
            restore_generators(self.device, alike)
        else:
            torch.manual_seed(meeting)
