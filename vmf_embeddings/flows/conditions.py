"""Which blocks of a flow see a condition, and what each of them sees.

The modes of Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric
Learning", https://arxiv.org/abs/2203.08547, and none at all.
"""

from torch import Tensor, nn

PLACES = ("start", "mid", "end")
EMBEDDED = ("dense_embed", "dense_embed_multi", "dense_embed_multi_stacked")
CONDITIONS = ("none", *PLACES, "dense", *EMBEDDED)


class Conditions(nn.Module):
    """One condition [B, D] -> what every block sees, [B, D] or None.

    Args:
        mode: "none"; "start", "mid", "end" = one block alone; "dense" = every block; "dense_embed"
            = every block, through one small network; "dense_embed_multi" = … through one network
            each; "dense_embed_multi_stacked" = … each network on the output of the one before.
        dim: D.
        n_blocks: K >= 1.
    """

    def __init__(self, mode: str, dim: int, n_blocks: int) -> None:
        super().__init__()
        if mode not in CONDITIONS:
            raise ValueError(f"the condition of a flow is one of {CONDITIONS}, got {mode!r}.")
        self.mode = mode
        self.places = _places(mode, n_blocks)
        self.n_blocks = n_blocks
        n_nets = {"dense_embed": 1}.get(mode, n_blocks) if mode in EMBEDDED else 0
        self.nets = nn.ModuleList(_embedder(dim) for _ in range(n_nets))

    def forward(self, condition: Tensor) -> list[Tensor | None]:
        """Condition [B, D] -> K entries, [B, D] or None."""
        if self.mode == "dense_embed":
            condition = self.nets[0](condition)
        if self.mode == "dense_embed_multi":
            return [net(condition) for net in self.nets]
        if self.mode == "dense_embed_multi_stacked":
            seen: list[Tensor | None] = []
            for net in self.nets:
                condition = net(condition)
                seen.append(condition)
            return seen
        return [condition if k in self.places else None for k in range(self.n_blocks)]


def _places(mode: str, n_blocks: int) -> set[int]:
    """Indices of the blocks that see a condition.

    >>> [sorted(_places(mode, 5)) for mode in ("none", "start", "mid", "end", "dense_embed")]
    [[], [0], [2], [4], [0, 1, 2, 3, 4]]
    """
    if mode == "none":
        return set()
    one = {"start": 0, "mid": n_blocks // 2, "end": n_blocks - 1}
    return {one[mode]} if mode in one else set(range(n_blocks))


def _embedder(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
