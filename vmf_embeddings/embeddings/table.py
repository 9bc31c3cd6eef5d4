"""Embeddings in a table of text: `.csv` and `.tsv`, also compressed by gzip."""

import csv
import gzip
import io
import math
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vmf_embeddings.untrusted.arrays import FLOOR, MOST_EXPANSION
from vmf_embeddings.untrusted.contents import kind_of
from vmf_embeddings.untrusted.files import TEXT_LIMIT, open_regular
from vmf_embeddings.untrusted.text import printable

_USUAL_STEMS = {
    *("", "embedding", "embeddings", "feature", "features", "feat", "feats", "emb", "vector"),
    *("f", "x", "v", "e", "d", "z", "dim"),
}
_NUMBERED = re.compile(r"(.*?)[ _.\-\[]*(\d{1,7})\]?")
MOST_COLUMNS = 100_001  # of a table; each cell takes many times its bytes in memory
_MOST_NAMED = 12  # columns that a message or a note names
Wanted = tuple[str | None, Sequence[str], bool]
"""Name of a column if it is given, usual names, and whether it must be there."""


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
    text = _text(path)
    lines = _lines(text, path)
    header = _header(next(lines, (1, []))[1], path)
    named = {key: _column(header, *how, path=path, what=key) for key, how in wanted.items()}
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
    for number, cells in lines:
        _check_width(cells, header, number, path, ended=number <= n_ends)
        row = _numbers(cells, places, header, number, path)
        if numbers and len(row) != width:
            raise ValueError(f"{path} line {number}: {len(row)} numbers, those above have {width}")
        width = len(row)
        numbers.extend(row)
        for key, name in found.items():
            texts[key].append(cells[place_of[name]])
    if not numbers:
        raise ValueError(f"{path} has no rows below its header")
    unended = f"the last line of {path} has no line end: see whether the file is complete"
    notes = [] if text.endswith("\n") else [unended]
    shown = chosen[0] if len(chosen) == 1 else f"{chosen[0]} … {chosen[-1]} ({len(chosen)})"
    passed = sorted(set(others) - set(chosen), key=place_of.__getitem__)
    rows = np.frombuffer(numbers).reshape(-1, width)
    columns = {key: _as_array(values, len(text), key, path) for key, values in texts.items()}
    return Table(rows, columns, passed, shown, header, notes)


def _further(names: Sequence[str], chosen: Sequence[str], n: int) -> list[str]:
    """The first `n` names that no embeddings have, and that are not numbered."""
    taken = set(chosen)
    free = (name for name in names if name not in taken and not _NUMBERED.fullmatch(name))
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
    text = _text(path)
    lines = list(_lines(text, path))
    header = lines[0][1]
    if len(header) == 1 and header[0].casefold() not in {name.casefold() for name in usual}:
        return [cells[0] for _, cells in lines]  # one label per line, no header
    place = 0
    if len(header) > 1:
        name = _column(header, None, usual, True, path=path, what="labels")
        place = header.index(name or "")
    n_ends = text.count("\n")
    for number, cells in lines[1:]:
        _check_width(cells, header, number, path, ended=number <= n_ends)
    return [cells[place] for _, cells in lines[1:]]


def _text(path: Path) -> str:
    with open_regular(path) as stream:
        content = stream.read(TEXT_LIMIT + 1)
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(content, path)
    if len(content) > TEXT_LIMIT:
        raise ValueError(f"{path} has more than {TEXT_LIMIT} bytes of text; write an .npz instead")
    if not content.strip():
        raise ValueError(f"{path} is empty: expected a table with a header")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        kind = kind_of(content)
        why = f"its content is {kind}" if kind else str(error)
        raise ValueError(f"{path} is not UTF-8 text ({why})") from error


