"""Which rows show the same image, by the names of their files."""

import posixpath
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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


def _normalised(path: str) -> str:
    """The path without `.`, `..`, doubled and final slashes."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path  # normpath keeps two slashes at the start
