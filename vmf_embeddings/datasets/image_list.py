"""Cars196, CUB200 and Stanford Online Products, from list files or from the published folders.

`train.txt`, `val.txt` and `test.txt` contain lines `relative/path,label` without a header, as
written by the prepare scripts; their classes are disjoint (Scott et al. 2021,
https://arxiv.org/abs/2103.15718). If there are no lists, the published folders are read; they give
the same images, class numbers and splits.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.class_folders import (
    class_folders,
    ebay_tables,
    first_and_second_half,
)
from vmf_embeddings.datasets.list_table import refuse_line
from vmf_embeddings.datasets.open_benchmark import OpenBenchmark
from vmf_embeddings.datasets.prepare import cars196, cub200, sop
from vmf_embeddings.datasets.prepare.lists import validation_classes
from vmf_embeddings.datasets.rows import Rows, refuse_escapes
from vmf_embeddings.labels import is_whole_number
from vmf_embeddings.untrusted.files import read_text

LIST_FILES = {"train": "train.txt", "valid": "val.txt", "test": "test.txt"}


@dataclass(frozen=True)
class ListLines:
    """The lines of a list file: N paths, their labels as written, and their numbers in the file."""

    path: Path
    files: list[str]
    labels: list[str]
    numbers: list[int]

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path} line {self.numbers[row]}"


def read_list_lines(path: Path, separator: str | None) -> ListLines:
    """Reads lines `relative/path,label`, split at the last separator; blank lines are skipped.

    Args:
        path: the list file, UTF-8.
        separator: a comma; or None for any white space (as in `str.rsplit`): then paths may contain
            spaces, and a leading / of a path is removed.

    Raises:
        ValueError: naming file and line: a line has no path or no label, or there are no lines.
    """
    shown = "," if separator else " "
    found = ListLines(path, [], [], [])
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        refuse_line(path, number, line, separator)
        *rest, label = line.rsplit(separator, 1)
        file = "".join(rest) if separator else "".join(rest).lstrip("/ ")
        found.files.append(file)
        found.labels.append(label.strip())
        found.numbers.append(number)
    if not found.files:
        raise ValueError(f"{path} lists no images; expected lines relative/path{shown}label")
    return found


def read_list(path: Path, separator: str | None = ",") -> tuple[list[str], np.ndarray]:
    """Reads a list whose labels are class numbers, as in published ones.

    Args:
        path: see `read_list_lines`.
        separator: see there.

    Returns:
        N paths and labels int64 [N].

    Raises:
        ValueError: naming file and line: a label is not a whole number of 64 bits, or see there.
    """
    lines = read_list_lines(path, separator)
    for row, label in enumerate(lines.labels):
        if not is_whole_number(label):
            raise ValueError(f"{lines.place(row)}: expected an integer label, got {label!r}")
    return lines.files, np.array([int(label) for label in lines.labels], dtype=np.int64)


class ImageList(OpenBenchmark):
    """Three list files in one folder; the arguments are those of `OpenBenchmark`.

    Attributes:
        config: name of the yaml file and of the prepare script.
        inner_folder: folder below `dataset_path` in which the lists may also be.
        image_folder: folder below that of the lists that their paths start from.
        shown_layout: the files expected where there are no lists, for messages.
        n_train_classes: published number of training classes, validation classes included.
        n_valid_classes: number of those that Scott et al. 2021 held out for validation.
    """

    config: str
    inner_folder = ""
    image_folder = ""
    shown_layout = ""
    n_train_classes = 0
    n_valid_classes = 0

    @property
    def folder(self) -> Path:
        """The folder in which the list files are, or are expected."""
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
        """Train and test from the published folders; None if they do not exist."""
        return None

    def _published(self, train: Rows) -> np.ndarray:
        classes = validation_classes(self.n_train_classes, self.n_valid_classes)
        return np.isin(train.labels, list(classes))

    def _advice(self, path: Path) -> str:
        script = f"vmf_embeddings.third_party.dml_cross_entropy.download_and_process_{self.config}"
        layout = f", or {self.shown_layout}" if self.shown_layout else ""
        return (
            f"{path} does not exist. To make it: python -m {script} {self.dataset_path}; if the "
            f"data are elsewhere: dataset={self.config} dataset.params.dataset_path=PATH, where "
            f"PATH contains {', '.join(LIST_FILES.values())}{layout}"
        )


class _ClassFolders(ImageList):
    """A data set that is also published as `images/<class>/<image>`."""

    outer_folders: tuple[str, ...]  # possible names of the folder that contains `images`

    def _read_folders(self) -> dict[str, Rows] | None:
        for root in (self.dataset_path, *(self.dataset_path / n for n in self.outer_folders)):
            names = class_folders(root)
            if not names:
                continue
            if len(names) != 2 * self.n_train_classes:
                raise ValueError(
                    f"{root / 'images'} has {len(names)} class folders, and {self.name} has "
                    f"{2 * self.n_train_classes}: is it completely extracted? For images of your "
                    f"own use dataset=folder dataset.params.open_set=true"
                )
            return first_and_second_half(root, self._ordered(names))
        return None

    def _ordered(self, names: list[str]) -> list[str]:
        """The class folders in the order of the class numbers; they come sorted by name."""
        return names


class Cars196(_ClassFolders):
    """196 car models; 83 / 15 / 98 classes for train, valid and test."""

    name = "cars196"
    config = "cars196"
    outer_folders = ("cars196",)
    shown_layout = "images/<class name>/<image>.jpg"
    n_train_classes = cars196.N_TRAIN_CLASSES
    n_valid_classes = cars196.N_VALID_CLASSES


class Cub200(_ClassFolders):
    """200 kinds of birds; 85 / 15 / 100 classes. The path is CUB_200_2011 or its parent."""

    name = "cub200"
    config = "cub200"
    inner_folder = "CUB_200_2011"
    outer_folders = ("CUB_200_2011", "cub200")
    shown_layout = "images/<number>.<name>/<image>.jpg"
    n_train_classes = cub200.N_TRAIN_CLASSES
    n_valid_classes = cub200.N_VALID_CLASSES

    def _ordered(self, names: list[str]) -> list[str]:
        numbers = {name: name.split(".")[0] for name in names}
        invalid = [name for name, number in numbers.items() if not number.isdecimal()]
        if invalid:
            raise ValueError(
                f"class folder {invalid[0]!r}: expected names such as 001.Black_footed_Albatross"
            )
        return sorted(names, key=lambda name: int(numbers[name]))


class StanfordOnlineProducts(ImageList):
    """22,634 articles of an online shop; 9,620 / 1,698 / 11,316 classes."""

    name = "stanfordonlineproducts"
    config = "sop"
    image_folder = "Stanford_Online_Products"
    shown_layout = "Info_Files/Ebay_{train,test}.txt and images/<kind>_final/<image>.JPG"
    n_train_classes = sop.N_TRAIN_CLASSES
    n_valid_classes = sop.N_VALID_CLASSES

    def _read_folders(self) -> dict[str, Rows] | None:
        archive = self.dataset_path / sop.ROOT
        locations = [(archive, archive)]  # tables and images in the extracted archive
        for root in (self.dataset_path, self.dataset_path / "online_products"):
            locations.append((root / "Info_Files", root / "images"))
        for tables, images in locations:
            if (tables / "Ebay_train.txt").is_file():
                return ebay_tables(tables, images)
        return None
