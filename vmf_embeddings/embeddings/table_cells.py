"""The cells of a table of text, `.csv` or `.tsv`, also compressed by gzip."""

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vmf_embeddings.untrusted.arrays import FLOOR, MOST_EXPANSION
from vmf_embeddings.untrusted.contents import kind_of
from vmf_embeddings.untrusted.files import TEXT_LIMIT, open_regular
from vmf_embeddings.untrusted.text import printable

MOST_COLUMNS = 100_001  # of a table; each cell takes many times its bytes in memory


def text_of(path: Path) -> str:
    r"""The text of a table in UTF-8, or in UTF-16 with its mark; lines end in "\n" alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, too large, cut off, or no text.
    """
    with open_regular(path) as stream:
        content = stream.read(TEXT_LIMIT + 1)
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(content, path)
    if len(content) > TEXT_LIMIT:
        raise ValueError(f"{path} has more than {TEXT_LIMIT} bytes of text; write an .npz instead")
    if not content.strip():
        raise ValueError(f"{path} is empty: expected a table with a header")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        kind = kind_of(content)
        why = f"its content is {kind}" if kind else f"{error}; save it as UTF-8"
        raise ValueError(f"{path} is not UTF-8 text ({why})") from error
    if "\0" in text:
        raise ValueError(f"{path} is no text, or UTF-16 without a mark: save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


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


def lines_of(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of each line that is not empty, and its cells; commas, semicolons or tabs separate.

    Raises:
        ValueError: naming the line of which no cells can be made.
    """
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    table = csv.reader(_bounded(text, delimiter, path), delimiter=delimiter, strict=True)
    try:
        for cells in table:
            if cells:
                yield table.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        cut = "unexpected end" in str(error)
        if "field limit" in str(error):
            raise ValueError(
                f"{path} line {table.line_num} has a cell of more than {csv.field_size_limit():,} "
                "characters: a quote that does not end, or a list too long for a table; write an "
                ".npz instead"
            ) from error
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


def header_of(cells: list[str], path: Path) -> list[str]:
    """The names of columns in the first line; refuses numbers, and a name that comes twice."""
    if cells and all(is_number(cell) for cell in cells if cell) and not _counts(cells):
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


def check_width(
    cells: list[str], header: list[str], number: int, path: Path, *, ended: bool
) -> None:
    """Refuses a line with more or fewer cells than the header; `ended`: by a line end."""
    if len(cells) == len(header):
        return
    cut = len(cells) < len(header) and not ended
    raise ValueError(
        f"{path} {'is truncated: line' if cut else 'line'} {number} has {len(cells)} of "
        f"{len(header)} cells{' and no line end: copy or write the file again' if cut else ''}"
    )


def is_number(cell: str) -> bool:
    """Whether a cell is a number, as programs write them."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
