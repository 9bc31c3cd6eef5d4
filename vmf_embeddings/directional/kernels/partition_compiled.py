"""`partition_tile.Partition` by compiled code: prepares the arguments of `kernels/partition`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.kernels import partition as block_kernel
from vmf_embeddings.directional.kernels.difference_compiled import normalizer_arguments
from vmf_embeddings.directional.kernels.distributions import squared_lengths

LOGITS_PER_PART = 2**16  # of the work that a thread takes at a time
LANES = 16  # columns are padded to a multiple of this if classes are few


class CompiledPartition:
    """See `partition_tile.Partition`; float32 on the CPU."""

    def __init__(
        self,
        weights: Tensor,
        beta: Tensor,
        kernel: Kernel,
        antithetic: bool,
        draw_weight: float,
        log_weights: Tensor | None = None,
    ) -> None:
        self.antithetic, self.draw_weight = antithetic, draw_weight
        few = len(weights) < 64 * LANES
        self.columns = -(-len(weights) // LANES) * LANES if few else len(weights)
        lengths = squared_lengths(weights.detach().contiguous().numpy())
        normalizer = normalizer_arguments(torch.from_numpy(lengths), kernel.plan, self.columns)
        if log_weights is not None:
            terms = normalizer[4]
            terms[3, : len(weights)] -= log_weights.numpy()  # that row is subtracted from logits
        self.fixed = (np.float32(draw_weight), np.float32(beta.item()), *normalizer)
        self.value = torch.zeros((), dtype=torch.float64)
        self.grad_beta = torch.zeros((), dtype=torch.float64)
        self.grad_squared_norm = torch.zeros(self.columns)

    def block(
        self, dots: Tensor, angle: Tensor, mu_component_ratio: Tensor, log_sums: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Partition.block`."""
        given = log_sums is not None
        log_sums = log_sums if given else torch.empty(0, 0, 0, dtype=torch.float64)
        grad_angle, class_coeff = angle.clone(), torch.empty_like(dots[0])
        point_coeff = angle.new_empty(len(dots), len(class_coeff))
        ratio = mu_component_ratio.contiguous()
        tensors = (dots, grad_angle, ratio, log_sums, class_coeff, point_coeff)
        arguments = (*(t.numpy() for t in tensors), self.antithetic, given, *self.fixed)
        self._add(
            len(class_coeff), len(angle), lambda i, j: block_kernel.add_images(*arguments, i, j)
        )
        return class_coeff, point_coeff, grad_angle

    def log_sums(self, dots: Tensor, angle: Tensor) -> Tensor:
        """See `Partition.log_sums`."""
        log_sums = torch.empty(1 + self.antithetic, *angle.shape, dtype=torch.float64)
        arguments = (dots.numpy(), angle.contiguous().numpy(), log_sums.numpy(), *self.fixed)
        threads.in_threads(lambda i, j: block_kernel.fill_log_sums(*arguments, i, j), dots.shape[1])
        return log_sums

    def draws(self, dots: Tensor) -> None:
        """See `Partition.draws`."""
        arguments = (dots.numpy(), *self.fixed)
        self._add(len(dots), 1, lambda i, j: block_kernel.add_draws(*arguments, i, j))

    def _add(self, n_rows: int, n_draws: int, work: Callable[[int, int], Any]) -> None:
        """Adds what work(first, end) returns for parts of the rows, each with `n_draws` draws.

        Parts do not depend on the number of threads, so that neither do their sums.
        """
        size = max(1, LOGITS_PER_PART // (n_draws * self.columns))
        parts = [(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]
        for value, grad_beta, grad_norm in threads.each(lambda part: work(*part), parts):
            self.value += self.draw_weight * value
            self.grad_beta += grad_beta
            self.grad_squared_norm += torch.from_numpy(grad_norm).div_(2)
