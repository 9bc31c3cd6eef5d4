"""Pairs of rows to verify, from a table with the columns row_a, row_b and same."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vmf_embeddings.untrusted.files import read_text

COLUMNS = ("row_a", "row_b", "same")
_YES_NO = {"1": True, "0": False, "true": True, "false": False}
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class RowPairs:
    """Pairs in the order of their file.

    Args:
        left: int64 [P] row numbers from 0.
        right: int64 [P].
        same: bool [P], whether both rows are of one class.
    """

    left: Tensor
    right: Tensor
    same: Tensor


def read_pairs(path: Path, n_rows: int) -> RowPairs:
    """Reads a `.csv` of pairs; every line counts, also one that is there twice.

    Args:
        path: of the file, with a header.
        n_rows: of the embedding file; row numbers are below it.

    Raises:
        ValueError: a column is missing, a value is none of these, or there is no pair; the line is
            in the message.
        FileNotFoundError: there is no such file.
    """
    lines = _lines(path)
    header = [name.strip().lower() for _, cells in lines[:1] for name in cells]
    if any(name not in header for name in COLUMNS):
        raise ValueError(
            f"--pairs {path}: expected a header with {', '.join(COLUMNS)}, got "
            f"{', '.join(header[:10]) or 'an empty file'}"
        )
    places = [header.index(name) for name in COLUMNS]
    values = [
        _pair(cells, places, n_rows, f"--pairs {path}, line {number}")
        for number, cells in lines[1:]
        if cells
    ]
    if not values:
        raise ValueError(f"--pairs {path} has no pair")
    left, right, same = zip(*values, strict=True)
    return RowPairs(torch.tensor(left), torch.tensor(right), torch.tensor(same))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers in the file and cells of its lines."""
    lines = csv.reader(io.StringIO(read_text(path, limit=_MOST_BYTES), newline=""))
    try:
        return [(lines.line_num, cells) for cells in lines]
    except csv.Error as error:
        raise ValueError(
            f"--pairs {path}, line {lines.line_num}: {error}; is a quote left open?"
        ) from error


def _pair(line: list[str], places: list[int], n_rows: int, where: str) -> tuple[int, int, bool]:
    cells = [line[place].strip() if place < len(line) else "" for place in places]
    numbers = []
    for name, cell in zip(COLUMNS, cells[:2], strict=False):
        if not (cell.isascii() and cell.isdigit() and len(cell) < 19 and int(cell) < n_rows):
            raise ValueError(f"{where}: {name} must be a row from 0 to {n_rows - 1}, got {cell!r}")
        numbers.append(int(cell))
    if cells[2].lower() not in _YES_NO:
        raise ValueError(f"{where}: same must be 1 or 0, got {cells[2]!r}")
    return numbers[0], numbers[1], _YES_NO[cells[2].lower()]
