"""From dot products with the classes to the log partition and its derivatives, in plain PyTorch.

The elementwise part of `partition`, whose head states the derivatives. Work is done tile by tile so
that temporaries stay in the cache; `kernels/partition_compiled.py` does the same with Numba.
"""

from typing import Protocol

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import widen
from vmf_embeddings.directional.difference import Kernel

CPU_TILE = 2**15  # logits per tile and thread
DEVICE_TILE = 2**24


class Partition(Protocol):
    """Sums over all blocks of images, and the work on one block.

    Attributes:
        columns: classes in a table of dot products, >= C; those beyond C are padding with zero
            weights and do not count.
        value: mean log partition so far, [].
        grad_beta: derivative with respect to beta so far, [].
        grad_squared_norm: derivative with respect to |w_c|^2 of every class so far, [columns].
    """

    columns: int
    value: Tensor
    grad_beta: Tensor
    grad_squared_norm: Tensor

    def block(
        self, dots: Tensor, angle: Tensor, mu_component_ratio: Tensor, log_sums: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adds a block of images; derivatives overwrite the dot products.

        Args:
            dots: dot products of mu and of the S directions v with every class [1 + S, n, C],
                overwritten by the derivatives with respect to them.
            angle: angles between the draws and mu [S, n].
            mu_component_ratio: r of the directions v, see `tangent` [S, n].
            log_sums: log partitions of the draws, if known, in float64 [1 or 2, S, n]; those of the
                draws with -v come second. Then `value` stays as it is.

        Returns:
            class_coeff [n, C], point_coeff [1 + S, n] and the gradient of the angles [S, n]. The
            gradient of mu is class_coeff times the class weights plus the sum of point_coeff times
            the points (mu and the directions v).
        """

    def log_sums(self, dots: Tensor, angle: Tensor) -> Tensor:
        """Log partitions of the draws [1 or 2, S, n], arguments as for `block`; keeps `dots`."""

    def draws(self, dots: Tensor) -> None:
        """Adds given draws: derivatives overwrite their dot products z.w [n, C]."""


class TorchPartition:
    """See `Partition`; any device, precision and dimension."""

    def __init__(
        self,
        weights: Tensor,
        beta: Tensor,
        kernel: Kernel,
        antithetic: bool,
        draw_weight: float,
        log_weights: Tensor | None = None,
    ) -> None:
        self.beta, self.kernel, self.draw_weight = beta, kernel, draw_weight
        self.signs = (1.0, -1.0) if antithetic else (1.0,)
        kappa_squared = torch.linalg.vector_norm(weights, dim=-1).square()
        self.columns = len(weights)
        self.compute = kernel.compute_dtype(weights)
        self.start = tuple(t.to(self.compute) for t in kernel.start(widen(kappa_squared)))
        # not `kernel.slope`: this is subtracted from slopes of `difference_and_slope`, and the
        # difference is only accurate where both are rounded in the same way
        no_change = torch.zeros_like(self.start[0])
        self.class_slope = kernel.difference_and_slope(self.start, no_change)[1]
        self.log_weights = None if log_weights is None else log_weights.to(self.compute)
        self.value = weights.new_zeros((), dtype=self.compute)
        self.grad_beta = torch.zeros_like(self.value)
        self.grad_squared_norm = weights.new_zeros(len(weights), dtype=self.compute)
        on_cpu = weights.device.type == "cpu"
        self.tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE

    def block(
        self, dots: Tensor, angle: Tensor, mu_component_ratio: Tensor, log_sums: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Partition.block`."""
        class_coeff, sums = torch.empty_like(dots[0]), angle.new_empty(3, *angle.shape)
        cosine, sine = angle.cos(), angle.sin()
        per_draw = torch.stack([cosine, sine, mu_component_ratio])[..., None]
        for rows in self._tiles(dots):
            tile = (dots[0, rows], dots[1:, rows], per_draw[:, :, rows])
            known = None if log_sums is None else log_sums[:, :, rows, None]
            sums[:, :, rows] = self._tile(*tile, class_coeff[rows], known)
        # d(beta z.w) / dbeta = z.w
        self.grad_beta += (cosine * sums[0] + sine * sums[2]).sum() / self.beta
        return class_coeff, *_point_and_angle_gradients(sums, cosine, sine, mu_component_ratio)

    def log_sums(self, dots: Tensor, angle: Tensor) -> Tensor:
        """See `Partition.log_sums`."""
        log_sums = widen(angle.new_empty(len(self.signs), *angle.shape))
        cosine, sine = angle.cos()[..., None], angle.sin()[..., None]
        for rows in self._tiles(dots):
            parts = (dots[0, rows], dots[1:, rows], cosine[:, rows], sine[:, rows])
            log_sums[:, :, rows] = self._logits(self._draw_dots(*parts))[0].logsumexp(-1)
        return log_sums

    def draws(self, dots: Tensor) -> None:
        """See `Partition.draws`."""
        for rows in dots.split(max(1, self.tile // dots.shape[-1])):
            grad_dots = self._grad_dots(rows, None)
            self.grad_beta += (grad_dots * rows).sum() / self.beta
            rows.copy_(grad_dots)

    def _tiles(self, dots: Tensor) -> list[slice]:
        """Slices of the n images of dot products [1 + S, n, C]."""
        height = max(1, self.tile // (len(self.signs) * dots[1:, 0].numel()))
        return [slice(top, top + height) for top in range(0, dots.shape[1], height)]

    def _draw_dots(self, mu_dots: Tensor, v_dots: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Dot products z.w of the draws with +v and -v [1 or 2, S, t, C], from mu.w and v.w."""
        along_mu, draw_dots = cosine * mu_dots, v_dots.new_empty(len(self.signs), *v_dots.shape)
        for sign, out in zip(self.signs, draw_dots, strict=True):
            torch.addcmul(along_mu, sine, v_dots, value=sign, out=out)
        return draw_dots

    def _tile(
        self,
        mu_dots: Tensor,
        v_dots: Tensor,
        per_draw: Tensor,
        class_coeff: Tensor,
        log_sums: Tensor | None,
    ) -> Tensor:
        """One tile of images; overwrites mu_dots [t, C] and v_dots [S, t, C], fills class_coeff.

        Args:
            mu_dots: mu.w, becomes the sum over draws of a E.
            v_dots: v.w, becomes s O.
            per_draw: a = cos(angle), s = sin(angle) and r of every draw [3, S, t, 1].
            class_coeff: [t, C], becomes the sum over draws of a E - r s O.
            log_sums: log partitions of the draws with +v and -v [1 or 2, S, t, 1], or None where to
                be computed.

        Returns:
            [3, S, t]: the sums over classes of E mu.w, O mu.w and O v.w; E and O as in `partition`.
        """
        a, s, ratio = per_draw
        plus, *minus = self._grad_dots(self._draw_dots(mu_dots, v_dots, a, s), log_sums)
        even, odd = (plus + minus[0], plus - minus[0]) if minus else (plus, plus.clone())
        products = ((even, mu_dots), (odd, mu_dots), (odd, v_dots))
        sums = torch.stack([(grad_dots * dots).sum(-1) for grad_dots, dots in products])
        torch.mul(odd, s, out=odd)
        v_dots.copy_(odd)
        mu_dots.copy_(even.mul_(a).sum(0))
        torch.sub(mu_dots, odd.mul_(ratio).sum(0), out=class_coeff)
        return sums

    def _logits(self, draw_dots: Tensor) -> tuple[Tensor, Tensor]:
        """Logits from z.w [.., C], and their derivatives with respect to |w + beta z|^2."""
        beta = self.beta.to(self.compute)
        # |w + beta z|^2 - |w|^2 = 2 beta z.w + beta^2
        delta = (2 * beta * draw_dots.to(self.compute)).add_(beta.square())
        logits, slope = self.kernel.difference_and_slope(self.start, delta)
        return logits if self.log_weights is None else logits + self.log_weights, slope

    def _grad_dots(self, draw_dots: Tensor, log_sum: Tensor | None) -> Tensor:
        """Gradient of the mean log partition with respect to z.w [.., C]; adds to all sums.

        `log_sum` [.., 1] is the log partition; where it is None it is computed and added to
        `value`. To `grad_beta` this adds only what comes from beta^2 in |w + beta z|^2.
        """
        logits, slope = self._logits(draw_dots)
        if log_sum is None:
            log_sum = logits.logsumexp(-1, keepdim=True)
            self.value += log_sum.sum() * self.draw_weight
        log_sum = log_sum.to(self.compute)
        probability = logits.sub_(log_sum).exp_().mul_(self.draw_weight)
        leading = tuple(range(draw_dots.dim() - 1))
        grad_class_norm = self.class_slope * probability.sum(leading)
        grad = probability.mul_(slope)  # with respect to |w + beta z|^2
        self.grad_squared_norm += grad.sum(leading) - grad_class_norm
        grad.mul_(2 * self.beta.to(self.compute))  # with respect to z.w
        self.grad_beta += grad.sum()
        return grad.to(draw_dots.dtype)


def _point_and_angle_gradients(
    sums: Tensor, cosine: Tensor, sine: Tensor, mu_component_ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """The last two results of `Partition.block`; for `sums` see `TorchPartition._tile`.

    With G = s sum_c O_c w_c, the gradient of v: (dv/dmu)^T G = (r v.G - mu.G) v - r mu.G mu - r G,
    of which class_coeff has the last term.
    """
    even_mu, odd_mu, odd_v = sums
    minus_mu_g = -sine * odd_mu  # - mu.G
    of_mu = (mu_component_ratio * minus_mu_g).sum(0, keepdim=True)
    point_coeff = torch.cat([of_mu, minus_mu_g + mu_component_ratio * sine * odd_v])
    return point_coeff, cosine * odd_v - sine * even_mu
