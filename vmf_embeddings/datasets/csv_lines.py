"""Reads the rows of a csv table of images, in any of the dialects that spreadsheets write."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.embeddings.names import canonical_split
from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.text import has_control

PATH_COLUMNS = ("path", "paths", "file", "filename", "filenames", "file_name", "image", "images")
LABEL_COLUMNS = ("label", "labels", "class", "classes", "class_name", "target", "targets")
COLUMNS = {"label": LABEL_COLUMNS, "path": PATH_COLUMNS, "split": ("split", "splits")}
"""Column -> the names that it may have, the first before the others."""
SEPARATORS = (",", ";", "\t")  # spreadsheets choose one by the language of the user


def read_lines(table: Path) -> dict[int, dict[str, str]]:
    """The rows of a table by their line numbers in the file.

    White space around values is removed, and column names are converted to lower case. If a row is
    too short, its missing cells are empty.

    Args:
        table: UTF-8 text with a header.

    Returns:
        Line number (the header is 1) -> column -> value, with the columns label and path at least,
        and split where the table tells splits apart.

    Raises:
        ValueError: naming file and line: a column is missing or occurs twice, a row has more values
            than there are columns or has no label or path, one of label, path and split contains
            control characters, there are no rows, or splits stand in a column of another name.
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
    header = named_columns([name.lower() for name in rows.pop(0)[1]] if rows else [], table)
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
    if "split" not in header:
        _refuse_other_splits(list(lines.values()), table)
    return lines


def _check_line(line: dict[str, str], place: str) -> None:
    """Refuses a row without label or path, or with control characters in label, path or split."""
    if not line["label"] or not line["path"]:
        raise ValueError(f"{place}: empty label or path")
    for column in COLUMNS:
        if has_control(line.get(column, "")):
            raise ValueError(f"{place}: {column} {line[column]!r} holds control characters")


def named_columns(header: Sequence[str], source: Path) -> list[str]:
    """A header in which the columns of labels, paths and splits are called label, path and split.

    Args:
        header: names in lower case.
        source: the table, for messages.

    Raises:
        ValueError: label or path is missing, a column is there twice, or one seems to be
            misspelled; naming the column, the most similar one, and the header that was found.
    """
    found = list(header)
    for column, names in COLUMNS.items():
        present = [name for name in header if name in names]
        exact = [name for name in present if name == column]
        if len(exact) > 1:
            raise ValueError(f"{source} has two columns {column!r}; remove one of them")
        if len(exact or present) > 1:
            raise ValueError(
                f"{source} has the columns {' and '.join(map(repr, present))}: name the one that "
                f"is meant {column!r}"
            )
        if present:
            found[header.index((exact or present)[0])] = column
            continue
        close = difflib.get_close_matches(column, header, n=1)
        if column == "split" and not close:
            continue
        hint = f"; did you mean {close[0]!r} to be it?" if close else "."
        raise ValueError(
            f"{source} has no column {column!r}{hint} Expected a comma-separated header with "
            f"label, path, split (and is_query, is_gallery if wanted); without split, images are "
            f"held out. Got {list(header)}"
        )
    return found


def _refuse_other_splits(lines: Sequence[dict[str, str]], table: Path) -> None:
    """Refuses a table without a column split in which another column names splits."""
    for column in lines[0]:
        words = {line[column] for line in lines}
        splits = {canonical_split(word) for word in words}
        if column not in COLUMNS and None not in splits and len(splits) > 1:
            raise ValueError(
                f"{table} has no column 'split', but {column!r} holds {', '.join(sorted(words))}: "
                "name it 'split', or remove it to have images held out"
            )
