"""Reading pictures as in 2021: one PIL picture at a time through a DataLoader."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
STD = torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]


def to_tensor(picture: Image.Image) -> Tensor:
    """Float [channels, H, W] in [0, 1]."""
    pixels = np.asarray(picture)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous().float().div(255)


def crop_flip_occlude(picture: Image.Image, pad: int = 4, occlusion: int = 8) -> Tensor:
    """Reflected padding, random crop, mirror, normalisation, a square of zeros."""
    pixels = np.pad(np.asarray(picture), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    width, height = picture.size
    top, left = (int(torch.randint(0, 2 * pad + 1, ())) for _ in range(2))
    cropped = Image.fromarray(pixels[top : top + height, left : left + width])
    if torch.rand(()) < 0.5:
        cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = (to_tensor(cropped) - MEAN) / STD
    top = int(torch.randint(0, height - occlusion + 1, ()))
    left = int(torch.randint(0, width - occlusion + 1, ()))
    image[:, top : top + occlusion, left : left + occlusion] = 0
    return image


class Pictures(Dataset):
    """uint8 arrays [N, H, W] or [N, H, W, 3], decoded to PIL and transformed one by one."""

    def __init__(
        self,
        arrays: np.ndarray,
        labels: np.ndarray,
        transform: Callable[[Image.Image], Tensor] = to_tensor,
    ) -> None:
        self.arrays, self.labels, self.transform = arrays, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        picture = Image.fromarray(self.arrays[index])
        return {"examples": self.transform(picture), "ids": int(self.labels[index])}


def loader(pictures: Pictures, batches: Iterable[list[int]], workers: int) -> DataLoader:
    """One epoch of given batches; worker processes start anew each epoch, as then."""
    return DataLoader(pictures, batch_sampler=list(batches), num_workers=workers)
