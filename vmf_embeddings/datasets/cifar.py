"""CIFAR10 and CIFAR100 (Krizhevsky 2009), from their binary files or through torchvision.

https://www.cs.toronto.edu/~kriz/cifar.html. The "python version" consists of pickles, which can run
code when they are read: they are opened only if their md5 sums equal the published ones. The
"binary version" consists of plain bytes.
"""

import os
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.arrays import ArrayDataset
from vmf_embeddings.datasets.augment import AUGMENTATIONS
from vmf_embeddings.untrusted.files import open_regular, read_text
from vmf_embeddings.untrusted.refused import Refused

PIXELS = 3 * 32 * 32
MOST_BYTES = 2**30  # of a file; the largest published one has 154 MB


def read_binary(path: Path, n_label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads one file of the binary version.

    Args:
        path: the file.
        n_label_bytes: 1 (CIFAR10), or 2 (CIFAR100: coarse, then fine label); the last one is used.

    Returns:
        Images uint8 [N, 3, 32, 32] and labels int64 [N].

    Raises:
        ValueError: the length is not a multiple of the length of a record, or exceeds 1 GiB.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MOST_BYTES:
            raise Refused(f"{path} has {size} bytes, at most {MOST_BYTES} are read")
        data = np.fromfile(stream, np.uint8)
    record = n_label_bytes + PIXELS
    if data.size == 0 or data.size % record:
        raise ValueError(f"{path} has {data.size} bytes, expected a multiple of {record}: cut off?")
    rows = data.reshape(-1, record)
    return (
        rows[:, n_label_bytes:].reshape(-1, 3, 32, 32),
        rows[:, n_label_bytes - 1].astype(np.int64),
    )


class Cifar10(ArrayDataset):
    """32x32 colour images, normalised; shifted, flipped and occluded at random in training."""

    name = "cifar10"
    config = "cifar10"
    title = "CIFAR10"  # torchvision's class
    image_shape = (3, 32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    augmentation = AUGMENTATIONS["cifar"]
    examples_to_save = False  # 123 MB as float32; a quarter of it as uint8 images
    n_label_bytes = 1
    n_known_classes = 10
    binary_folder = "cifar-10-batches-bin"
    binary_files = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    names_file = "batches.meta.txt"

    def __init__(
        self, dataset_path: str | Path, *, download: bool, margin_warmup_epochs: int
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        self.dataset_path = Path(dataset_path).expanduser()
        self.download = download

    def check(self) -> None:
        """Checks that one of the versions exists, and downloads it if `download` is True.

        Of the python version the md5 sums are checked too.

        Raises:
            FileNotFoundError: with the paths and what to type.
        """
        if self._binary() is not None or self._python_is_verified():
            return
        reason = self._fetch() if self.download else "download is off"
        if not self._python_is_verified():
            raise FileNotFoundError(self._advice(reason))

    def _binary(self) -> Path | None:
        wanted = [name for part in self.binary_files.values() for name in part]
        for folder in (self.dataset_path / self.binary_folder, self.dataset_path):
            if all((folder / name).is_file() for name in wanted):
                return folder
        return None

    def _torchvision_class(self) -> Any:
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001
        from torchvision import datasets

        return getattr(datasets, self.title)

    def _python_is_verified(self) -> bool:
        source = self._torchvision_class()  # first: it makes torchvision importable
        from torchvision.datasets.utils import check_integrity

        folder = self.dataset_path / source.base_folder
        if not folder.is_dir():
            return False
        files = [*source.train_list, *source.test_list]
        files.append([source.meta["filename"], source.meta["md5"]])
        return all(check_integrity(str(folder / name), md5) for name, md5 in files)

    def _fetch(self) -> str:
        """Downloads with torchvision, which verifies the files; returns the failure in one line."""
        try:
            self._torchvision_class()(str(self.dataset_path), download=True)
        except (OSError, RuntimeError, HTTPException) as error:  # no network, or md5 sums differ
            return f"the download failed ({' '.join(str(error).split())})"
        return "the download brought other files"

    def _advice(self, reason: str) -> str:
        python = self._torchvision_class().base_folder
        is_damaged = (self.dataset_path / python).is_dir()
        remedy = "Without network: unpack either version's archive there"
        if not self.download:
            fetch = f"dataset={self.config} dataset.params.download=true fetches it"
            remedy = f"With network: {fetch}. Without: unpack either version's archive there"
        found = (
            "has files that differ from the published ones and" if is_damaged else "is missing and"
        )
        return (
            f"{self.title} is not at {self.dataset_path}: {python}/ {found} {self.binary_folder}/ "
            f"lacks one of {', '.join(sum(self.binary_files.values(), ()))}; {reason}. "
            f"{remedy}, or say where it is: "
            f"dataset={self.config} dataset.params.dataset_path=PATH."
        )

    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        self.check()
        folder = self._binary()
        if folder is None:
            return self._read_python(part)
        files = [folder / name for name in self.binary_files[part]]
        images, labels = zip(*(read_binary(f, self.n_label_bytes) for f in files), strict=True)
        labels = self._checked_labels(np.concatenate(labels), folder)
        return torch.from_numpy(np.concatenate(images)), labels

    def _read_python(self, part: str) -> tuple[Tensor, np.ndarray]:
        data = self._torchvision_class()(str(self.dataset_path), train=part == "train")
        self.all_class_names = data.classes
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return images, np.asarray(data.targets, dtype=np.int64)

    def _checked_labels(self, labels: np.ndarray, folder: Path) -> np.ndarray:
        """The labels, after a check of their range; reads the class names beside them."""
        if labels.max() >= self.n_known_classes:
            raise ValueError(
                f"{folder} holds class {labels.max()}, expected 0..{self.n_known_classes - 1}"
            )
        names = folder / self.names_file
        if names.is_file():
            lines = read_text(names, limit=2**20).split("\n")[: self.n_known_classes]
            self.all_class_names = lines if len(lines) == self.n_known_classes else None
        return labels


class Cifar100(Cifar10):
    """CIFAR100 with its 100 fine classes."""

    name = "cifar100"
    config = "cifar100"
    title = "CIFAR100"
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    n_label_bytes = 2
    n_known_classes = 100
    binary_folder = "cifar-100-binary"
    binary_files = {"train": ("train.bin",), "test": ("test.bin",)}
    names_file = "fine_label_names.txt"
