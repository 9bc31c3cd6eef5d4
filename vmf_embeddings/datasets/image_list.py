"""Cars196, CUB200 and Stanford Online Products from their list files: open-set retrieval.

`train.txt`, `val.txt` and `test.txt` hold lines `relative/path,label`, without a header, as the
prepare scripts write them (classes are disjoint: Scott et al. 2021,
https://arxiv.org/abs/2103.15718).
"""

from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.image_files import (
    ImageFileDataset,
    Rows,
    read_utf8,
    refuse_escapes,
)
from vmf_embeddings.datasets.transforms import IMAGENET_MEAN, IMAGENET_STD

LIST_FILES = {"train": "train.txt", "valid": "val.txt", "test": "test.txt"}


def read_list(path: Path, separator: str | None = ",") -> tuple[list[str], np.ndarray]:
    """Lines `relative/path,label`, split at the last separator; blank lines are skipped.

    Args:
        path: the list file, UTF-8.
        separator: a comma; or None for any white space, as `str.rsplit` has it, where paths may
            hold spaces of their own, and a leading / means the folder of the data set.

    Returns:
        N paths and labels int64 [N].

    Raises:
        ValueError: naming file and line, if a line is not of that form or none is left.
    """
    shown = "," if separator else " "
    files, labels = [], []
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        *rest, label = line.rsplit(separator, 1)
        file = "".join(rest)
        try:
            labels.append(int(label))
        except ValueError:
            raise ValueError(
                f"{path} line {number}: expected relative/path{shown}integer-label, got {line!r}"
            ) from None
        files.append(file if separator else file.lstrip("/ "))
        if not files[-1]:
            what = "comma" if separator else "label"
            raise ValueError(f"{path} line {number}: no path before the {what} in {line!r}")
    if not files:
        raise ValueError(f"{path} lists no images; expected lines relative/path{shown}label")
    return files, np.array(labels, dtype=np.int64)


class ImageList(ImageFileDataset):
    """Three list files in one folder; subclasses state names and recipe.

    Args:
        dataset_path: the folder, relative to the current directory.
        image_size: side of the square that the network sees, in pixels.
        margin_warmup_epochs: see `Dataset`.
    """

    open_set = True
    config: str  # yaml and prepare script
    recipe_name: str
    inner_folder = ""  # lists may also lie in this folder below dataset_path
    image_folder = ""  # paths start from this folder below the lists

    def __init__(
        self, dataset_path: str | Path, *, image_size: int, margin_warmup_epochs: int
    ) -> None:
        super().__init__(
            dataset_path,
            image_size=image_size,
            augment=self.recipe_name,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            margin_warmup_epochs=margin_warmup_epochs,
        )

    @property
    def folder(self) -> Path:
        """Where the list files are, or should be."""
        inner = self.dataset_path / self.inner_folder
        return inner if (inner / LIST_FILES["train"]).is_file() else self.dataset_path

    def _read_rows(self) -> dict[str, Rows]:
        rows = {}
        for name, list_file in LIST_FILES.items():
            path = self.folder / list_file
            if not path.is_file():
                raise FileNotFoundError(self._advice(path))
            files, labels = read_list(path)
            refuse_escapes(files, str(path))
            rows[name] = Rows(files, labels, self.folder / self.image_folder)
        return rows

    def _advice(self, path: Path) -> str:
        door = f"vmf_embeddings.third_party.dml_cross_entropy.download_and_process_{self.config}"
        return (
            f"{path} does not exist. To make it: python -m {door} {self.dataset_path}; if the data "
            f"lie elsewhere: dataset={self.config} dataset.params.dataset_path=PATH, where PATH "
            f"holds {', '.join(LIST_FILES.values())}"
        )


class Cars196(ImageList):
    """196 car models; 83 / 15 / 98 classes for train, valid and test."""

    name = "cars196"
    config = "cars196"
    recipe_name = "cars"


class Cub200(ImageList):
    """200 kinds of birds; 85 / 15 / 100 classes. The path is CUB_200_2011 or its parent."""

    name = "cub200"
    config = "cub200"
    recipe_name = "cub"
    inner_folder = "CUB_200_2011"


class StanfordOnlineProducts(ImageList):
    """22,634 articles of an online shop; 9,620 / 1,698 / 11,316 classes."""

    name = "stanfordonlineproducts"
    config = "sop"
    recipe_name = "sop"
    image_folder = "Stanford_Online_Products"
