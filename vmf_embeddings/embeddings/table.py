"""Embeddings in a table of text: `.csv` and `.tsv`, also compressed by gzip."""

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings.table_cells import (
    check_width,
    header_of,
    is_number,
    lines_of,
    text_of,
)
from vmf_embeddings.embeddings.table_columns import NUMBERED, column_of, embedding_columns
from vmf_embeddings.untrusted.arrays import FLOOR, MOST_EXPANSION
from vmf_embeddings.untrusted.text import printable

Wanted = tuple[str | None, Sequence[str], bool]
"""Name of a column if it is given, usual names, and whether it must be there."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


@dataclass
class Table:
    """A table whose columns are numbers or texts.

    Args:
        rows: float64 [N, D], the columns of embeddings.
        texts: column -> texts [N], of the other columns that were wanted.
        passed_over: names of the columns that were not read.
        columns: how the columns of embeddings are called, for notes.
        header: names of all columns.
        notes: what else should be known.
    """

    rows: np.ndarray
    texts: dict[str, np.ndarray]
    passed_over: list[str]
    columns: str
    header: list[str]
    notes: list[str] = field(default_factory=list)


def read_table(
    path: Path,
    embeddings: str | None,
    usual: Sequence[str],
    wanted: dict[str, Wanted],
    n_others: int = 0,
) -> Table:
    """Reads the columns of embeddings as numbers, and others as texts.

    Args:
        path: of the table, with names of columns in its first line.
        embeddings: names of columns, separated by commas; or what the names of numbered columns
            begin with ("f" for f0, f1, …); or one column of lists "[0.1, 0.2]". None = the only
            numbered columns, or the first usual one.
        usual: usual names of a column of lists.
        wanted: what else to read: name of the result -> (name of the column if given, usual names,
            whether it must be there).
        n_others: at most so many further columns are read, under their own names; numbered ones
            are not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, is no table with a header, lacks a column, or a cell of
            embeddings is no number; names the line.
    """
    text = text_of(path)
    lines = lines_of(text, path)
    header = header_of(next(lines, (1, []))[1], path)
    named = {key: column_of(header, *how, path=path, what=key) for key, how in wanted.items()}
    found = {key: column for key, column in named.items() if column is not None}
    others = [name for name in header if name not in found.values()]
    chosen = embedding_columns(others, embeddings, usual, path)
    further = _further(others, chosen, n_others)
    found |= {name: name for name in further if name not in found}
    others = [name for name in others if name not in further]
    place_of = {name: place for place, name in enumerate(header)}
    places = [place_of[name] for name in chosen]
    texts: dict[str, list[str]] = {key: [] for key in found}
    numbers, width, n_ends = array("d"), 0, text.count("\n")
    parse = _Numbers([header[place] for place in places], path)
    for number, cells in lines:
        check_width(cells, header, number, path, ended=number <= n_ends)
        row = parse([cells[place] for place in places], number)
        if numbers and len(row) != width:
            raise ValueError(f"{path} line {number}: {len(row)} numbers, those above have {width}")
        width = len(row)
        numbers.extend(row)
        for key, name in found.items():
            texts[key].append(cells[place_of[name]])
    if not numbers:
        raise ValueError(f"{path} has no rows below its header")
    unended = f"the last line of {path} has no line end: see whether the file is complete"
    notes = ([] if text.endswith("\n") else [unended]) + parse.notes()
    shown = chosen[0] if len(chosen) == 1 else f"{chosen[0]} … {chosen[-1]} ({len(chosen)})"
    passed = sorted(set(others) - set(chosen), key=place_of.__getitem__)
    rows = np.frombuffer(numbers).reshape(-1, width)
    columns = {key: _as_array(values, len(text), key, path) for key, values in texts.items()}
    return Table(rows, columns, passed, shown, header, notes)


def _further(names: Sequence[str], chosen: Sequence[str], n: int) -> list[str]:
    """The first `n` names that no embeddings have, and that are not numbered."""
    taken = set(chosen)
    free = (name for name in names if name not in taken and not NUMBERED.fullmatch(name))
    return [name for name in free if name][:n]


def _as_array(texts: list[str], n_characters: int, column: str, path: Path) -> np.ndarray:
    """Texts [N] as an array, whose items are all as long as the longest."""
    longest = max(map(len, texts), default=0)
    if longest * len(texts) > max(FLOOR, MOST_EXPANSION * n_characters):
        raise ValueError(
            f"{path}: column {printable(column)[:60]!r} has a text of {longest:,} characters, too "
            f"long for a label or a name in {len(texts):,} rows"
        )
    return np.array(texts, dtype=np.str_)


def labels_in_table(path: Path, usual: Sequence[str]) -> list[str]:
    """The column of labels of a table, or its only column; see `read_table` for errors."""
    text = text_of(path)
    lines = list(lines_of(text, path))
    header = lines[0][1]
    if len(header) == 1 and header[0].casefold() not in {name.casefold() for name in usual}:
        return [cells[0] for _, cells in lines]  # one label per line, no header
    place = 0
    if len(header) > 1:
        name = column_of(header, None, usual, True, path=path, what="labels")
        place = header.index(name or "")
    n_ends = text.count("\n")
    for number, cells in lines[1:]:
        check_width(cells, header, number, path, ended=number <= n_ends)
    return [cells[place] for _, cells in lines[1:]]


class _Numbers:
    """Reads the cells of embeddings, with decimal points or, in the whole table, decimal commas.

    Args:
        columns: names of the D columns, or of one with lists.
        path: of the table, for messages.
    """

    def __init__(self, columns: Sequence[str], path: Path) -> None:
        self._columns, self._path = columns, path
        self._point: tuple[int, str] | None = None  # a line with one, and the cell
        self._comma: tuple[int, str] | None = None
        self._only_thousands = True

    def __call__(self, cells: Sequence[str], line: int) -> list[float]:
        """The numbers of a line."""
        if len(cells) == 1 and cells[0].startswith("["):
            parts = cells[0].strip("[]").replace(",", " ").split()
            return [self._number(part, self._columns[0], line) for part in parts]
        named = zip(cells, self._columns, strict=True)
        return [self._number(cell, column, line) for cell, column in named]

    def _number(self, cell: str, column: str, line: int) -> float:
        if is_number(cell):
            value = float(cell)
            if math.isfinite(value):
                if "." in cell:
                    self._point = line, cell
                return value
        if _DECIMAL_COMMA.fullmatch(cell):
            self._comma = line, cell
            self._only_thousands &= _THOUSANDS.fullmatch(cell) is not None
            return float(cell.replace(",", "."))
        raise ValueError(
            f"{self._path} line {line}: column {printable(column)[:60]!r} must be a finite number, "
            f"got {printable(cell)[:40]!r}"
        )

    def notes(self) -> list[str]:
        """What should be known of the numbers, after all lines.

        Raises:
            ValueError: it is not clear whether commas stand before decimals or between thousands.
        """
        if self._comma is None:
            return []
        line, cell = self._comma
        if self._point is not None or self._only_thousands:
            other = f", and {self._point[1]!r} in line {self._point[0]}" if self._point else ""
            raise ValueError(
                f"{self._path} line {line}: {cell!r}{other}: it is not clear whether the comma "
                "stands before decimals or between thousands; write decimal points"
            )
        return [f"commas stand before decimals in {self._path}, as {cell!r} in line {line}"]
