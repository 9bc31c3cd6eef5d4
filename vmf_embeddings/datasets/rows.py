"""The images of one split as a list, table or folder gives them, and the states of their files."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.untrusted.text import has_control

MISSING, NO_FILE = -2, -1  # in place of a size in bytes


@dataclass(frozen=True)
class FileStates:
    """What the file system says of N paths.

    Attributes:
        sizes: int64 [N], bytes; `MISSING` where nothing exists, `NO_FILE` for folders, pipes, …
        keys: int64 [N, 2], device and number of the file. Two paths have the same key if they lead
            to the same file, however they are written; (-1, a hash of the path) for the missing.
    """

    sizes: np.ndarray
    keys: np.ndarray

    def chosen(self, mask: np.ndarray) -> "FileStates":
        """Those where `mask` bool [N] is True."""
        return FileStates(self.sizes[mask], self.keys[mask])


def states_of(paths: Sequence[str]) -> FileStates:
    """Asks the file system for each path once; links are followed."""
    sizes = np.full(len(paths), MISSING, dtype=np.int64)
    keys = np.zeros((len(paths), 2), dtype=np.uint64)
    for i, path in enumerate(paths):
        try:
            state = os.stat(path)
        except OSError:
            digest = hashlib.blake2b(os.path.normpath(path).encode(errors="replace"))
            keys[i] = 2**64 - 1, int.from_bytes(digest.digest()[:8], "little")
            continue
        sizes[i] = state.st_size if stat.S_ISREG(state.st_mode) else NO_FILE
        keys[i] = state.st_dev, state.st_ino
    return FileStates(sizes, keys.view(np.int64))


@dataclass(frozen=True)
class Rows:
    """The images of one split as given in a list, table or folder.

    Attributes:
        files: N paths, absolute or relative to `root`.
        labels: int64 [N], class numbers that are unique over all splits.
        root: folder that relative paths start from.
        is_query: bool [N] or None, see `Split`.
        is_gallery: bool [N] or None, see `Split`.

    Raises:
        ValueError: a path holds control characters.
    """

    files: list[str]
    labels: np.ndarray
    root: Path
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None

    def __post_init__(self) -> None:
        if has_control("".join(self.files)):
            invalid = next(file for file in self.files if has_control(file))
            raise ValueError(
                f"{self.root}: the path {invalid!r} holds control characters; rename that file"
            )

    @property
    def paths(self) -> list[str]:
        """N absolute paths."""
        root = os.path.abspath(self.root)
        return [os.path.join(root, file) for file in self.files]

    @cached_property
    def states(self) -> FileStates:
        """What the file system says of the files; asked once, also for rows chosen from these."""
        return states_of(self.paths)

    @cached_property
    def images(self) -> np.ndarray:
        """int64 [N] in 0..M-1: rows with the same number lead to the same file."""
        keys = self.states.keys
        if len(keys) and (keys[:, 0] == keys[0, 0]).all():  # ten times as fast
            return np.unique(keys[:, 1], return_inverse=True)[1]
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)

    def path_of(self, row: int) -> str:
        """Absolute path of one row."""
        return os.path.join(os.path.abspath(self.root), self.files[row])

    def chosen(self, mask: np.ndarray) -> "Rows":
        """The rows where `mask` bool [N] is True."""
        flags = {
            key: None if (flag := getattr(self, key)) is None else flag[mask]
            for key in ("is_query", "is_gallery")
        }
        files = [file for file, wanted in zip(self.files, mask.tolist(), strict=True) if wanted]
        rows = replace(self, files=files, labels=self.labels[mask], **flags)
        if "states" in self.__dict__:
            rows.__dict__["states"] = self.states.chosen(mask)
        return rows


def refuse_escapes(files: Sequence[str], source: str) -> None:
    """Refuses relative paths that lead out of their root through `..`; absolute paths are allowed.

    Raises:
        ValueError: naming the path and the list in which it was found.
    """
    for file in files:
        if ".." in file and os.path.normpath(file).split(os.sep)[0] == "..":
            raise ValueError(
                f"{source}: {file!r} leads out of the data set's folder; "
                "use a path below it, or an absolute path"
            )
