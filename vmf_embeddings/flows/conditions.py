"""Which blocks of a flow get a condition, and through which networks.

The modes of Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric
Learning", https://arxiv.org/abs/2203.08547, and "none" for a flow without condition.
"""

from torch import Tensor, nn

PLACES = ("start", "mid", "end")
EMBEDDED = ("dense_embed", "dense_embed_multi", "dense_embed_multi_stacked")
CONDITIONS = ("none", *PLACES, "dense", *EMBEDDED)


class Conditions(nn.Module):
    """Maps one condition [B, D] to the condition of each block, [B, D] or None.

    Args:
        mode: "none"; "start", "mid", "end" = that block only; "dense" = every block; "dense_embed"
            = every block, through one network; "dense_embed_multi" = every block, each through its
            own network; "dense_embed_multi_stacked" = the same, but each network takes the output
            of the previous one.
        dim: D.
        n_blocks: number of blocks K, >= 1.

    Attributes:
        places: indices of the blocks that get a condition.

    Raises:
        ValueError: an unknown mode.

    Example:
        >>> import torch
        >>> [c is not None for c in Conditions("mid", dim=2, n_blocks=3)(torch.zeros(1, 2))]
        [False, True, False]
    """

    def __init__(self, mode: str, dim: int, n_blocks: int) -> None:
        super().__init__()
        if mode not in CONDITIONS:
            raise ValueError(f"cond_mode of a flow must be one of {CONDITIONS}, got {mode!r}.")
        self.mode = mode
        self.places = _places(mode, n_blocks)
        self.n_blocks = n_blocks
        n_nets = {"dense_embed": 1}.get(mode, n_blocks) if mode in EMBEDDED else 0
        self.nets = nn.ModuleList(_embedder(dim) for _ in range(n_nets))

    def forward(self, condition: Tensor) -> list[Tensor | None]:
        """Conditions of the K blocks, [B, D] or None each, from one condition [B, D]."""
        if self.mode == "dense_embed":
            condition = self.nets[0](condition)
        if self.mode == "dense_embed_multi":
            return [net(condition) for net in self.nets]
        if self.mode == "dense_embed_multi_stacked":
            outputs: list[Tensor | None] = []
            for net in self.nets:
                condition = net(condition)
                outputs.append(condition)
            return outputs
        return [condition if k in self.places else None for k in range(self.n_blocks)]


def _places(mode: str, n_blocks: int) -> set[int]:
    """Indices of the blocks that get a condition.

    >>> [sorted(_places(mode, 5)) for mode in ("none", "start", "mid", "end", "dense_embed")]
    [[], [0], [2], [4], [0, 1, 2, 3, 4]]
    """
    if mode == "none":
        return set()
    single = {"start": 0, "mid": n_blocks // 2, "end": n_blocks - 1}
    return {single[mode]} if mode in single else set(range(n_blocks))


def _embedder(dim: int) -> nn.Sequential:
    """A network with one hidden layer, [B, dim] -> [B, dim]."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
