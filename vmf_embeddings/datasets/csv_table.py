"""User images from one csv table with columns label and path (split, is_query, is_gallery)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.datasets.class_spelling import refuse_other_spellings
from vmf_embeddings.datasets.csv_lines import read_lines
from vmf_embeddings.datasets.holdout import check_fraction, hold_out
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.rows import Rows, refuse_escapes
from vmf_embeddings.embeddings.names import canonical_split, known_splits
from vmf_embeddings.labels import read_labels

FLAG_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
FLAG_WORDS |= {"1.0": True, "0.0": False, "": False}


class CsvTable(ImageFileDataset):
    """A table with one row per image; labels may be any text, see `labels.read_labels`.

    Args:
        dataset_path: the table, or the folder that contains it, relative to the current directory.
        csv_file: the table's name below a folder `dataset_path`; None takes the only *.csv there.
        open_set: True for retrieval over new classes, False for classification. None: True if test
            (or valid, where there is no test) shares no class with train, otherwise False.
        valid_share: fraction of train that becomes valid where the table has no valid rows: images
            of every class in a closed set, whole classes in an open one.
        test_share: likewise, fraction of all rows that becomes test where the table has no column
            split.
        image_size: see `ImageFileDataset`.
        augment: name of the training recipe.
        mean: per channel.
        std: per channel.
        normalisation: see `ImageFileDataset`.
        interpolation: see `ImageFileDataset`.
        crop_fraction: see `ImageFileDataset`.
        background: see `ImageFileDataset`.
        max_pixels: see `ImageFileDataset`.
        on_error: see `ImageFileDataset`.
        check: see `ImageFileDataset`.
        decoder: see `ImageFileDataset`.
        margin_warmup_epochs: see `Dataset`.
    """

    name = "csv"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        csv_file: str | None,
        open_set: bool | None,
        valid_share: float,
        test_share: float = 0.2,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        normalisation: str = "data",
        interpolation: str = "bilinear",
        crop_fraction: float | None = None,
        background: Background = "white",
        max_pixels: int | None = None,
        on_error: str = "refuse",
        check: str = "cheap",
        decoder: str = "pillow",
        margin_warmup_epochs: int,
    ) -> None:
        super().__init__(
            dataset_path,
            image_size=image_size,
            augment=augment,
            mean=mean,
            std=std,
            normalisation=normalisation,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
            background=background,
            max_pixels=max_pixels,
            on_error=on_error,
            check=check,
            decoder=decoder,
            margin_warmup_epochs=margin_warmup_epochs,
        )
        check_fraction("valid_share", valid_share)
        check_fraction("test_share", test_share)
        self.csv_file = csv_file
        self.valid_share = valid_share
        self.test_share = test_share
        self._open_set = open_set

    @cached_property
    def open_set(self) -> bool:
        """Whether test classes do not occur in train."""
        return shares_no_class(self.table_rows) if self._open_set is None else self._open_set

    @cached_property
    def table(self) -> Path:
        """The csv file.

        Raises:
            FileNotFoundError: there is no such file, or several candidates.
        """
        root = self.dataset_path
        if root.is_file() and self.csv_file is None:
            return root
        if self.csv_file is not None:
            path = (root if root.is_dir() else root.parent) / self.csv_file
            found = [path] if path.is_file() else []
        else:
            path = root / "*.csv"
            found = sorted(root.glob("*.csv"))
        if len(found) == 1:
            return found[0]
        if not root.exists():
            path = root
        raise FileNotFoundError(
            f"expected one table at {path}, found {', '.join(f.name for f in found) or 'none'}; "
            "say which with dataset.params.dataset_path=FOLDER dataset.params.csv_file=NAME"
        )

    @cached_property
    def _numbered_lines(self) -> dict[int, dict[str, str]]:
        return read_lines(self.table)

    @property
    def _lines(self) -> list[dict[str, str]]:
        return list(self._numbered_lines.values())

    @cached_property
    def _labels_and_names(self) -> tuple[np.ndarray, list[str] | None]:
        """Class numbers of all rows, int64 [N], and the names of the classes, or None."""
        numbers = list(self._numbered_lines)
        return read_labels(
            [line["label"] for line in self._lines],
            place=lambda row: f"{self.table} line {numbers[row]}",
        )

    @property
    def classes(self) -> list[str] | None:
        """Sorted class names; None where all labels are integers, which are then class numbers."""
        return self._labels_and_names[1]

    def _class_name(self, label: int) -> str:
        return str(label) if self.classes is None else self.classes[label]

    @cached_property
    def table_rows(self) -> dict[str, Rows]:
        """Rows per split as given in the table, before images are held out.

        All are under "" where it has no column split.
        """
        lines = self._lines
        labels = self._labels_and_names[0]
        files = [line["path"] for line in lines]
        refuse_escapes(files, str(self.table))
        all_rows = Rows(files, labels, self._root(files[0]), *self._flags())
        if "split" not in lines[0]:
            return {"": all_rows}
        splits = np.array(
            [self._split_name(i, line["split"]) for i, line in self._numbered_lines.items()]
        )
        present = [name for name in SPLIT_NAMES if name in splits]
        rows = {name: all_rows.chosen(splits == name) for name in present}
        if self.classes is not None:
            names = np.array(self.classes)
            by_split = {name: names[np.unique(rows[name].labels)].tolist() for name in present}
            refuse_other_spellings(by_split, str(self.table), is_open=self._open_set is True)
        return rows

    @property
    def origins(self) -> dict[str, str]:
        """See `ImageFileDataset`."""
        if "" in self.table_rows:
            return dict.fromkeys(("valid", "test"), "held out of the table")
        return {} if "valid" in self.table_rows else {"valid": "held out of train"}

    def _split_name(self, line_number: int, word: str) -> str:
        """The split that a cell names, such as "valid" for "Val"."""
        split = canonical_split(word)
        if split is not None:
            return split
        raise ValueError(
            f"{self.table} line {line_number}: unknown split {word!r}{known_splits(word)}"
        )

    def _root(self, first: str) -> Path:
        """The folder that relative paths start from: `dataset_path`, else the table's folder.

        Args:
            first: path of the first image, which is looked for in both.
        """
        here = self.table.parent
        if self.dataset_path.is_dir() and (self.dataset_path / first).exists():
            return self.dataset_path
        return here if (here / first).exists() or self.dataset_path.is_file() else self.dataset_path

    def _flags(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """is_query and is_gallery [N]; True everywhere if only the other column exists."""
        columns = [name for name in ("is_query", "is_gallery") if name in self._lines[0]]
        if not columns:
            return None, None
        flags = {name: self._flag(name) for name in columns}
        all_true = np.ones(len(self._lines), dtype=bool)
        return flags.get("is_query", all_true), flags.get("is_gallery", all_true)

    def _flag(self, column: str) -> np.ndarray:
        words = [line[column].lower() for line in self._lines]
        unknown = [word for word in words if word not in FLAG_WORDS]
        if unknown:
            raise ValueError(
                f"{self.table}: column {column} holds {unknown[0]!r}; expected true/false or 1/0"
            )
        return np.array([FLAG_WORDS[word] for word in words])

    def _check_flags(self, test: Rows) -> None:
        """Refuses a test split without any query, or without any gallery image."""
        for column in ("is_query", "is_gallery"):
            flags = getattr(test, column)
            if flags is not None and not flags.any():
                raise ValueError(
                    f"{self.table}: {column} is false in all {len(flags)} test rows, so nothing "
                    f"can be retrieved; set it to true in some, or leave the column out"
                )

    def _read_rows(self) -> dict[str, Rows]:
        rows = dict(self.table_rows)
        if "" in rows:
            all_rows = rows.pop("")
            held_out = hold_out(all_rows, self.test_share, by_class=self.open_set)
            rows |= {"train": all_rows.chosen(~held_out), "test": all_rows.chosen(held_out)}
        if "test" in rows:
            self._check_flags(rows["test"])
        if "train" in rows and "valid" not in rows:
            held_out = hold_out(rows["train"], self.valid_share, by_class=self.open_set)
            rows |= {
                "train": rows["train"].chosen(~held_out),
                "valid": rows["train"].chosen(held_out),
            }
        return rows


def shares_no_class(rows: dict[str, Rows]) -> bool:
    """Whether no class of test (or of valid, where there is no test) occurs in train."""
    evaluated = rows.get("test", rows.get("valid"))
    if evaluated is None or "train" not in rows:
        return False
    return not np.isin(evaluated.labels, rows["train"].labels).any()
