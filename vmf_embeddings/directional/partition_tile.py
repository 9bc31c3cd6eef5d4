"""From inner products with the classes to the log partition and its derivatives, in plain PyTorch.

The elementwise part of `partition`, tile by tile so that its temporaries stay in the cache;
`partition_compiled` does the same in machine code.
"""

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
        pull: sum of the derivatives with respect to |w + beta z|^2, times 2 beta [].
        through: derivative with respect to |w|^2 of every class [C].
        columns: classes of a table; those beyond C have zero weights and count for nothing.
    """

    columns: int
    value: Tensor
    pull: Tensor
    through: Tensor

    def block(self, table: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a block of images; derivatives take the place of the inner products.

        Args:
            table: inner products of every class with mu and the S directions v [1 + S, n, C],
                overwritten by the derivatives with respect to them.
            place: cosine and sine of the angles, and the lean of v (see `tangent`) [S, n, 3].

        Returns:
            How mu acts through z and v together [n, C], and sums over classes [S, n, 3]: with E and
            O the derivatives with respect to z.w, added and subtracted over a pair, E mu.w, O mu.w
            and O v.w.
        """

    def draws(self, table: Tensor) -> Tensor:
        """Adds given draws: their inner products z.w [n, C] are overwritten by the derivatives.

        Returns:
            Sum of derivative times z.w, [].
        """


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
        self.pull = torch.zeros_like(self.value)
        self.through = weights.new_zeros(len(weights), dtype=self.compute)
        on_cpu = weights.device.type == "cpu"
        self.tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE

    def block(self, table: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """See `Partition.block`."""
        turn, sums = torch.empty_like(table[0]), torch.empty_like(place)
        height = max(1, self.tile // table[1:, 0].numel())
        for top in range(0, len(turn), height):
            rows = slice(top, top + height)
            local = (table[0, rows], table[1:, rows], place[:, rows])
            sums[:, rows] = self._tile(*local, turn[rows])
        return turn, sums

    def draws(self, table: Tensor) -> Tensor:
        """See `Partition.draws`."""
        along = torch.zeros_like(self.value)
        for rows in table.split(max(1, self.tile // table.shape[-1])):
            through = self._row(rows)
            along += (through * rows).sum()
            rows.copy_(through)
        return along

    def _tile(self, along_mu: Tensor, along_v: Tensor, place: Tensor, turn: Tensor) -> Tensor:
        """A tile of images [t, C], [S, t, C], [S, t, 3]; the first two and `turn` are filled in."""
        a, s, lean = place[..., None].unbind(2)
        centre = a * along_mu
        even, odd = None, None
        for sign in self.signs:
            through = self._row(torch.addcmul(centre, s, along_v, value=sign))
            even = through if even is None else even + through
            odd = through.clone() if odd is None else odd - through
        both = ((even, along_mu), (odd, along_mu), (odd, along_v))
        sums = torch.stack([(through * along).sum(-1) for through, along in both], -1)
        torch.mul(odd, s, out=odd)
        along_v.copy_(odd)
        along_mu.copy_(even.mul_(a).sum(0))
        torch.sub(along_mu, odd.mul_(lean).sum(0), out=turn)
        return sums

    def _row(self, cosine: Tensor) -> Tensor:
        """Derivative [.., C] of the mean log partition with respect to z.w, given z.w."""
        beta = self.beta.to(self.compute)
        delta = (2 * beta * cosine.to(self.compute)).add_(beta.square())
        logits, slope = self.kernel.difference_and_slope(self.start, delta)
        partition = logits.logsumexp(-1, keepdim=True)
        self.value += partition.sum() * self.share
        probability = logits.sub_(partition).exp_().mul_(self.share)
        classes = tuple(range(cosine.dim() - 1))
        own = self.own * probability.sum(classes)
        through = probability.mul_(slope)
        self.through += through.sum(classes) - own
        through.mul_(2 * beta)
        self.pull += through.sum()
        return through.to(cosine.dtype)
