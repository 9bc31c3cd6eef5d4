"""List files with lines `path label` as columns, in the place of Python lists.

A list of more than `LONG` bytes is read once into a folder of the user's cache, named by a hash of
its content, and mapped into memory from there. `VMF_CACHE` names another folder for caches.
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vmf_embeddings.datasets import column_cache
from vmf_embeddings.datasets.text_hashes import forget_powers, hashes_of
from vmf_embeddings.datasets.texts import Texts
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import has_control

LONG = 16 * 2**20  # bytes of a list from which on it is cached
LARGEST = 2**32 - 2**22  # bytes of a list, whose places are numbers of 32 bits
_CHUNK = 2**21  # bytes of a list that are read together
_LONGEST_LINE = 2**24
_VERSION = 1  # of the files in the cache
_COLUMNS = {"ends": "<u4", "codes": "<i4", "hashes": "<u8", "blank": "<i8", "dotted": "<i8"}


@dataclass(frozen=True)
class ListTable:
    """The rows of a list; blank lines are none.

    Attributes:
        path: of the list.
        files: N paths.
        codes: int32 [N], number in `words` of each row's label.
        words: the different labels as written, in the order in which they come first.
        hashes: uint64 [N] of the paths as written; equal for equal ones.
        blank: numbers of the blank lines, from 1.
        dotted: rows whose path holds "..".
    """

    path: Path
    files: Texts
    codes: np.ndarray
    words: list[str]
    hashes: np.ndarray
    blank: np.ndarray
    dotted: np.ndarray

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        rows_before = self.blank - np.arange(1, len(self.blank) + 1)
        n_blank = int(np.searchsorted(rows_before, row, side="right"))
        return f"{self.path} line {row + 1 + n_blank}"

    def release(self) -> None:
        """Gives pages of the cache back that were read."""
        for array in (self.codes, self.hashes):
            column_cache.give_back(array)

    def first_row(self, code: int) -> int:
        """The first row with a label."""
        return int(np.argmax(self.codes == code))


def read_list_table(path: Path, separator: str | None) -> ListTable:
    """Reads lines `relative/path,label`, split at the last separator; see `read_list_lines`.

    Args:
        path: the list file, UTF-8.
        separator: a comma; or None for any white space.

    Raises:
        ValueError: as `read_list_lines`; or a path holds control characters.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LARGEST:
            raise Refused(f"{path} has {size:,} bytes; lists of at most {LARGEST:,} are read")
        name = None
        if size > LONG:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            name = f"{digest}.{'comma' if separator else 'space'}.{_VERSION}"
            stream.seek(0)
        parse = functools.partial(_parse, path, stream, separator)
        found = column_cache.columns_of(name, _COLUMNS, parse)
    columns = dict(found.values)
    return ListTable(path, Texts(found.paths, columns.pop("ends")), words=found.words, **columns)


def _parse(
    path: Path, stream: BinaryIO, separator: str | None, sinks: Mapping[str, BinaryIO]
) -> list[str]:
    """Reads all lines, writes the columns to `sinks`, and returns the different labels."""
    codes_of: dict[str, int] = {}
    n_lines = n_rows = n_bytes = 0
    for lines in _lines(path, stream):
        blank: list[int] = []
        files, labels = _two_words(lines) if separator is None else ([], [])
        codes = list(map(codes_of.get, labels))
        if not files or None in codes:
            files, codes, blank = _split(path, lines, n_lines, separator, codes_of)
        n_lines += len(lines)
        sinks["blank"].write(np.array(blank, "<i8"))
        if not files:
            continue
        columns = columns_of_paths(path, files, n_rows, n_bytes) | {"codes": np.array(codes, "<i4")}
        for name, values in columns.items():
            sinks[name].write(values)
        n_rows, n_bytes = n_rows + len(files), int(columns["ends"][-1]) + 1
    forget_powers()
    if not n_rows:
        shown = "," if separator else " "
        raise ValueError(f"{path} lists no images; expected lines relative/path{shown}label")
    return list(codes_of)


