"""Gathers the rows of a batch from all processes, for losses that compare rows with one another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.seeding import generator_states, restore_generators

Batch = dict[str, Tensor]


class _Gather(torch.autograd.Function):
    """Rows of all processes in the order of the batch; the gradient reaches a rank's own rows only.

    Every rank computes the full loss L of the same n rows, so it knows dL/d(its own n_r rows) and
    no gradient is communicated here. DDP averages the gradients of the weights over W ranks. Each
    rank thus contributes (1 / W) f dL/d(own rows), which is its part of the gradient of L for
    f = W. What the loss itself has, such as proxies, has the gradient of L in every rank.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, rows: Tensor, rank: int, world: int, n_total: int
    ) -> Tensor:
        ctx.own, ctx.factor = slice(rank, None, world), world
        return gather_rows(rows, rank, world, n_total)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, None, None, None]:
        return grad[ctx.own] * ctx.factor, None, None, None


class GlobalBatch:
    """Gives every process the rows of the whole batch, and random generators in the same state.

    Args:
        accelerator: knows the rank of this process and their number. The states of the random
            generators must be the same in all processes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    def __call__(self, local_inputs: Callable[[Batch], Batch], batch: Batch) -> Batch:
        """The arguments of a loss for the whole batch.

        Args:
            local_inputs: from a batch to the arguments of the loss by name, one of them `labels`;
                see `Method.loss_inputs`.
            batch: this process's part, with the labels of the whole batch in `all_ids` [B].

        Returns:
            The same names; rows [B, …] in the order of the whole batch, dtypes unchanged.
        """
        with self._different_random_numbers():
            rows = local_inputs(batch)
        labels = batch["all_ids"]
        place = self.rank, self.world, len(labels)
        gathered = {k: _Gather.apply(x, *place) for k, x in rows.items() if k != "labels"}
        return gathered | {"labels": labels}

    @contextmanager
    def _different_random_numbers(self) -> Iterator[None]:
        """Inside, processes draw different numbers (dropout); afterwards all have the same state.

        If nothing is drawn inside, the generators continue as in a single process.
        """
        common = generator_states(self.device)
        seed = int(torch.randint(2**62, ()))  # the same in all processes
        torch.manual_seed(seed + 1 + self.rank)
        before = generator_states(self.device)
        yield
        after = generator_states(self.device)
        if all(map(torch.equal, before, after)):
            restore_generators(self.device, common)
        else:
            torch.manual_seed(seed)
