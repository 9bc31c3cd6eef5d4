"""The images of one split as a list, table or folder gives them, and the states of their files."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.texts import Texts
from vmf_embeddings.untrusted.text import has_control

MISSING, NO_FILE = -2, -1  # in place of a size in bytes
LONG = 1_000_000  # rows of all splits; of more, the file system is not asked for each
MOST_LOOKED_AT = 10_000  # files per split where there are more rows


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
        files: N paths, absolute or relative to `root`: a list, or `Texts`.
        labels: int64 [N], class numbers that are unique over all splits.
        root: folder that relative paths start from.
        is_query: bool [N] or None, see `Split`.
        is_gallery: bool [N] or None, see `Split`.
        hashes: uint64 [N], equal for equal `files`, where these are too many to ask the file system
            for each; None elsewhere.

    Raises:
        ValueError: a path holds control characters.
    """

    files: Sequence[str]
    labels: np.ndarray
    root: Path
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None
    hashes: np.ndarray | None = None

    def __post_init__(self) -> None:
        if isinstance(self.files, Texts):  # which hold none
            return
        if has_control("".join(self.files)):
            invalid = next(file for file in self.files if has_control(file))
            raise ValueError(
                f"{self.root}: the path {invalid!r} holds control characters; rename that file"
            )

    @property
    def paths(self) -> Sequence[str]:
        """N absolute paths."""
        root = os.path.abspath(self.root)
        if isinstance(self.files, Texts):
            return self.files.below(root)
        return [os.path.join(root, file) for file in self.files]

    @cached_property
    def states(self) -> FileStates:
        """What the file system says of the files; asked once, also for rows chosen from these."""
        if isinstance(self.files, Texts) and self.files.has_places:
            return self.files.states()
        return states_of(self.paths)

    @cached_property
    def images(self) -> np.ndarray:
        """int64 [N] in 0..M-1: rows with the same number lead to the same file.

        Of very many rows, to files of the same path.
        """
        if self.hashes is not None:
            return np.unique(self.hashes, return_inverse=True)[1]
        keys = self.states.keys
        if len(keys) and (keys[:, 0] == keys[0, 0]).all():  # ten times as fast
            return np.unique(keys[:, 1], return_inverse=True)[1]
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)

    @cached_property
    def all_differ(self) -> bool:
        """Whether no two rows lead to the same file; of very many rows, whether no path repeats."""
        if self.hashes is not None:
            ordered = np.sort(self.hashes)
            return not (ordered[1:] == ordered[:-1]).any()
        return int(self.images.max(initial=-1)) + 1 == len(self.files)

    @property
    def looked_at(self) -> "Rows":
        """The rows whose files are looked at before work starts: all, or some of very many."""
        if self.hashes is None:
            return self
        chosen = np.zeros(len(self.files), dtype=bool)
        chosen[:: -(-len(chosen) // MOST_LOOKED_AT)] = True
        return replace(self.chosen(chosen), hashes=None)

    def path_of(self, row: int) -> str:
        """Absolute path of one row."""
        return os.path.join(os.path.abspath(self.root), self.files[row])

    def chosen(self, mask: np.ndarray) -> "Rows":
        """The rows where `mask` bool [N] is True."""
        flags = {
            key: None if (flag := getattr(self, key)) is None else flag[mask]
            for key in ("is_query", "is_gallery", "hashes")
        }
        if isinstance(self.files, Texts):
            files: Sequence[str] = self.files.chosen(mask)
        else:
            files = [f for f, wanted in zip(self.files, mask.tolist(), strict=True) if wanted]
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
