"""What `embed` and `search` are given on the command line, as paths of images or as vectors."""

import csv
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmf_embeddings.cli.embed_arguments import STANDARD_INPUT
from vmf_embeddings.datasets.csv_lines import PATH_COLUMNS
from vmf_embeddings.embeddings.endings import ARRAYS, READ, TEXT_TABLES, ends_with, is_stored
from vmf_embeddings.library.trained_inputs import image_files
from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.images import inside
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import has_control, printable

_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Vectors:
    """Input vectors from files of features.

    Attributes:
        rows: [N, F], of any type of number.
        paths: [N] what each row shows, or None.
    """

    rows: np.ndarray
    paths: np.ndarray | None


def image_paths(inputs: Sequence[str], images_from: Path | None = None) -> list[str]:
    """The images that some arguments stand for, in their order.

    Args:
        inputs: images, folders (their images, sorted by path), tables with a column of paths, and
            "-" for standard input.
        images_from: folder of the images that tables name; None = the table's own.

    Raises:
        FileNotFoundError: an argument leads nowhere.
        Refused: a folder or table has no image, a table names one outside its folder, or an
            argument is a file of features.
    """
    found: list[str] = []
    for one in inputs:
        path = Path(one)
        if one == STANDARD_INPUT:
            found += _of_standard_input()
        elif path.is_dir() and not is_stored(path):
            found += map(str, image_files(path))
        elif not path.exists():
            raise FileNotFoundError(f"{printable(one)} does not exist; expected an image, a folder "
                                    "of images, or a table with a column path")  # fmt: skip
        elif ends_with(path, TEXT_TABLES):
            found += _of_table(path, images_from)
        elif ends_with(path, READ):
            raise Refused(f"{printable(one)} holds numbers, and this run takes images; files of "
                          "features are for runs on dataset=features")  # fmt: skip
        else:
            found.append(one)
    if not found:
        raise Refused("there is no image in what was given")
    return found


def _of_standard_input() -> list[str]:
    """Paths on standard input: one a line, or separated by zero bytes as `find -print0` does."""
    content = sys.stdin.buffer.read()
    separator = b"\0" if b"\0" in content else b"\n"
    lines = (line.removesuffix(b"\r") for line in content.split(separator))
    return [os.fsdecode(line) for line in lines if line.strip()]


def _of_table(table: Path, images_from: Path | None) -> list[str]:
    """Paths in a table; it may be somebody else's, and so names images of one folder alone."""
    folder = table.parent if images_from is None else images_from
    found = []
    for number, name in _cells(table):
        if has_control(name):
            raise Refused(f"{table} line {number}: the path holds control characters")
        path = os.path.join(folder, name)
        if inside(path, [folder]) is None:
            raise Refused(
                f"{table} line {number}: {printable(name)} does not lie in {folder}; name the "
                "folder of the images with --images-from FOLDER"
            )
        found.append(path)
    if not found:
        raise Refused(f"{table} has no rows below its header")
    return found


def _cells(table: Path) -> list[tuple[int, str]]:
    """Line numbers and cells of a table's column of paths; empty cells are left out."""
    text = read_text(table)
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        column = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
        if column is None:
            raise Refused(
                f"{table} has no column of paths: expected a header with one of "
                f"{', '.join(PATH_COLUMNS)}, got {printable(', '.join(header))[:200]}"
            )
        rows = [(reader.line_num, row[column].strip()) for row in reader if len(row) > column]
    except csv.Error as error:
        raise Refused(f"{table} line {reader.line_num}: {error}; is a quote left open?") from error
    return [(number, cell) for number, cell in rows if cell]


def vectors(inputs: Sequence[str], length: int) -> Vectors:
    """The rows of files of features, one file after the other.

    Args:
        inputs: files.
        length: F that the run takes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or has vectors of another length, or one that is not finite.
    """
    from vmf_embeddings.datasets.features_contents import refuse_not_finite
    from vmf_embeddings.embeddings.opened import open_embeddings

    opened = []
    for one in inputs:
        if not is_stored(Path(one)) or not ends_with(one, READ):
            raise Refused(
                f"{printable(one)}: this run takes vectors of {length} numbers: expected a file of "
                f"features ({', '.join((*ARRAYS, '.csv'))})"
            )
        file = open_embeddings(one)
        if file.embeddings.shape[1] != length:
            raise Refused(
                f"{printable(one)} has vectors of {file.embeddings.shape[1]} numbers, the run was "
                f"trained on {length}"
            )
        refuse_not_finite(file.embeddings, printable(one))
        opened.append(file)
    paths = [file.columns.get("paths") for file in opened]
    known = [one for one in paths if one is not None]
    rows = [file.embeddings for file in opened]
    return Vectors(
        rows[0] if len(rows) == 1 else np.concatenate(rows),
        np.concatenate(known).astype(str) if len(known) == len(paths) else None,
    )
