"""One check for all data sets of files: no image is in two splits, or under two labels."""

import os
import unicodedata
from collections.abc import Callable, Mapping

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.datasets.wording import counted


def refuse_shared_images(
    parts: Mapping[str, Rows], source: str, class_name: Callable[[int], str], hint: str = ""
) -> str | None:
    """Refuses one image in two splits or under two labels.

    Two rows have the same image if their paths lead to the same file: written otherwise (`./a`),
    through a symbolic link, or in other case where the file system does not tell cases apart.
    Rows of one split with one label may repeat an image, as query and gallery do.

    Args:
        parts: split -> its rows.
        source: what they were read from, for the message.
        class_name: name of an original label.
        hint: end of the message about valid and another split.

    Returns:
        A warning about files that are hard links of one another, or None. Such files are copies
        under names of their own.

    Raises:
        ValueError: naming how many images, and one of them.
    """
    rows = _Rows(_suspects(parts))
    conflicts = rows.conflicts()
    if not conflicts:
        return None
    same = [group for group in conflicts if rows.one_path(group)]
    between = [group for group in same if len(set(rows.splits[group])) > 1]
    if between:
        one, other = rows.of_two(between[0], rows.splits)
        pair = {int(rows.splits[one]), int(rows.splits[other])}
        between = [group for group in between if pair <= set(rows.splits[group].tolist())]
        names = " and ".join(rows.names[i] for i in sorted(pair))
        hint = hint if "valid" in names else ""
        raise ValueError(
            f"{source}: {names} share {counted(len(between), 'image')}, such as "
            f"{rows.shown(one, other)}; every image may be in one split only. Remove it from the "
            f"others{hint}"
        )
    if same:
        one, other = rows.of_two(same[0], rows.labels)
        labels = [class_name(int(rows.labels[i])) for i in (one, other)]
        raise ValueError(
            f"{source}: {counted(len(same), 'image')} with two labels, such as "
            f"{rows.shown(one, other)}, once {labels[0]} and once {labels[1]}; keep one row of it, "
            "with the label that is right"
        )
    one, other = rows.of_two(conflicts[0], rows.splits, rows.labels)
    return (
        f"{source}: {counted(len(conflicts), 'image')} in two splits or under two labels as hard "
        f"links (one content, several names), such as {rows.shown(one, other)}"
    )


def _suspects(parts: Mapping[str, Rows]) -> Mapping[str, Rows]:
    """The rows that may have the image of another: all, or of very many those of repeated paths."""
    hashes = [rows.hashes for rows in parts.values() if rows.hashes is not None]
    if len(hashes) < len(parts):
        return parts
    ordered = np.sort(np.concatenate(hashes))
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return {name: rows.chosen(np.zeros(len(rows.files), bool)) for name, rows in parts.items()}
    return {name: rows.chosen(np.isin(rows.hashes, repeated)) for name, rows in parts.items()}


class _Rows:
    """The rows of all splits, one after another."""

    def __init__(self, parts: Mapping[str, Rows]) -> None:
        self.names = [name for name in SPLIT_NAMES if name in parts]
        self.parts = [parts[name] for name in self.names]
        self.starts = np.cumsum([0, *(len(rows.files) for rows in self.parts)])
        self.splits = np.repeat(np.arange(len(self.parts)), np.diff(self.starts))
        self.labels = np.concatenate([rows.labels for rows in self.parts])

    def conflicts(self) -> list[np.ndarray]:
        """Rows of each file that is in two splits or has two labels."""
        keys = np.concatenate([rows.states.keys for rows in self.parts])
        if not len(keys):
            return []
        order = np.lexsort((keys[:, 0], keys[:, 1]))
        new = (np.diff(keys[order], axis=0) != 0).any(axis=1)
        if new.all():
            return []
        groups = np.split(order, np.flatnonzero(new) + 1)
        found = [np.sort(g) for g in groups if len(g) > 1 and self._differ(g)]
        return sorted(found, key=lambda group: group[0])

    def _differ(self, group: np.ndarray) -> bool:
        return len(set(self.splits[group])) > 1 or len(set(self.labels[group])) > 1

    def path(self, row: int) -> str:
        """Absolute path of a row, as written."""
        split = self.splits[row]
        return self.parts[split].path_of(int(row - self.starts[split]))

    def one_path(self, group: np.ndarray) -> bool:
        """Whether some of the rows that differ have one path once links are followed."""
        by_path: dict[str, list[int]] = {}
        for row in group:
            by_path.setdefault(_plain(self.path(row)), []).append(row)
        return any(len(g) > 1 and self._differ(np.array(g)) for g in by_path.values())

    def of_two(self, group: np.ndarray, *values: np.ndarray) -> tuple[int, int]:
        """The first row, and the first that differs from it in one of `values`."""
        first = group[0]
        return first, next(row for row in group if any(v[row] != v[first] for v in values))

    def shown(self, one: int, other: int) -> str:
        """The path of one row, and of the other where it is written otherwise."""
        paths = [self.path(row) for row in (one, other)]
        return paths[0] if paths[0] == paths[1] else f"{paths[0]}, which is also {paths[1]}"


def _plain(path: str) -> str:
    """A path without links; the same for names that a file system does not tell apart."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