def _two_words(lines: list[str]) -> tuple[list[str], list[str]]:
    """Paths and labels, if every line is a path without white space, one space, and a label.

    Several times as fast as splitting line by line; two empty lists for other lines.
    """
    words = " ".join(lines).split()
    files, labels = words[::2], words[1::2]
    if len(words) != 2 * len(lines) or "\n/" in "\n" + "\n".join(files):
        return [], []
    same = lines == list(map(" ".join, zip(files, labels, strict=True)))
    return (files, labels) if same else ([], [])


def _split(
    path: Path, lines: list[str], n_before: int, separator: str | None, codes_of: dict[str, int]
) -> tuple[list[str], list[int], list[int]]:
    """Paths, the numbers of their labels, and the numbers of blank lines; new labels get numbers.

    Raises:
        ValueError: as `read_list_table`.
    """
    files, codes, blank = [], [], []
    for number, line in enumerate(lines, n_before + 1):
        parts = line.rsplit(separator, 1)
        file, label = parts if len(parts) == 2 else ("", line)
        file, label = (file, label.strip()) if separator else (file.lstrip("/ "), label)
        code = codes_of.get(label)
        if code is None or not file:
            if not line.strip():
                blank.append(number)
                continue
            refuse_line(path, number, line, separator)
            code = codes_of.setdefault(label, len(codes_of))
        files.append(file)
        codes.append(code)
    return files, codes, blank


def refuse_line(path: Path, number: int, line: str, separator: str | None) -> None:
    """Refuses a line, which is not blank, without a path or without a label.

    Raises:
        ValueError: naming file and line.
    """
    shown = "," if separator else " "
    *rest, label = line.rsplit(separator, 1)
    if (not rest and is_picture(label)) or (not separator and is_picture(label.strip())):
        raise ValueError(
            f"{path} line {number}: expected relative/path{shown}label, got {line!r}, which "
            "has no label"
        )
    if not ("".join(rest) if separator else "".join(rest).lstrip("/ ")):
        after = "comma" if separator else "label"
        raise ValueError(f"{path} line {number}: no path before the {after} in {line!r}")


def _lines(path: Path, stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a text, some thousands at a time; they may end in any usual way."""
    rest, is_first = b"", True
    while True:
        chunk = stream.read(_CHUNK)
        content, found, after = (rest + chunk).rpartition(b"\n")
        if chunk and not found:
            rest = after
            if len(rest) > _LONGEST_LINE:
                raise Refused(f"{path} has a line of more than {_LONGEST_LINE:,} bytes: no list")
            continue
        content, rest = content + found + (b"" if chunk else after), after
        try:
            text = content.decode("utf-8-sig" if is_first else "utf-8")
        except UnicodeDecodeError as error:
            raise Refused(f"{path} is not UTF-8 text ({error}); convert it") from error
        is_first = False
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield lines[:-1] if chunk else lines
        if not chunk:
            return


def columns_of_paths(
    path: Path, files: list[str], n_rows: int, n_bytes: int
) -> dict[str, np.ndarray]:
    """The columns of some paths, of which there are already `n_rows` in `n_bytes`."""
    text = "\n".join(files)
    if has_control("".join(files)):
        wrong = next(file for file in files if has_control(file))
        raise ValueError(f"{path}: the path {wrong!r} holds control characters; rename that file")
    content = np.frombuffer(text.encode() + b"\n", np.uint8)
    ends = np.flatnonzero(content == 10)
    dotted = [n_rows + i for i, file in enumerate(files) if ".." in file] if ".." in text else []
    return {
        "paths": content,
        "ends": (ends + n_bytes).astype("<u4"),
        "hashes": hashes_of(content, ends),
        "dotted": np.array(dotted, "<i8"),
    }