def _unpacked(content: bytes, path: Path) -> bytes:
    limit = max(FLOOR, MOST_EXPANSION * len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            text = stream.read(min(TEXT_LIMIT, limit) + 1)
    except EOFError as error:
        raise ValueError(
            f"{path} is truncated: the end of its gzip data is missing: copy or write it again"
        ) from error
    except (OSError, zlib.error) as error:
        raise ValueError(f"{path} has damaged gzip data: {error}") from error
    if len(text) > limit:
        raise ValueError(
            f"{path}: {len(content)} bytes unpack to more than {limit}: unpack it with gunzip"
        )
    return text


def _lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of each line that is not empty, and its cells."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    table = csv.reader(_bounded(text, delimiter, path), delimiter=delimiter, strict=True)
    try:
        for cells in table:
            if cells:
                yield table.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        cut = "unexpected end" in str(error)
        raise ValueError(
            f"{path} {'is truncated: in' if cut else 'is no usable table:'} line "
            f"{table.line_num}{': a quoted cell does not end' if cut else f': {error}'}"
        ) from error


def _bounded(text: str, delimiter: str, path: Path) -> Iterator[str]:
    """The lines of a table; refuses one of more cells than a table has columns."""
    for number, line in enumerate(io.StringIO(text), start=1):
        if (n_cells := line.count(delimiter) + 1) > MOST_COLUMNS:
            raise ValueError(
                f"{path} line {number} has {n_cells} cells, at most {MOST_COLUMNS} columns are "
                "read: write an .npz instead"
            )
        yield line


def _header(cells: list[str], path: Path) -> list[str]:
    if cells and all(_is_number(cell) for cell in cells if cell) and not _counts(cells):
        raise ValueError(
            f"{path} has numbers in its first line: expected a header with names of columns, such "
            "as label,f0,f1,f2"
        )
    if twice := sorted(name for name, n in Counter(cells).items() if n > 1):
        raise ValueError(f"{path} has two columns called {printable(twice[0])[:60]!r}")
    return cells


def _counts(cells: list[str]) -> bool:
    """Whether names of columns are numbers that count, as pandas writes them."""
    numbers = [cell for cell in cells if cell]
    return len(numbers) > 1 and numbers in (
        [str(i) for i in range(len(numbers))],
        [str(i + 1) for i in range(len(numbers))],
    )


def _column(
    header: list[str], named: str | None, usual: Sequence[str], needed: bool, *, path: Path,
    what: str,
) -> str | None:  # fmt: skip
    """The column that was named, or the first usual one that is there in any case."""
    if named is not None and named in header:
        return named
    folded = {name.casefold(): name for name in reversed(header)}
    for name in usual if named is None else ():
        if name.casefold() in folded:
            return folded[name.casefold()]
    if named is None and not needed:
        return None
    wanted = repr(named) if named is not None else f"one of {', '.join(usual)}"
    raise ValueError(
        f"{path} has no column of {what}: expected {wanted}, it holds {_listed(header)}. Name it: "
        f"vmf.read(path, {what}=NAME), or evaluate … --{what} NAME"
    )


def embedding_columns(
    others: Sequence[str], named: str | None, usual: Sequence[str], path: Path
) -> list[str]:
    """The columns of embeddings among the names of columns; see `read_table` for the rules.

    Raises:
        ValueError: none are, or it is not clear which.
    """
    groups: dict[str, list[str]] = {}
    for name in others:
        match = _NUMBERED.fullmatch(name)
        if match:
            groups.setdefault(match[1].casefold(), []).append(name)
    if named is not None:
        return _named_columns(others, named, groups, path)
    several = {stem: names for stem, names in groups.items() if len(names) > 1}
    if len(several) > 1:
        several = {stem: names for stem, names in several.items() if stem in _USUAL_STEMS}
    if len(several) == 1:
        return next(iter(several.values()))
    folded = {name.casefold(): name for name in others}
    of_lists = [folded[name.casefold()] for name in usual if name.casefold() in folded]
    if of_lists and not several:
        return of_lists[:1]
    raise ValueError(
        f"{path}: it is not clear which columns are the embeddings: expected numbered ones (f0, "
        f"f1, …), it holds {_listed(others)}. Name them: vmf.read(path, embeddings='a,b,c') or the "
        "beginning of numbered ones, or evaluate … --embeddings NAMES"
    )


def _named_columns(
    others: Sequence[str], named: str, groups: dict[str, list[str]], path: Path
) -> list[str]:
    parts = [part.strip() for part in named.split(",")]
    if all(part in others for part in parts):
        return parts
    stem = named.rstrip(" _.-[").casefold()
    if stem not in groups:
        raise ValueError(
            f"{path} has no columns {printable(named)[:60]!r} of embeddings, nor numbered ones "
            f"that begin so; it holds {_listed(others)}"
        )
    return groups[stem]


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_NAMED else ""
    return printable(", ".join(name[:60] or "(no name)" for name in names[:_MOST_NAMED])) + more


def _check_width(
    cells: list[str], header: list[str], number: int, path: Path, *, ended: bool
) -> None:
    if len(cells) == len(header):
        return
    cut = len(cells) < len(header) and not ended
    raise ValueError(
        f"{path} {'is truncated: line' if cut else 'line'} {number} has {len(cells)} of "
        f"{len(header)} cells{' and no line end: copy or write the file again' if cut else ''}"
    )


def _numbers(
    cells: list[str], places: list[int], header: list[str], number: int, path: Path
) -> list[float]:
    if len(places) == 1 and cells[places[0]].startswith("["):
        parts = cells[places[0]].strip("[]").replace(",", " ").split()
        return [_number(part, header[places[0]], number, path) for part in parts]
    return [_number(cells[place], header[place], number, path) for place in places]


def _number(cell: str, column: str, number: int, path: Path) -> float:
    if _is_number(cell):
        value = float(cell)
        if math.isfinite(value):
            return value
    raise ValueError(
        f"{path} line {number}: column {printable(column)[:60]!r} must be a finite number, got "
        f"{printable(cell)[:40]!r}"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
