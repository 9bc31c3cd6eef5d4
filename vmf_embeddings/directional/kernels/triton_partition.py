"""`partition_tile.Partition` by Triton: calls the code of `triton_code`; imports Triton.

Never measured on a GPU, hence off unless VMF_EMBEDDINGS_TRITON=1 (`native.triton_enabled`). The
products with all classes stay those of PyTorch, on the same blocks of logits, and tables stay in
memory between the passes. At 128 dimensions value and gradients of one block take 46 calls in place
of 156 (counted on a CPU).
"""

import torch
import triton
from torch import Tensor

from vmf_embeddings.directional.kernels import triton_code
from vmf_embeddings.directional.partition_tile import TorchPartition

IMAGES_OF_TILE, CLASSES_OF_TILE = 16, 128
TILES_OF_SPLIT = 16  # classes that one program adds up: 2,048
CLASSES_OF_NORM, WIDTH_OF_NORM = 16, 128  # of a program that sums the squares of class weights
N_WARPS = 16  # of a program; with 8 or fewer an H100's registers hold fewer of them at a time


class TritonPartition(TorchPartition):
    """See `partition_tile.Partition`; float32, dims whose expansion needs no recurrence (>= 16).

    Sums are in a fixed order: results are the same in every run.
    """

    def _prepare(self, weights: Tensor) -> None:
        plan = self.kernel.plan
        self.weights, n_classes = weights.detach().contiguous(), len(weights)
        self.values = {"order": plan.order, "values": plan.value or (0.0,)}
        self.terms = self.weights.new_empty(4, n_classes)
        triton_code.terms_kernel[(triton.cdiv(n_classes, CLASSES_OF_NORM),)](
            *(self.weights, self.terms, n_classes),
            **self.values,
            dim=weights.shape[1],
            classes_of_tile=CLASSES_OF_NORM,
            width=WIDTH_OF_NORM,
        )
        if self.log_weights is not None:
            self.terms[3] -= self.log_weights

    def draws(self, dots: Tensor) -> None:
        """See `Partition.draws`; by PyTorch, as only the loss of given draws needs it."""
        super()._prepare(self.weights)
        super().draws(dots)

    def log_sums(self, dots: Tensor, angle: Tensor) -> Tensor:
        """See `Partition.log_sums`."""
        return self._log_sums(dots[0], dots[1:], angle.cos(), angle.sin())

    def _beta(self) -> Tensor:
        return self.beta.detach().to(torch.float32).reshape(1)

    def _log_sums(self, mu_dots: Tensor, v_dots: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Log partitions [1 or 2, S, n], float64, from dots [n, C], [S, n, C] and angles [S, n]."""
        n_draws, n_images, n_classes = v_dots.shape
        n_splits = triton.cdiv(n_classes, CLASSES_OF_TILE * TILES_OF_SPLIT)
        maxima, sums = cosine.new_empty(2, len(self.signs), n_draws, n_images, n_splits)
        grid = (triton.cdiv(n_images, IMAGES_OF_TILE), n_draws, n_splits)
        triton_code.log_sums_kernel[grid](
            *(mu_dots, v_dots, v_dots.stride(0), cosine.contiguous(), sine.contiguous()),
            *(self.terms, self._beta(), maxima, sums),
            *(n_images, n_draws, n_classes, n_splits),
            **self.values,
            signs=len(self.signs),
            images_of_tile=IMAGES_OF_TILE,
            classes_of_tile=CLASSES_OF_TILE,
            tiles_of_split=TILES_OF_SPLIT,
            num_warps=N_WARPS,
        )
        return (maxima.double() + sums.double().log()).logsumexp(-1)

    def _tile(
        self,
        mu_dots: Tensor,
        v_dots: Tensor,
        per_draw: Tensor,
        class_coeff: Tensor,
        log_sums: Tensor | None,
    ) -> Tensor:
        """See `TorchPartition._tile`."""
        n_draws, n_images, n_classes = v_dots.shape
        cosine, sine, ratio = per_draw.squeeze(-1).contiguous()
        if log_sums is None:
            known = self._log_sums(mu_dots, v_dots, cosine, sine)
            self.value += known.sum() * self.draw_weight
        else:
            known = log_sums.squeeze(-1)
        grid = tuple(map(triton.cdiv, (n_images, n_classes), (IMAGES_OF_TILE, CLASSES_OF_TILE)))
        row_sums = cosine.new_empty(4, n_draws, n_images, grid[1])
        class_sums = cosine.new_empty(grid[0], n_classes)
        triton_code.gradients_kernel[grid](
            *(mu_dots, v_dots, v_dots.stride(0), cosine, sine, ratio),
            *(known.float().contiguous(), self.terms, self._beta(), self.draw_weight),
            *(class_coeff, row_sums, class_sums),
            *(n_images, n_classes, grid[1]),
            **self.values,
            slopes=self.kernel.plan.slope or (0.0,),
            signs=len(self.signs),
            n_draws=n_draws,
            images_of_tile=IMAGES_OF_TILE,
            classes_of_tile=CLASSES_OF_TILE,
            num_warps=N_WARPS,
        )
        sums = row_sums.sum(-1)
        self.grad_squared_norm += class_sums.sum(0)
        self.grad_beta += sums[3].sum()
        return sums[:3]
