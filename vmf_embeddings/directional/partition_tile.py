"""From inner products with the classes to the log partition and its derivatives, in plain PyTorch.

The elementwise part of `partition`, tile by tile so that its temporaries stay in the cache;
`partition_compiled` does the same in machine code.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import widen
from vmf_embeddings.directional.difference import Kernel

CPU_TILE = 2**15  # logits a tile and thread
DEVICE_TILE = 2**24


class Partition(Protocol):
    """Sums over all blocks of images, and what is done to one block.

    Attributes:
        value: mean log partition so far [].
        grad_beta: derivative with respect to beta so far [].
        through: derivative with respect to |w|^2 of every class [C].
        columns: classes of a table; those beyond C have zero weights and count for nothing.
    """

    columns: int
    value: Tensor
    grad_beta: Tensor
    through: Tensor

    def block(
        self, table: Tensor, angle: Tensor, lean: Tensor, logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adds a block of images; derivatives take the place of the inner products.

        Args:
            table: inner products of every class with mu and the S directions v [1 + S, n, C],
                overwritten by the derivatives with respect to them.
            angle: angles of the draws [S, n].
            lean: of the directions v (see `tangent`) [S, n].
            logs: log partitions of the draws, if known, in float64 [1 or 2, S, n]; those with -v
                come second. Then `value` stays as it is.

        Returns:
            The gradient of mu is the first of these times the class weights [n, C], plus the sum
            over mu and v of the second times them [1 + S, n]; the third is that of the angles.
        """

    def logs(self, table: Tensor, angle: Tensor) -> Tensor:
        """Log partitions of the draws [1 or 2, S, n] as for `block`; the table stays."""

    def draws(self, table: Tensor) -> None:
        """Adds given draws: their inner products z.w [n, C] are overwritten by the derivatives."""


class TorchPartition:
    """See `Partition`; any device, precision and dimension."""

    def __init__(
        self, weights: Tensor, beta: Tensor, kernel: Kernel, paired: bool, share: float
    ) -> None:
        self.beta, self.kernel, self.share = beta, kernel, share
        self.signs = (1.0, -1.0) if paired else (1.0,)
        kappa_squared = torch.linalg.vector_norm(weights, dim=-1).square()
        self.columns = len(weights)
        self.compute = kernel.compute_dtype(weights)
        self.start = tuple(t.to(self.compute) for t in kernel.start(widen(kappa_squared)))
        # not `kernel.slope`: own and others' slopes are subtracted, so let both round alike
        self.own = kernel.difference_and_slope(self.start, torch.zeros_like(self.start[0]))[1]
        self.value = weights.new_zeros((), dtype=self.compute)
        self.grad_beta = torch.zeros_like(self.value)
        self.through = weights.new_zeros(len(weights), dtype=self.compute)
        on_cpu = weights.device.type == "cpu"
        self.tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE

    def block(
        self, table: Tensor, angle: Tensor, lean: Tensor, logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Partition.block`."""
        turn, sums = torch.empty_like(table[0]), angle.new_empty(3, *angle.shape)
        alpha, sigma = angle.cos(), angle.sin()
        place = torch.stack([alpha, sigma, lean])[..., None]
        height = max(1, self.tile // table[1:, 0].numel())
        for top in range(0, len(turn), height):
            rows = slice(top, top + height)
            local = (table[0, rows], table[1:, rows], place[:, :, rows])
            known = [None, None] if logs is None else logs[:, :, rows, None]
            sums[:, :, rows] = self._tile(*local, turn[rows], known)
        self.grad_beta += (alpha * sums[0] + sigma * sums[2]).sum() / self.beta
        return turn, *_parts_and_angle(sums, alpha, sigma, lean)

    def logs(self, table: Tensor, angle: Tensor) -> Tensor:
        """See `Partition.logs`."""
        logs = widen(angle.new_empty(len(self.signs), *angle.shape))
        alpha, sigma = angle.cos()[..., None], angle.sin()[..., None]
        height = max(1, self.tile // table[1:, 0].numel())
        for top in range(0, table.shape[1], height):
            rows = slice(top, top + height)
            centre, v = alpha[:, rows] * table[0, rows], table[1:, rows]
            for sign, out in zip(self.signs, logs, strict=True):
                cosine = torch.addcmul(centre, sigma[:, rows], v, value=sign)
                out[:, rows] = self._logits(cosine)[0].logsumexp(-1)
        return logs

    def draws(self, table: Tensor) -> None:
        """See `Partition.draws`."""
        for rows in table.split(max(1, self.tile // table.shape[-1])):
            through = self._row(rows, None)
            self.grad_beta += (through * rows).sum() / self.beta
            rows.copy_(through)

    def _tile(
        self,
        along_mu: Tensor,
        along_v: Tensor,
        place: Tensor,
        turn: Tensor,
        logs: Iterable[Tensor | None],
    ) -> Tensor:
        """A tile of images [t, C], [S, t, C]; they and `turn` are filled in.

        Returns:
            [3, S, t]: with E and O the derivatives with respect to z.w, added and subtracted over
            a pair, the sums over classes of E mu.w, O mu.w and O v.w.
        """
        a, s, lean = place
        centre = a * along_mu
        even, odd = None, None
        for sign, known in zip(self.signs, logs, strict=False):
            through = self._row(torch.addcmul(centre, s, along_v, value=sign), known)
            even = through if even is None else even + through
            odd = through.clone() if odd is None else odd - through
        both = ((even, along_mu), (odd, along_mu), (odd, along_v))
        sums = torch.stack([(through * along).sum(-1) for through, along in both])
        torch.mul(odd, s, out=odd)
        along_v.copy_(odd)
        along_mu.copy_(even.mul_(a).sum(0))
        torch.sub(along_mu, odd.mul_(lean).sum(0), out=turn)
        return sums

    def _logits(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of z.w [.., C] and their derivatives with respect to |w + beta z|^2."""
        beta = self.beta.to(self.compute)
        delta = (2 * beta * cosine.to(self.compute)).add_(beta.square())
        return self.kernel.difference_and_slope(self.start, delta)

    def _row(self, cosine: Tensor, partition: Tensor | None) -> Tensor:
        """Derivative [.., C] of the mean log partition [.., 1] with respect to z.w, given z.w."""
        logits, slope = self._logits(cosine)
        if partition is None:
            partition = logits.logsumexp(-1, keepdim=True)
            self.value += partition.sum() * self.share
        partition = partition.to(self.compute)
        probability = logits.sub_(partition).exp_().mul_(self.share)
        classes = tuple(range(cosine.dim() - 1))
        own = self.own * probability.sum(classes)
        through = probability.mul_(slope)
        self.through += through.sum(classes) - own
        through.mul_(2 * self.beta.to(self.compute))
        self.grad_beta += through.sum()
        return through.to(cosine.dtype)


def _parts_and_angle(
    sums: Tensor, alpha: Tensor, sigma: Tensor, lean: Tensor
) -> tuple[Tensor, Tensor]:
    """The last two results of `Partition.block`, see `TorchPartition._tile` for `sums`."""
    even_mu, odd_mu, odd_v = sums
    inward = -sigma * odd_mu  # how the gradient of v moves mu, as v stays tangent
    parts = torch.cat([(lean * inward).sum(0, keepdim=True), inward + lean * sigma * odd_v])
    return parts, alpha * odd_v - sigma * even_mu
