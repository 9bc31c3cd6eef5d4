"""Images that are made worse step by step, as the network gets them: cropped, blurred, ….

A crop is taken from the decoded image, so that its part is enlarged with the detail that the file
has. Blur, occlusion and noise act on the 8-bit pixels after the run's own resizing and before its
normalisation: their strengths are in pixels and in shares of what the network sees.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vmf_embeddings.datasets.base import Dataset, Split, identity_of
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.untrusted.refused import Refused

CLEAN = "clean"
GREY = 127  # of what covers a part of an image
# corruption -> what its level is, and the range of levels
LEVELS = {
    "crop": ("share of the image that is removed around its centre", 0.0, 1.0),
    "blur": ("standard deviation of the blur in pixels of the network's input", 0.0, math.inf),
    "occlusion": ("share of the network's input that a grey rectangle covers", 0.0, 1.0),
    "noise": ("standard deviation of the noise, of pixels in [0, 1]", 0.0, math.inf),
}
_REACH = 4  # standard deviations after which a blur is cut off


@dataclass(frozen=True)
class Corruptions:
    """Which corruptions, how strong, and the seed of what they draw.

    Attributes:
        levels: corruption -> levels > 0, rising; see LEVELS.
        seed: of positions and noise, >= 0.

    Raises:
        ValueError: a corruption or a level is none; names the key.
    """

    levels: Mapping[str, tuple[float, ...]]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError(f"mode.corruption names none; known: {', '.join(LEVELS)}, or all")
        for name, levels in self.levels.items():
            if name not in LEVELS:
                raise ValueError(
                    f"mode.corruption is one of {', '.join(LEVELS)}, a list of them, or all; got "
                    f"{name!r}"
                )
            _check_levels(name, levels)

    @property
    def cells(self) -> list[tuple[str, float]]:
        """Every corruption with every level, the clean image first."""
        corrupted = [(name, level) for name, levels in self.levels.items() for level in levels]
        return [(CLEAN, 0.0), *corrupted]

    def generator(self, name: str, row: int) -> torch.Generator:
        """Random numbers of an image: the same at all levels, for any number of processes."""
        text = f"{self.seed} {name} {row}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
        return torch.Generator().manual_seed(seed)


def _check_levels(name: str, levels: tuple[float, ...]) -> None:
    words, low, high = LEVELS[name]
    known = all(isinstance(x, int | float) and low < x < high for x in levels)
    if not levels or not known or list(levels) != sorted(set(levels)):
        limits = f"above {low:g}" + (f" and below {high:g}" if high < math.inf else "")
        raise ValueError(
            f"mode.strengths.{name}: expected rising numbers {limits} ({words}), got {list(levels)}"
        )


class CorruptedSplit(Split):
    """Every image of a split, clean and at every level of every corruption.

    Item c N + i is image i of N with corruption and level number c of `Corruptions.cells`.

    Args:
        clean: the images.
        transform: of the run.
        corruptions: what is done to them.
    """

    def __init__(self, clean: Split, transform: ImageTransform, corruptions: Corruptions) -> None:
        cells = corruptions.cells
        plan = json.dumps([dict(corruptions.levels), corruptions.seed, GREY], sort_keys=True)
        super().__init__(
            clean.labels.cpu().repeat(len(cells)),
            identity=identity_of([clean.identity, "corrupted", plan]),
            n_classes=clean.n_classes,
            open_set=clean.open_set,
            original_labels=clean.original_labels.cpu().repeat(len(cells)),
            class_names=clean.class_names,
        )
        self.clean, self.transform, self.corruptions = clean, transform, corruptions

    @property
    def source(self) -> np.ndarray:
        """Row of the clean image of each item, int64 [N cells]."""
        return np.tile(np.arange(len(self.clean)), len(self.corruptions.cells))

    @property
    def corruption(self) -> np.ndarray:
        """Name of the corruption of each item, `clean` for none, str [N cells]."""
        return np.repeat([name for name, _ in self.corruptions.cells], len(self.clean))

    @property
    def level(self) -> np.ndarray:
        """Its level, 0 for clean, float32 [N cells]."""
        levels = np.array([level for _, level in self.corruptions.cells], dtype=np.float32)
        return np.repeat(levels, len(self.clean))

    def example_rows(self, n: int) -> list[int]:
        """Items of n images that are drawn, each at all levels."""
        n_clean = len(self.clean)
        drawn = torch.randperm(n_clean, generator=self.corruptions.generator("examples", 0))
        cells = range(len(self.corruptions.cells))
        return [cell * n_clean + row for row in sorted(drawn[:n].tolist()) for cell in cells]

    def pixels(self, index: int) -> Tensor:
        """The pixels of an item before they are normalised, uint8 [channels, H, W]."""
        cell, row = divmod(index, len(self.clean))
        name, level = self.corruptions.cells[cell]
        with self.clean.decoded(row) as image:
            side = math.sqrt(1 - level) if name == "crop" else 1.0
            pixels = self.transform.pixels(image, side=side)
        if name in _ON_PIXELS:
            return _ON_PIXELS[name](pixels, level, self.corruptions.generator(name, row))
        return pixels

    def example(self, index: int) -> Tensor:
        """See `Split`."""
        return self.transform.normalised(self.pixels(index))


def corrupted_split(dataset: Dataset, name: str, corruptions: Corruptions) -> CorruptedSplit:
    """The images of a split of a data set at every level.

    Raises:
        Refused: the data set holds no images, or does not say how they become the net's input.
    """
    transform, clean = dataset.image_transform, dataset.split(name)
    if transform is None or len(dataset.example_shape) != 3:
        raise Refused(
            f"mode=corrupt makes images worse, and dataset={dataset.name} holds feature vectors, "
            "or images without a transform of their own: train on the images themselves, such as "
            "with experiment=own_closed data=FOLDER"
        )
    return CorruptedSplit(clean, transform, corruptions)


def blurred(pixels: Tensor, level: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian blur of standard deviation `level` pixels; borders are continued.

    Args:
        pixels: uint8 [channels, H, W].
        level: > 0.
        generator: not used.
    """
    reach = math.ceil(_REACH * level)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (x / level) ** 2)
    weights = weights / weights.sum()
    image = pixels.double()[:, None]
    image = functional.pad(image, (reach, reach, reach, reach), mode="replicate")
    image = functional.conv2d(image, weights.view(1, 1, -1, 1))
    return _rounded(functional.conv2d(image, weights.view(1, 1, 1, -1))[:, 0])


def occluded(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """A grey rectangle of the image's shape covers a share `level` of it, at a random place."""
    height, width = pixels.shape[1:]
    rows = min(height, max(1, round(height * math.sqrt(level))))
    columns = min(width, max(1, round(level * height * width / rows)))
    down, across = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    top, left = round(down * (height - rows)), round(across * (width - columns))
    covered = pixels.clone()
    covered[:, top : top + rows, left : left + columns] = GREY
    return covered


def noisy(pixels: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation `level`, of pixels in [0, 1], then cut off there."""
    noise = torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    return _rounded(pixels.double() + 255.0 * level * noise)


def _rounded(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


_ON_PIXELS: dict[str, Callable[[Tensor, float, Any], Tensor]] = {
    "blur": blurred,
    "occlusion": occluded,
    "noise": noisy,
}
