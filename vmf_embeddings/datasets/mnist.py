"""MNIST, an open-set split of it, and FashionMNIST, from IDX files that torchvision downloads."""

import gzip
import math
import os
import zlib
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.arrays import ArrayDataset
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.refused import Refused

STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
N_TRAIN_CLASSES = 5  # of mnist_open
MOST_BYTES = 2**31  # of an uncompressed file: 2.7 million images
# A gzip file may expand to 64 MiB, or else to 100 times its size. (MNIST's images expand 5 times.)
MOST_EXPANSION, FLOOR = 100, 2**26


def read_idx(path: Path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, plain or gzipped (http://yann.lecun.com/exdb/mnist).

    Args:
        path: the file; it is decompressed if its name ends in .gz.

    Returns:
        uint8 array of the shape given in the header.

    Raises:
        ValueError: header and length are not those of an IDX file of bytes, or it decompresses to
            more than 2 GiB or more than max(64 MiB, 100 times its size).
    """
    data = _content(path)
    n_dims = data[3] if data[:3] == b"\x00\x00\x08" else 0
    if not 1 <= n_dims <= 4 or len(data) < 4 + 4 * n_dims:
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {data[:4]!r}"
        )
    shape = tuple(np.frombuffer(data, ">i4", n_dims, 4).tolist())
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * n_dims)
    if min(shape) < 0 or values.size != math.prod(shape):
        raise ValueError(f"{path} should hold {shape} bytes, but holds {values.size}: cut off?")
    return values.reshape(shape)


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed if its name ends in .gz.

    Raises:
        ValueError: it is or becomes too large, or it is not a complete gzip file.
    """
    with open_regular(path) as stream:
        size, most = os.fstat(stream.fileno()).st_size, MOST_BYTES
        if path.suffix == ".gz":
            most = min(most, max(FLOOR, MOST_EXPANSION * size))
            stream = gzip.GzipFile(fileobj=stream)
        elif size > most:
            raise Refused(f"{path} has {size} bytes, at most {most} are read")
        try:
            data = stream.read(most + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Refused(f"{path} is not a whole gzip file: {error}") from error
    if len(data) > most:
        raise Refused(f"{path} unpacks to more than {most} bytes, which its {size} do not suggest")
    return data


class MNIST(ArrayDataset):
    """28x28 grey images scaled to [0, 1], neither normalised nor augmented.

    The files may hold any number of images.
    """

    name = "mnist"
    title = "MNIST"  # torchvision's class and folder
    config = "mnist"
    image_shape = (1, 28, 28)
    all_class_names = tuple("0123456789")

    def __init__(
        self, dataset_path: str | Path, *, download: bool, margin_warmup_epochs: int
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        self.dataset_path = Path(dataset_path).expanduser()
        self.download = download

    @property
    def folder(self) -> Path:
        """The folder in which torchvision keeps the four files."""
        return self.dataset_path / self.title / "raw"

    def check(self) -> None:
        """Checks that the four files exist, and downloads them if `download` is True.

        Raises:
            FileNotFoundError: with the path and what to type.
        """
        if not self._missing():
            return
        reason = self._fetch() if self.download else "download is off"
        if self._missing():
            raise FileNotFoundError(self._advice(reason))

    def _find(self, stem: str) -> Path | None:
        for folder in (self.folder, self.dataset_path / "raw", self.dataset_path):
            for path in (folder / stem, folder / f"{stem}.gz"):
                if path.is_file():
                    return path
        return None

    def _missing(self) -> list[str]:
        return [stem for pair in STEMS.values() for stem in pair if self._find(stem) is None]

    def _fetch(self) -> str:
        """Downloads with torchvision, which verifies the files; returns the failure in one line."""
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001
        from torchvision import datasets

        try:
            getattr(datasets, self.title)(str(self.dataset_path), download=True)
        except (OSError, RuntimeError, HTTPException) as error:  # no network, or a damaged response
            return f"the download failed ({' '.join(str(error).split())})"
        return "the download brought other files"

    def _advice(self, reason: str) -> str:
        missing = ", ".join(f"{stem}[.gz]" for stem in self._missing())
        remedy = "Without network: put the four files there"
        if not self.download:
            fetch = f"dataset={self.config} dataset.params.download=true fetches it"
            remedy = f"With network: {fetch}. Without: put the four files there"
        return (
            f"{self.title} is not at {self.folder} (missing: {missing}); {reason}. "
            f"{remedy}, or say where they are: "
            f"dataset={self.config} dataset.params.dataset_path=PATH, "
            f"where PATH/{self.title}/raw holds them."
        )

    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        self.check()
        files = [self._find(stem) for stem in STEMS[part]]
        images, labels = (read_idx(path) for path in files)
        if images.shape != (len(labels), 28, 28) or labels.ndim != 1:
            raise ValueError(
                f"{files[0]} holds images of shape {images.shape} and {files[1]} labels of shape "
                f"{labels.shape}; expected [N, 28, 28] and [N]"
            )
        return torch.from_numpy(images.copy())[:, None], labels.astype(np.int64)


class MNISTOpen(MNIST):
    """Open set: digits 0-4 for training, digits 5-9 for test, each from both official parts.

    Validation as in `DigitsOpen`: retrieval over held-out images of the training classes.
    """

    name = "mnist_open"
    config = "mnist_open"
    open_set = True

    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        images, labels = zip(*(super(MNISTOpen, self)._read(file) for file in STEMS), strict=True)
        images, labels = torch.cat(images), np.concatenate(labels)
        chosen = np.flatnonzero((labels >= N_TRAIN_CLASSES) == (part == "test"))
        return images[torch.from_numpy(chosen)], labels[chosen]


class FashionMNIST(MNIST):
    """Ten kinds of clothing in MNIST's format (Xiao et al. 2017, https://arxiv.org/abs/1708.07747)."""

    name = "fashionmnist"
    title = "FashionMNIST"
    config = "fashion_mnist"
    all_class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
