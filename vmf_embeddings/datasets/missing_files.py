"""Rows whose files are missing, empty, no files, or cannot be decoded."""

import os
from collections.abc import Mapping

import numpy as np

from vmf_embeddings.datasets.rows import MISSING, NO_FILE, Rows
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.refused import Refused

_KINDS = ((0, "empty"), (NO_FILE, "a folder, a pipe or a device"))


def missing(name: str, rows: Rows) -> str | None:
    """The sentence about images of a split that do not exist; None where all do."""
    paths = rows.paths
    absent = np.flatnonzero(rows.states.sizes == MISSING).tolist()
    if not absent:
        return None
    first = paths[absent[0]]
    verb = "does" if len(absent) == 1 else "do"
    count = f"{len(absent)} of {counted(len(paths), f'{name} image')} {verb} not exist"
    if os.path.islink(first):
        return (
            f"{count}; the first, {first}, is a link to {os.readlink(first)}, which does not "
            "exist; restore that file, or remove the link"
        )
    slashes = " and are written with /, not \\" if "\\" in first else ""
    return (
        f"{count}; the first is {first}. Paths start from {rows.root}{slashes}; say where the data "
        "lie with dataset.params.dataset_path=PATH, or correct them"
    )


def refuse_missing(name: str, rows: Rows) -> None:
    """Refuses a split with images that do not exist, are empty or are no files.

    Raises:
        FileNotFoundError: naming the first missing image and the number of missing ones.
        ValueError: likewise for the others.
    """
    sentence = missing(name, rows)
    if sentence is not None:
        raise FileNotFoundError(sentence)
    for size, what in _KINDS:
        found = np.flatnonzero(rows.states.sizes == size)
        if len(found):
            raise ValueError(
                f"{what}: {counted(len(found), f'{name} image')}, the first is "
                f"{rows.paths[found[0]]}; mend or remove it"
            )


def refuse_unreadable(name: str, rows: Rows, faults: Mapping[str, str]) -> None:
    """Refuses a split with images that cannot be decoded.

    Args:
        name: of the split.
        rows: of the split.
        faults: path -> why it cannot be read.

    Raises:
        Refused: naming the first and the number.
    """
    found = [path for path in rows.paths if path in faults]
    if found:
        raise Refused(
            f"{len(found)} of {counted(len(rows.files), f'{name} image')} cannot be read; the "
            f"first: {faults[found[0]]}. Mend or remove such files, and their rows in a list, or "
            "leave them out with dataset.params.on_error=skip"
        )
