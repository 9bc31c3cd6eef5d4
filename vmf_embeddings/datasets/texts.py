"""Many short texts in one buffer: a path of ten million is made when it is asked for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, overload

import numpy as np

_BLOCK = 65_536  # texts that are made together


class FileBytes:
    """The bytes of a file, of which a slice is read when it is asked for; not mapped into memory.

    What is mapped and was looked at counts as memory of the process.

    Args:
        path: of the file, which may be removed while this is in use.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")  # held open; reading does not move it

    def __len__(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def __getitem__(self, which: slice) -> bytes:
        """The bytes from `which.start` to `which.stop`."""
        start, stop, _ = which.indices(len(self))
        return os.pread(self._stream.fileno(), stop - start, start)


class Texts(Sequence[str]):
    """N texts without newlines and control characters, as UTF-8 in one buffer; immutable.

    Args:
        content: the texts, each followed by a newline.
        ends: [N] where each newline lies; of any type of integer.
        rows: which of the texts are meant, in order; None = all.
        folder: what stands before each text, with a separator; "" = nothing.
    """

    has_places = False
    """Whether what is asked for knows more than its text."""

    def __init__(
        self,
        content: "bytes | FileBytes",
        ends: np.ndarray,
        rows: np.ndarray | None = None,
        folder: str = "",
    ) -> None:
        self.content, self.ends, self.rows, self.folder = content, ends, rows, folder

    def __len__(self) -> int:
        return len(self.ends if self.rows is None else self.rows)

    @overload
    def __getitem__(self, which: int) -> str: ...
    @overload
    def __getitem__(self, which: slice) -> "Texts": ...
    def __getitem__(self, which: int | slice) -> "str | Texts":
        """One text, or those of a slice."""
        if isinstance(which, slice):
            return self.chosen(np.arange(*which.indices(len(self)), dtype=np.int64))
        row = range(len(self))[which] if self.rows is None else int(self.rows[which])
        start = 0 if row == 0 else int(self.ends[row - 1]) + 1
        return self._made(row, self.content[start : int(self.ends[row])].decode())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            last = min(first + _BLOCK, len(self))
            if self.rows is None:
                texts = self._bytes(first, last).decode().split("\n")
                yield from (self._made(row, text) for row, text in enumerate(texts, first))
            else:
                yield from (self[number] for number in range(first, last))

    @property
    def blocks(self) -> np.ndarray | None:
        """Number of the file that holds each, int [N], where they lie in larger ones; else None."""
        return None

    def chosen(self, which: np.ndarray) -> Self:
        """Some of the texts: by bool [N], or by their numbers."""
        numbers = np.flatnonzero(which) if which.dtype == np.bool_ else which
        small = np.int32 if len(self.ends) < 2**31 else np.int64
        rows = numbers if self.rows is None else self.rows[numbers]
        return self._with(rows=rows.astype(small, copy=False))

    def below(self, folder: str) -> Self:
        """The texts as paths that start from a folder; `os.path.join` of both."""
        return self._with(folder=folder)

    def joined(self) -> Iterator[bytes]:
        r"""The bytes of `"\n".join(texts)` in UTF-8, piece by piece; without the folder."""
        for first in range(0, len(self), _BLOCK):
            last = min(first + _BLOCK, len(self))
            piece = (
                self._bytes(first, last) if self.rows is None else self._chosen_bytes(first, last)
            )
            yield piece + (b"\n" if last < len(self) else b"")

    @property
    def n_bytes(self) -> int:
        """Length of what `joined` gives."""
        if self.rows is None:
            return int(self.ends[-1])
        total = len(self.rows) - 1  # newlines
        for first in range(0, len(self.rows), _BLOCK):
            rows = self.rows[first : first + _BLOCK].astype(np.int64)
            ends = self.ends[rows].astype(np.int64)
            total += int((ends - np.where(rows > 0, self.ends[rows - 1] + 1, 0)).sum())
        return total

    def _with(self, **changes: object) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update({**vars(self), **changes})
        return other

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "content": self.content[:]}  # for processes that are not forked

    def _bytes(self, first: int, last: int) -> bytes:
        start = 0 if first == 0 else int(self.ends[first - 1]) + 1
        return self.content[start : int(self.ends[last - 1])]

    def _chosen_bytes(self, first: int, last: int) -> bytes:
        """As `_bytes`, of chosen texts; where they are near one another, all between are read."""
        rows = self.rows[first:last].astype(np.int64)
        low, high = int(rows.min()), int(rows.max())
        if high - low > 4 * len(rows):
            return b"\n".join(self._bytes(row, row + 1) for row in rows.tolist())
        texts = self._bytes(low, high + 1).split(b"\n")
        return b"\n".join([texts[row] for row in (rows - low).tolist()])

    def _made(self, row: int, text: str) -> str:
        """What stands for the text of a row, which begins with the folder."""
        return os.path.join(self.folder, text) if self.folder else text
