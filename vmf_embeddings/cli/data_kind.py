"""What a path holds: images in folders, a table or lists of images, or feature vectors."""

import importlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmf_embeddings.cli.help import CONF
from vmf_embeddings.datasets.csv_lines import PATH_COLUMNS
from vmf_embeddings.embeddings.endings import TEXT_TABLES, ends_with, is_stored
from vmf_embeddings.embeddings.names import canonical_split
from vmf_embeddings.embeddings.table_cells import text_of
from vmf_embeddings.untrusted.image_formats import is_picture

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset

_FEWEST_COLUMNS = 3  # of a table of vectors
_MANY_COLUMNS = 32  # of a table that names images too
_LISTS = ("train.txt", "test.txt")
_TARS = ("train-*.tar", "test-*.tar")
_VALID_TARS = ("val-*.tar", "valid-*.tar", "validation-*.tar", "dev-*.tar")
_VALID_LISTS = ("val.txt", "valid.txt", "validation.txt", "dev.txt")


@dataclass(frozen=True)
class DataKind:
    """The data set that reads a path.

    Attributes:
        name: option of the group `dataset`: folder, csv, image_list or features.
        values: parameters that differ from its defaults.
    """

    name: str
    values: dict[str, Any]

    @property
    def holds_images(self) -> bool:
        """Whether it reads images, not feature vectors."""
        return self.name != "features"

    def with_values(self, **values: Any) -> "DataKind":
        """The same kind with other parameters."""
        return replace(self, values=self.values | values)

    def defaults(self) -> dict[str, Any]:
        """The parameters in its yaml file."""
        import yaml

        text = (CONF / "dataset" / f"{self.name}.yaml").read_text()
        params: dict[str, Any] = yaml.safe_load(text)["params"]
        return params

    def built(self) -> "Dataset":
        """The data set with the defaults of its yaml file."""
        params = self.defaults()
        module, _, kind = params.pop("_target_").rpartition(".")
        return getattr(importlib.import_module(module), kind)(**{**params, **self.values})


def kind_of_data(path: Path, *, open_set: bool | None = None, layout: str = "auto") -> DataKind:
    """Decides how an existing path is read.

    Args:
        path: a file or a folder.
        open_set: for data sets that can be either; None = as the data say.
        layout: see `datasets.folder.Folder`.

    Raises:
        ValueError: it is one list of several.
    """
    values: dict[str, Any] = {"dataset_path": path}
    if path.is_dir() and all((path / name).is_file() for name in _LISTS):
        valid = [name for name in _VALID_LISTS if (path / name).is_file()]
        return DataKind("image_list", values | ({"valid_list": valid[0]} if valid else {}))
    if path.is_dir() and all(any(path.glob(names)) for names in _TARS):
        valid = [names for names in _VALID_TARS if any(path.glob(names))]
        return DataKind("tar", values | ({"valid_tars": valid[0]} if valid else {}))
    if open_set is not None:
        values["open_set"] = open_set
    if path.is_dir() and (is_stored(path) or _has_feature_files(path)):
        return DataKind("features", values)
    if not path.is_dir() and not _is_table_of_images(path):
        if path.suffix == ".txt":
            raise ValueError(
                f"{path} is one list; give the folder that holds {' and '.join(_LISTS)}"
            )
        return DataKind("features", values)
    if not path.is_dir() or (_only_table(path) is not None and not _has_folder_layout(path)):
        return DataKind("csv", values)
    return DataKind("folder", values | ({} if layout == "auto" else {"layout": layout}))


def _only_table(folder: Path) -> Path | None:
    tables = [each for each in sorted(folder.iterdir()) if each.suffix.lower() == ".csv"]
    return tables[0] if len(tables) == 1 and _is_table_of_images(tables[0]) else None


def _has_folder_layout(path: Path) -> bool:
    """Whether folders below `path` are named by splits; a table beside them is then an extra."""
    return any(each.is_dir() and canonical_split(each.name) for each in path.iterdir())


def _is_table_of_images(path: Path) -> bool:
    """Whether a file is a table of images, by a column's name or paths in its first rows."""
    if not ends_with(path, TEXT_TABLES) or not path.is_file():
        return False
    lines = [line for line in text_of(path).split("\n") if line.strip()][:3]
    rows = [re.split("[,;\t]", line.lower()) for line in lines]
    cells = [[cell.strip().strip("\"'") for cell in row] for row in rows]
    if cells and _is_table_of_vectors(cells):
        return False
    if any(cell.startswith("[") for row in cells[1:] for cell in row):  # a column of lists
        return False
    if cells and {*PATH_COLUMNS, "split"} & set(cells[0]):
        return True
    return any(any(map(is_picture, row)) and sum("." in c for c in row) < 2 for row in cells)


def _has_feature_files(folder: Path) -> bool:
    """Whether a folder has a file of training vectors, such as `train.npz`, and no image folders.

    Raises:
        ValueError: a split has several files.
    """
    from vmf_embeddings.datasets.features_files import split_files

    folders = [each for each in folder.iterdir() if each.is_dir()]
    return not folders and "train" in split_files(folder)


def _is_table_of_vectors(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table has numbered columns of one name, as f0, f1, f2.

    >>> _is_table_of_vectors([["label", "split", "f0", "f1", "f2"], ["a", "train", "1", "2", "3"]])
    True
    >>> _is_table_of_vectors([["path", "x1", "y1", "x2", "y2"], ["a.jpg", "1", "2", "3", "4"]])
    False

    Args:
        rows: cells of its first lines, the header first.
    """
    numbered = [cell for cell in rows[0] if cell[-1:].isdigit()]
    stems = Counter(cell.rstrip("0123456789").rstrip(" _.-[") for cell in numbered)
    if len(stems) != 1:
        return False
    n_columns = next(iter(stems.values()))
    names_images = any(map(is_picture, (cell for row in rows[1:] for cell in row)))
    return n_columns >= (_MANY_COLUMNS if names_images else _FEWEST_COLUMNS)
