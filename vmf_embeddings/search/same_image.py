"""Which rows show the same image, by the names of their files."""

import posixpath
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.search.by_class import equal_pairs


def same_image(paths: Sequence[str] | np.ndarray | None) -> Tensor | None:
    """Number of the image of each row, where some image has several rows.

    Two names are one image where they are equal after normalisation of their text: `./a.png`,
    `b/../a.png` and `a.png` are. Nothing is looked up on the disk. An empty name says nothing, and
    its row counts as an image of its own.

    Args:
        paths: [N] file names, or None.

    Returns:
        [N] int64, equal for rows of one image; None without names, and where all differ.

    >>> same_image(["x/a.png", "x/b.png", "./x//a.png"])
    tensor([0, 1, 0])
    """
    if paths is None:
        return None
    first: dict[str, int] = {}
    numbers = [
        row if not path else first.setdefault(_normalised(path), row)
        for row, path in enumerate(map(str, paths))
    ]
    images = torch.tensor(numbers, dtype=torch.int64)
    return None if torch.equal(images, torch.arange(len(images))) else images


def rows_of_same_image(queries: Tensor, gallery: Tensor) -> Tensor:
    """Gallery rows that show the image of each query: what `nearest` takes as `exclude`.

    Args:
        queries: [Q] number of the image of each query.
        gallery: [G] likewise.

    Returns:
        [Q, E] indices in the gallery, E the most that a query has, at least 1; filled with -1.

    >>> rows_of_same_image(torch.tensor([3, 5, 4]), torch.tensor([3, 4, 3])).tolist()
    [[0, 2], [-1, -1], [1, -1]]
    """
    i, j = equal_pairs(queries, gallery)
    counts = torch.bincount(i, minlength=len(queries))
    rows = torch.full((len(queries), max(1, int(counts.max()) if len(counts) else 0)), -1)
    rows[i, torch.arange(len(i)) - (counts.cumsum(0) - counts)[i]] = j
    return rows


def _normalised(path: str) -> str:
    """The path without `.`, `..`, doubled and final slashes."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path  # normpath keeps two slashes at the start
