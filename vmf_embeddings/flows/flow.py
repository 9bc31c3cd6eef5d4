"""A conditional flow of K blocks, each a fixed permutation and an affine coupling of both halves.

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
    """A permutation of 0..dim-1 that depends on the seed alone, not on a global generator.

    By NumPy's legacy generator, as in the published code, whose weights can therefore be loaded.

    Args:
        dim: >= 1.
        seed: >= 0; `ConditionalFlow` uses the index of the block.

    Returns:
        [dim], int64.

    Example:
        >>> permutation(8, 0)
        tensor([6, 2, 1, 7, 3, 0, 5, 4])
    """
    return torch.from_numpy(np.random.RandomState(seed).permutation(dim)).long()


class ConditionalFlow(nn.Module):
    """An invertible map of embeddings [B, D] to latents [B, D], given a condition.

    Block k: x -> x[:, permutations[k]], then `AffineCoupling` with the condition of that block.

    Args:
        dim: D >= 2.
        blocks: number of blocks K, >= 1.
        depth: linear layers of each of the 2 K networks, >= 2.
        width: width of their hidden layers, >= 1.
        clamp: > 0: a block scales every entry by a factor between exp(-clamp) and exp(clamp).
        cond_mode: which blocks get the condition, see `Conditions`.
        init: initialisation of the networks, see `mlp`.

    Attributes:
        permutations: [K, D] int64, a buffer: saved with the weights, not trained.

    Example:
        >>> flow = ConditionalFlow(4, blocks=2, depth=2, width=8)
        >>> x, condition = torch.ones(3, 4), torch.zeros(3, 4)
        >>> z, log_det = flow(x, condition)
        >>> torch.allclose(flow.inverse(z, condition)[0], x, atol=1e-5), log_det.shape
        (True, torch.Size([3]))
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
                f"> 0, got dim={dim}, blocks={blocks} and clamp={clamp}."
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
        """Maps embeddings to latents (the normalising direction).

        Args:
            x: [B, D].
            condition: [B, D]; None where `cond_mode` is "none".

        Returns:
            Latents z [B, D], and log |det dz/dx| [B].
        """
        log_det = x.new_zeros(len(x))
        for coupling, order, block_condition in self._blocks(condition):
            x, block_log_det = coupling(x[:, order], block_condition)
            log_det = log_det + block_log_det
        return x, log_det

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latents to embeddings (the generating direction): the inverse of `forward`.

        Args:
            z: [B, D].
            condition: as in `forward`.

        Returns:
            x [B, D], and log |det dx/dz| [B].
        """
        log_det = z.new_zeros(len(z))
        for coupling, order, block_condition in reversed(list(self._blocks(condition))):
            z, block_log_det = coupling.inverse(z, block_condition)
            z, log_det = z[:, order.argsort()], log_det + block_log_det
        return z, log_det

    def _blocks(
        self, condition: Tensor | None
    ) -> Iterator[tuple[AffineCoupling, Tensor, Tensor | None]]:
        """Coupling, permutation [D] and condition ([B, D] or None) of every block."""
        if condition is None and self.conditions.places:
            raise ValueError(
                f"a flow with cond_mode={self.conditions.mode!r} needs a condition [B, D], got "
                "None; pass one, or build the flow with cond_mode='none'."
            )
        no_conditions = [None] * len(self.couplings)
        conditions = no_conditions if condition is None else self.conditions(condition)
        return zip(self.couplings, self.permutations, conditions, strict=True)
