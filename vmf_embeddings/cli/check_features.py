"""`check` of feature vectors: a file of embeddings, or a folder with one file per split."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.image_formats import is_picture

if TYPE_CHECKING:
    from vmf_embeddings.datasets.features import Features
    from vmf_embeddings.datasets.inspection import Inspection

_FEWEST_COLUMNS = 3  # of a table of vectors
_MANY_COLUMNS = 32  # of a table that names images too


def has_feature_files(folder: Path) -> bool:
    """Whether a folder has a file of training vectors, such as `train.npz`, and no image folders.

    Raises:
        ValueError: a split has several files.
    """
    from vmf_embeddings.datasets.features_files import split_files

    folders = [each for each in folder.iterdir() if each.is_dir()]
    return not folders and "train" in split_files(folder)


def is_table_of_vectors(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table has numbered columns of one name, as f0, f1, f2.

    >>> is_table_of_vectors([["label", "split", "f0", "f1", "f2"], ["a", "train", "1", "2", "3"]])
    True
    >>> is_table_of_vectors([["path", "x1", "y1", "x2", "y2"], ["a.jpg", "1", "2", "3", "4"]])
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


def look_at_features(path: Path, open_set: bool | None) -> "tuple[Inspection, dict[str, str]]":
    """What is wrong with the vectors, and the commands that evaluate them and train on them.

    Args:
        path: the file or folder.
        open_set: see `Features`.

    Returns:
        What was found; and commands, see `check._looked_at`. There is none to train where training
        would refuse the vectors.

    Raises:
        ValueError: the path leads to no file of embeddings that can be read.
    """
    from vmf_embeddings.datasets.inspection import Inspection

    data = _data(path, open_set)
    if path.is_dir():
        found = Inspection(summary=str(path))
        refused = _look_at_splits(data, found)
        found.faults += refused
        return found, {"command": _training(path, open_set)}
    found = _of_embeddings(path)
    commands = {"command": typed.command("evaluate", typed.argument(path))}
    refused = _look_at_splits(data, found)
    if refused:
        found.notes.append(f"training would refuse it: {refused[0]}")
        return found, commands
    return found, commands | {"train_command": _training(path, open_set)}


def _look_at_splits(data: "Features", found: "Inspection") -> list[str]:
    """Counts per split of the file, and equal vectors in two splits; returns why training refuses.

    Splits that the file does not have are not counted.
    """
    try:
        for name, part in data.files.parts.items():
            if name:
                labels, counts = np.unique(part.labels, return_counts=True)
                named = [data.name_of(label) for label in labels.tolist()]
                found.counts[name] = dict(zip(named, counts.tolist(), strict=True))
                found.counts.pop("rows", None)
        data.refuse_unusable()
    except (ValueError, OSError) as error:
        return [str(error)]
    found.faults += data.shared
    if "rows" not in found.counts:
        found.notes += doubts(found.counts, open_set=data.open_set)
    found.notes.append(f"to train on: {data.summary}")
    return []


def _training(path: Path, open_set: bool | None) -> str:
    words = ["experiment=own_features", typed.override("data", path)]
    words += [] if open_set is None else [f"dataset.params.open_set={str(open_set).lower()}"]
    return typed.command("main", *words)


def _data(path: Path, open_set: bool | None) -> "Features":
    """The data set with the defaults of its yaml file."""
    import yaml

    from vmf_embeddings.datasets.features import Features

    options: dict[str, Any] = yaml.safe_load((CONF / "dataset" / "features.yaml").read_text())
    params = {k: v for k, v in options["params"].items() if k != "_target_"}
    return Features(**{**params, "dataset_path": path, "open_set": open_set})


def _of_embeddings(path: Path) -> "Inspection":
    """Rows and classes of a file of embeddings; the reader refuses what cannot be used."""
    from vmf_embeddings.datasets.inspection import Inspection
    from vmf_embeddings.embeddings.foreign import read_with_notes
    from vmf_embeddings.embeddings.values import refuse_missing_names

    read = read_with_notes(path)
    if read.file.ids is None:
        raise ValueError(f"{path} has no labels, as files of new images that `embed` writes")
    rows, ids = np.asarray(read.file.embeddings), np.asarray(read.file.ids)
    found = Inspection(summary=f"{path}: embeddings {list(rows.shape)}")
    names = (read.file.meta or {}).get("class_names")
    labels, counts = np.unique(ids, return_counts=True)
    try:
        refuse_missing_names(ids, names)
    except ValueError as error:
        found.faults.append(str(error))
    known = dict(enumerate(names or ()))
    shown = [str(known.get(i, i)) for i in labels.tolist()]
    found.counts["rows"] = dict(zip(shown, counts.tolist(), strict=True))
    found.notes += list(getattr(read, "notes", []))
    single = int((counts == 1).sum())
    if single:
        found.notes.append(f"{counted(single, 'class')} with a single row, which finds nothing")
    if len(labels) < 2:
        found.faults.append("all rows belong to one class: every score would be perfect")
    zero = int((np.abs(rows).max(axis=1) == 0).sum())
    if zero:
        found.faults.append(f"{counted(zero, 'row')} of zeros, without a direction")
    repeated = len(rows) - len(np.unique(rows, axis=0))
    if repeated:
        found.notes.append(f"{counted(repeated, 'row')} with the values of another row")
    return found
