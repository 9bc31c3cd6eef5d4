"""A small batch in closed form, for which values of published code are known."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.miners.base import Triplets

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 5])
PAIRED = torch.arange(6).repeat_interleave(2)
_ROWS = [
    (0, 1, 2), (1, 10, 4), (2, 3, 6), (3, 2, 0), (4, 5, 8), (5, 4, 11),
    (6, 7, 0), (7, 6, 1), (8, 9, 2), (9, 8, 3), (10, 0, 5), (0, 10, 7),
]  # fmt: skip
TRIPLETS = Triplets(*torch.tensor(_ROWS).T)


def counted(n: int, start: int = 0) -> Tensor:
    """start, start + 1, … [n] in float64."""
    return torch.arange(start, start + n, dtype=torch.float64)


def embeddings() -> Tensor:
    """Unit rows [12, 8]."""
    i, j = counted(12)[:, None], counted(8)
    rows = torch.sin(0.9 * (i + 1) * (j + 1)) + 0.5 * torch.cos(1.7 * LABELS.double()[:, None] + j)
    return normalize(rows, dim=-1)


def proxies() -> Tensor:
    """[6, 8]."""
    return torch.cos(0.6 * (counted(6)[:, None] + 1) * (counted(8) + 1))


def centres() -> Tensor:
    """Two for each class, [6, 2, 8]."""
    columns = torch.sin(0.5 * (counted(8)[:, None] + 1) * (counted(12) + 1))
    return columns.T.reshape(6, 2, 8)
