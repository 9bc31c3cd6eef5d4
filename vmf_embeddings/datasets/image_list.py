"""Cars196, CUB200 and Stanford Online Products: from 2021's list files, or from their folders.

`train.txt`, `val.txt` and `test.txt` hold lines `relative/path,label`, without a header, as the
prepare scripts write them (classes are disjoint: Scott et al. 2021,
https://arxiv.org/abs/2103.15718). Without them the published folders are read, to the same images,
class numbers and splits.
"""

from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.class_folders import (
    class_folders,
    ebay_tables,
    first_and_second_half,
)
from vmf_embeddings.datasets.image_files import Rows, class_number, refuse_escapes
from vmf_embeddings.datasets.open_benchmark import OpenBenchmark
from vmf_embeddings.datasets.prepare import cars196, cub200, sop
from vmf_embeddings.datasets.prepare.lists import validation_classes
from vmf_embeddings.untrusted.files import read_text

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
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        *rest, label = line.rsplit(separator, 1)
        file = "".join(rest)
        try:
            labels.append(class_number(label))
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


class ImageList(OpenBenchmark):
    """Three list files in one folder; the arguments are those of `OpenBenchmark`."""

    config: str  # yaml and prepare script
    inner_folder = ""  # lists may also lie in this folder below dataset_path
    image_folder = ""  # paths start from this folder below the lists
    shown_layout = ""  # how the data lie without lists, for messages
    n_train_classes = 0  # as published, validation among them
    n_valid_classes = 0  # those that 2021 held out

    @property
    def folder(self) -> Path:
        """Where the list files are, or should be."""
        inner = self.dataset_path / self.inner_folder
        return inner if (inner / LIST_FILES["train"]).is_file() else self.dataset_path

    def _read_parts(self) -> dict[str, Rows]:
        if not (self.folder / LIST_FILES["train"]).is_file():
            found = self._read_folders()
            if found is not None:
                return found
        return {name: self._read_list(file) for name, file in LIST_FILES.items()}

    def _read_list(self, list_file: str) -> Rows:
        path = self.folder / list_file
        if not path.is_file():
            raise FileNotFoundError(self._advice(path))
        files, labels = read_list(path)
        refuse_escapes(files, str(path))
        return Rows(files, labels, self.folder / self.image_folder)

    def _read_folders(self) -> dict[str, Rows] | None:
        """Train and test from the published folders; None where there are none."""
        return None

    def _published(self, train: Rows) -> np.ndarray:
        chosen = validation_classes(self.n_train_classes, self.n_valid_classes)
        return np.isin(train.labels, list(chosen))

    def _advice(self, path: Path) -> str:
        door = f"vmf_embeddings.third_party.dml_cross_entropy.download_and_process_{self.config}"
        layout = f", or {self.shown_layout}" if self.shown_layout else ""
        return (
            f"{path} does not exist. To make it: python -m {door} {self.dataset_path}; if the data "
            f"lie elsewhere: dataset={self.config} dataset.params.dataset_path=PATH, where PATH "
            f"holds {', '.join(LIST_FILES.values())}{layout}"
        )


class _ClassFolders(ImageList):
    """A data set that is also published as `images/<class>/<picture>`."""

    outer_folders: tuple[str, ...]  # names that the folder around `images` may have

    def _read_folders(self) -> dict[str, Rows] | None:
        for root in (self.dataset_path, *(self.dataset_path / n for n in self.outer_folders)):
            names = class_folders(root)
            if not names:
                continue
            if len(names) != 2 * self.n_train_classes:
                raise ValueError(
                    f"{root / 'images'} has {len(names)} class folders, and {self.name} has "
                    f"{2 * self.n_train_classes}: is it extracted whole? For pictures of your own "
                    f"use dataset=folder dataset.params.open_set=true"
                )
            return first_and_second_half(root, self._ordered(names))
        return None

    def _ordered(self, names: list[str]) -> list[str]:
        """Class folders, sorted by name, in the order of the class numbers."""
        return names


class Cars196(_ClassFolders):
    """196 car models; 83 / 15 / 98 classes for train, valid and test."""

    name = "cars196"
    config = "cars196"
    outer_folders = ("cars196",)
    shown_layout = "images/<class name>/<picture>.jpg"
    n_train_classes = cars196.N_TRAIN_CLASSES
    n_valid_classes = cars196.N_VALID_CLASSES


class Cub200(_ClassFolders):
    """200 kinds of birds; 85 / 15 / 100 classes. The path is CUB_200_2011 or its parent."""

    name = "cub200"
    config = "cub200"
    inner_folder = "CUB_200_2011"
    outer_folders = ("CUB_200_2011", "cub200")
    shown_layout = "images/<number>.<name>/<picture>.jpg"
    n_train_classes = cub200.N_TRAIN_CLASSES
    n_valid_classes = cub200.N_VALID_CLASSES

    def _ordered(self, names: list[str]) -> list[str]:
        numbers = {name: name.split(".")[0] for name in names}
        strange = [name for name, number in numbers.items() if not number.isdecimal()]
        if strange:
            raise ValueError(
                f"class folder {strange[0]!r}: expected names such as 001.Black_footed_Albatross"
            )
        return sorted(names, key=lambda name: int(numbers[name]))


class StanfordOnlineProducts(ImageList):
    """22,634 articles of an online shop; 9,620 / 1,698 / 11,316 classes."""

    name = "stanfordonlineproducts"
    config = "sop"
    image_folder = "Stanford_Online_Products"
    shown_layout = "Info_Files/Ebay_{train,test}.txt and images/<kind>_final/<picture>.JPG"
    n_train_classes = sop.N_TRAIN_CLASSES
    n_valid_classes = sop.N_VALID_CLASSES

    def _read_folders(self) -> dict[str, Rows] | None:
        archive = self.dataset_path / sop.ROOT
        places = [(archive, archive)]  # as the archive is extracted
        for root in (self.dataset_path, self.dataset_path / "online_products"):
            places.append((root / "Info_Files", root / "images"))
        for tables, images in places:
            if (tables / "Ebay_train.txt").is_file():
                return ebay_tables(tables, images)
        return None
