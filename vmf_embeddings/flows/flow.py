"""A flow of K blocks, each a fixed permutation and a two-sided affine coupling, with a condition.

As in Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric Learning",
section 3, https://arxiv.org/abs/2203.08547.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from vmf_embeddings.flows.conditions import Conditions
from vmf_embeddings.flows.coupling import AffineCoupling


def permutation(dim: int, seed: int) -> Tensor:
    """A permutation of 0..dim-1 that depends on the seed alone; no global generator is touched.

    NumPy's legacy generator, so that flows of published code can be read.

    Args:
        dim: >= 1.
        seed: >= 0; a flow takes the index of the block.

    Returns:
        [dim], int64.

    Example:
        >>> permutation(8, 0)
        tensor([6, 2, 1, 7, 3, 0, 5, 4])
    """
    return torch.from_numpy(np.random.RandomState(seed).permutation(dim)).long()


class ConditionalFlow(nn.Module):
    """Rows [B, D] -> latent rows [B, D] and the log-determinant of the map, given a condition.

    Block k: x -> x[:, permutations[k]], then `AffineCoupling` with the condition of that block.

    Args:
        dim: D >= 2.
        blocks: K >= 1.
        depth: linear layers of each of the 2 K networks, >= 2.
        width: of their hidden layers, >= 1.
        clamp: > 0: a block scales every entry by exp(-clamp) to exp(clamp).
        cond_mode: which blocks see the condition, see `Conditions`.
        init: how the networks start, see `subnet`.

    Attributes:
        permutations: [K, D] int64, a buffer: part of the state, never trained.
    """

    permutations: Tensor

    def __init__(
        self,
        dim: int,
        blocks: int = 5,
        depth: int = 8,
        width: int = 128,
        clamp: float = 2.0,
        cond_mode: str = "dense",
        init: str = "default",
    ) -> None:
        super().__init__()
        if dim < 2 or blocks < 1 or not clamp > 0:
            raise ValueError(
                "a flow needs embeddings of at least 2 dimensions, at least 1 block and a clamp "
                f"> 0, got {dim}, {blocks} and {clamp}."
            )
        self.register_buffer(
            "permutations", torch.stack([permutation(dim, k) for k in range(blocks)])
        )
        self.conditions = Conditions(cond_mode, dim, blocks)
        self.couplings = nn.ModuleList(
            AffineCoupling(dim, dim * (k in self.conditions.places), depth, width, clamp, init)
            for k in range(blocks)
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The normalising direction.

        Args:
            x: [B, D].
            condition: [B, D]; None where `cond_mode` is "none".

        Returns:
            Latents z [B, D], and log |det dz/dx| [B].
        """
        log_det = x.new_zeros(len(x))
        for coupling, order, seen in self._blocks(condition):
            x, more = coupling(x[:, order], seen)
            log_det = log_det + more
        return x, log_det

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The generating direction: undoes `forward` exactly, up to rounding.

        Args:
            z: [B, D].
            condition: as in `forward`.

        Returns:
            x [B, D], and log |det dx/dz| [B].
        """
        log_det = z.new_zeros(len(z))
        for coupling, order, seen in reversed(list(self._blocks(condition))):
            z, more = coupling.inverse(z, seen)
            z, log_det = z[:, order.argsort()], log_det + more
        return z, log_det

    def _blocks(
        self, condition: Tensor | None
    ) -> Iterator[tuple[AffineCoupling, Tensor, Tensor | None]]:
        """Coupling, permutation and condition of every block."""
        if condition is None and self.conditions.places:
            raise ValueError(
                f"a flow with cond_mode={self.conditions.mode!r} needs a condition [B, D]; give "
                "one, or make the flow with cond_mode='none'."
            )
        seen = [None] * len(self.couplings) if condition is None else self.conditions(condition)
        return zip(self.couplings, self.permutations, seen, strict=True)
