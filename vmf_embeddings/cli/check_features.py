"""`check` of feature vectors: a file of embeddings, or a folder with one file per split."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.cli.data_kind import DataKind
from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.embeddings.endings import is_stored

if TYPE_CHECKING:
    from vmf_embeddings.datasets.features import Features
    from vmf_embeddings.datasets.inspection import Inspection


def look_at_features(path: Path, kind: DataKind) -> "tuple[Inspection, dict[str, str]]":
    """What is wrong with the vectors, and the commands that evaluate them and train on them.

    Args:
        path: the file or folder.
        kind: the data set that reads it.

    Returns:
        What was found; and commands, see `check._looked_at`. There is none to train where training
        would refuse the vectors.

    Raises:
        ValueError: the path leads to no file of embeddings that can be read.
    """
    from vmf_embeddings.datasets.inspection import Inspection

    data = cast("Features", kind.built())
    if not is_stored(path):
        found = Inspection(summary=str(path))
        refused = _look_at_splits(data, found)
        found.faults += refused
        return found, {"command": _training(path, kind.values.get("open_set"))}
    found = _of_embeddings(path)
    commands = {"command": typed.command("evaluate", typed.argument(path))}
    refused = _look_at_splits(data, found)
    if refused:
        found.notes.append(f"training would refuse it: {refused[0]}")
        return found, commands
    return found, commands | {"train_command": _training(path, kind.values.get("open_set"))}


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
    found.notes += read.notes
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
