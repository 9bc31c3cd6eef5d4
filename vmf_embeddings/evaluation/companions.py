"""Files that belong to the one that is scored: of other rows, by the same trained network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings import EmbeddingFile, read_with_notes
from vmf_embeddings.embeddings.endings import FOLDER, is_stored
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile

# what two files of one trained network have in common
_SAME = ("weights", "train_identity", "method", "objective", "epoch", "seed", "geometry")
_ROWS_AT_ONCE = 65_536
Given = Path | EmbeddingFile | np.ndarray
"""A file by its path, or read, or only its embeddings [N, D]."""


@dataclass(frozen=True)
class Companion:
    """Other rows by the same network.

    Args:
        name: where they are from.
        file: the rows, with what the file has of them.
    """

    name: str
    file: EmbeddingFile

    @property
    def embeddings(self) -> np.ndarray:
        """[N, D]."""
        return self.file.embeddings


def companion(
    evaluated: EvaluatedFile, given: Given, option: str, name: str = "the rows given"
) -> Companion:
    """A named file, checked to be of other rows by the same network.

    What either file does not state, as files of other programs, is not compared.

    Args:
        evaluated: the file that is scored.
        given: the other one.
        option: of the command line that named it, for messages.
        name: of rows that were given without a file.

    Raises:
        ValueError: it has other dimensions, is from another network, or holds the rows that are
            scored.
        FileNotFoundError: there is no such file.
    """
    if isinstance(given, Path):
        found = Companion(str(given), read_with_notes(given, labelled=False).file)
    else:
        is_file = isinstance(given, EmbeddingFile)
        found = Companion(name, given if is_file else EmbeddingFile(embeddings=given))
    return _checked(evaluated, found, option)


def _checked(evaluated: EvaluatedFile, found: Companion, option: str) -> Companion:
    reason = _unfit(evaluated, found.file)
    if reason is not None:
        raise ValueError(f"{option} {found.name}: {reason}")
    return found


def companion_of_run(evaluated: EvaluatedFile, given: Path, option: str) -> Companion:
    """A named file, or where that is of another network the one of its name beside the scored file.

    Several runs, as those that are compared, have a file each of the same data.

    Raises:
        ValueError: neither is of other rows by the same network.
        FileNotFoundError: there is no such file.
    """
    where, own = find_beside(evaluated, given, option), evaluated.path.parent / given.name
    found = Companion(str(where), read_with_notes(where, labelled=False).file)
    differing = _other_network(evaluated, found.file)
    if differing is None or own == where:
        return _checked(evaluated, found, option)
    if is_stored(own):
        return companion(evaluated, own, option)
    raise ValueError(
        f"{option} {where}: {_of_other_network(differing)}. Every run that is scored or compared "
        f"needs its own embeddings of the same images; those of {own.parent} would be {own}, which "
        "is not there"
    )


def refuse_scored_rows(evaluated: EvaluatedFile, other: Companion, option: str) -> None:
    """Refuses rows all of which are among those that are scored.

    Where most of them coincide, as those of a network that maps everything to one point, that says
    nothing: they are taken.

    Raises:
        ValueError: they are.
    """
    rows = other.embeddings
    if not len(rows) or not any(_has_row(part, rows[0]) for part in _parts(evaluated)):
        return
    known = {row.tobytes() for part in _parts(evaluated) for row in _comparable(part)}
    given = [row.tobytes() for row in _comparable(rows)]
    distinct = set(given)
    if distinct <= known and len(distinct) > 1 and 2 * len(distinct) >= len(given):
        raise ValueError(f"{option} {other.name}: it holds the rows that are scored")


def _parts(evaluated: EvaluatedFile) -> Iterator[np.ndarray]:
    rows = evaluated.file.embeddings
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))


def _has_row(rows: np.ndarray, row: np.ndarray) -> bool:
    return bool((_comparable(rows) == _comparable(row)).all(1).any())


def _comparable(rows: np.ndarray) -> np.ndarray:
    """Rows in one type, whatever they were stored in; -0.0 as 0.0."""
    return np.ascontiguousarray(rows, dtype=np.float32) + np.float32(0)


def companion_beside(evaluated: EvaluatedFile, split: str) -> Companion | None:
    """The file `<dataset>_<split>` in the folder of the scored one, if it is of the same network.

    Args:
        evaluated: the file that is scored.
        split: "train" or "valid".

    Returns:
        None without such a file, and where it is of no use or holds the scored rows themselves.
    """
    own = is_stored(evaluated.path) and not evaluated.foreign and evaluated.split != split
    beside = [f"{evaluated.dataset}_{split}{ending}" for ending in (".npz", FOLDER)]
    found = [path for name in beside if is_stored(path := evaluated.path.parent / name)]
    if not own or not found:
        return None
    file = read_with_notes(found[0]).file
    return None if _unfit(evaluated, file) else Companion(str(found[0]), file)


def find_beside(evaluated: EvaluatedFile, given: Path, option: str) -> Path:
    """A file by its path, or by its name in the folder of the scored one, as of several runs.

    Raises:
        FileNotFoundError: there is neither.
    """
    beside = evaluated.path.parent / given
    for path in (given, beside):
        if is_stored(path) or path.exists():
            return path
    raise FileNotFoundError(f"{option} {given}: there is no such file, here or in {beside.parent}")


def training_rows(
    evaluated: EvaluatedFile, given: Given | None = None, option: str = ""
) -> Companion | None:
    """Rows that were named, or else those of the training file beside; None without either."""
    if given is None:
        return companion_beside(evaluated, "train")
    return companion(evaluated, given, option)


def _unfit(evaluated: EvaluatedFile, file: EmbeddingFile) -> str | None:
    """Why rows are of no use for those of `evaluated`; None where they are."""
    dim, own_dim = file.embeddings.shape[1], evaluated.file.embeddings.shape[1]
    if dim != own_dim:
        return f"it has {dim} dimensions, the rows that are scored have {own_dim}"
    differing = _other_network(evaluated, file)
    if differing is not None:
        return _of_other_network(differing)
    meta = file.meta or {}
    if meta.get("split_hash") is not None and meta["split_hash"] == evaluated.meta("split_hash"):
        return "it holds the rows that are scored"
    return None


def _other_network(evaluated: EvaluatedFile, file: EmbeddingFile) -> str | None:
    """What tells that a file is from another network than the scored one; None without it."""
    meta = file.meta or {}
    for key in _SAME:
        mine, its = evaluated.meta(key), meta.get(key)
        if mine is not None and its is not None and mine != its:
            return key
    return None


def _of_other_network(differing: str) -> str:
    return f"it is from another network than the rows that are scored: {differing} differs"
