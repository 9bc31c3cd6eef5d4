"""Reads the rows of a csv table of images, in any of the dialects that spreadsheets write."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.text import has_control

COLUMNS = ("label", "path", "split")
SEPARATORS = (",", ";", "\t")  # spreadsheets choose one by the language of the user


def read_lines(table: Path) -> dict[int, dict[str, str]]:
    """The rows of a table by their line numbers in the file.

    White space around values is removed, and column names are converted to lower case. If a row is
    too short, its missing cells are empty.

    Args:
        table: UTF-8 text with a header.

    Returns:
        Line number (the header is 1) -> column -> value, with the columns label, path and split at
        least.

    Raises:
        ValueError: naming file and line: a column is missing or occurs twice, a row has more values
            than there are columns or has no label or path, one of label, path and split contains
            control characters, or there are no rows.
    """
    text = read_text(table)
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(
            f"{table} line {reader.line_num}: {error}; is a quote left open?"
        ) from error
    header = [name.lower() for name in rows.pop(0)[1]] if rows else []
    check_columns(header, table)
    lines = {}
    for number, values in rows:
        if any(values[len(header) :]):
            raise ValueError(
                f"{table} line {number}: {len(values)} values for {len(header)} columns; put a "
                f'value that holds {separator!r} between double quotes, "like this"'
            )
        if any(values):
            values += [""] * (len(header) - len(values))
            lines[number] = dict(zip(header, values, strict=False))
    if not lines:
        raise ValueError(f"{table} has no rows below its header")
    for number, line in lines.items():
        _check_line(line, f"{table} line {number}")
    return lines


def _check_line(line: dict[str, str], place: str) -> None:
    """Refuses a row without label or path, or with control characters in label, path or split."""
    if not line["label"] or not line["path"]:
        raise ValueError(f"{place}: empty label or path")
    for column in COLUMNS:
        if has_control(line[column]):
            raise ValueError(f"{place}: {column} {line[column]!r} holds control characters")


def check_columns(header: Sequence[str], source: Path) -> None:
    """Refuses a table in which a required column is missing or occurs twice.

    Raises:
        ValueError: naming the column, the most similar one, and the header that was found.
    """
    for column in COLUMNS:
        if header.count(column) > 1:
            raise ValueError(f"{source} has two columns {column!r}; remove one of them")
        if column not in header:
            close = difflib.get_close_matches(column, header, n=1)
            hint = f"; did you mean {close[0]!r} to be it?" if close else "."
            raise ValueError(
                f"{source} has no column {column!r}{hint} Expected a comma-separated header with "
                f"{', '.join(COLUMNS)} (and is_query, is_gallery if wanted), got {list(header)}"
            )
