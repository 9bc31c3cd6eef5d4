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
        self.kernel, self.draw_weight = kernel, draw_weight
        self.signs = (1.0, -1.0) if antithetic else (1.0,)
        self.columns = len(weights)
        self.compute = kernel.compute_dtype(weights)
        self.log_weights = None if log_weights is None else log_weights.to(self.compute)
        self._prepare(weights)
        self.beta, self.twice_beta = beta, 2 * beta.to(self.compute)
        # |w + beta z|^2 - |w|^2 = 2 beta z.w + beta^2
        self.beta_squared = self.twice_beta.square() / 4
        self.value: Tensor | float = 0.0  # a tensor from the first block on, as the next two
        self.grad_beta: Tensor | float = 0.0
        self.grad_squared_norm: Tensor | float = 0.0
        on_cpu = weights.device.type == "cpu"
        self.tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE

    def _prepare(self, weights: Tensor) -> None:
        """Computes what depends on the classes alone."""
        kappa_squared = torch.linalg.vector_norm(weights, dim=-1).square()
        self.start = self.kernel.start(widen(kappa_squared))
        if self.start[0].dtype != self.compute:
            self.start = torch.stack(self.start).to(self.compute).unbind()
        self.class_slope = self.kernel.slope_at_start(self.start)

    def block(
        self, dots: Tensor, angle: Tensor, mu_component_ratio: Tensor, log_sums: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Partition.block`."""
        class_coeff, parts = torch.empty_like(dots[0]), []
        per_draw = torch.stack([angle.cos(), angle.sin(), mu_component_ratio])
        for rows in self._tiles(dots):
            tile = (dots[0, rows], dots[1:, rows], per_draw[:, :, rows, None])
            known = None if log_sums is None else log_sums[:, :, rows, None]
            parts.append(self._tile(*tile, class_coeff[rows], known))
        sums = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
        of_points, of_angle, of_dots = _gradients_of_sums(sums, per_draw)
        self.grad_beta += of_dots / self.beta  # d(beta z.w) / dbeta = z.w
        return class_coeff, of_points, of_angle

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
        grads = self._grad_dots(self._draw_dots(mu_dots, v_dots, a, s), log_sums)
        both = grads.new_empty(2, *v_dots.shape)  # E and O
        if len(grads) == 2:
            torch.add(*grads, out=both[0])
            torch.sub(*grads, out=both[1])
        else:
            both.copy_(grads)
        even, odd = both
        sums = mu_dots.new_empty(3, *v_dots.shape[:2])
        for i, (grad_dots, dots) in enumerate(((even, mu_dots), (odd, mu_dots), (odd, v_dots))):
            torch.sum(grad_dots * dots, -1, out=sums[i])
        torch.mul(odd, s, out=v_dots)
        torch.sum(even.mul_(a), 0, out=mu_dots)
        torch.sub(mu_dots, torch.mul(v_dots, ratio, out=odd).sum(0), out=class_coeff)
        return sums

    def _logits(self, draw_dots: Tensor) -> tuple[Tensor, Tensor]:
        """Logits from z.w [.., C], and their derivatives with respect to |w + beta z|^2."""
        delta = (draw_dots.to(self.compute) * self.twice_beta).add_(self.beta_squared)
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
        probability = logits.sub_(log_sum.to(self.compute)).exp_()
        leading = tuple(range(draw_dots.dim() - 1))
        of_classes = probability.sum(leading)
        grad = probability.mul_(slope)  # with respect to |w + beta z|^2, over the weight of a draw
        by_class = grad.sum(leading)
        change = torch.addcmul(by_class, self.class_slope, of_classes, value=-1)
        self.grad_squared_norm += change.mul_(self.draw_weight)
        to_dots = self.twice_beta * self.draw_weight
        self.grad_beta += by_class.sum() * to_dots
        return grad.mul_(to_dots).to(draw_dots.dtype)


def _gradients_of_sums(sums: Tensor, per_draw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The last two results of `Partition.block`, and the sum over draws of the gradients times z.w.

    With G = s sum_c O_c w_c, the gradient of v: (dv/dmu)^T G = (r v.G - mu.G) v - r mu.G mu - r G,
    of which class_coeff has the last term.

    Args:
        sums: see `TorchPartition._tile`, [3, S, n].
        per_draw: cos(angle), sin(angle) and r [3, S, n].
    """
    cosine, sine, ratio = per_draw
    even_mu, _, odd_v = sums
    of_tangent = sine * sums[1:]  # mu.G and v.G
    minus_mu_g = of_tangent[0].neg()
    of_mu = (ratio * minus_mu_g).sum(0, keepdim=True)
    of_points = torch.cat([of_mu, torch.addcmul(minus_mu_g, ratio, of_tangent[1])])
    of_angle = torch.addcmul(cosine * odd_v, sine, even_mu, value=-1)
    return of_points, of_angle, torch.addcmul(of_tangent[1], cosine, even_mu).sum()
