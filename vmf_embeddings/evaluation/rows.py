"""Which rows of a file have a class, and what about its rows restricts how scores may be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import typed
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.metrics import RetrievalScores
from vmf_embeddings.search.exact import first_identical_row
from vmf_embeddings.search.same_image import same_image

# names that stand for "no class" in data sets that others made; negative numbers do too
_NO_CLASS = {
    "", "none", "nan", "null", "n/a", "na", "unknown", "unlabeled", "unlabelled", "no class",
    "no_class", "noclass", "no label", "no_label", "ignore", "background", "distractor",
    "distractors", "junk",
}  # fmt: skip
_BY_DIRECTION = ("cosine", "vmf")


@dataclass(frozen=True)
class RowCounts:
    """What is special about the rows of a file.

    Args:
        ties: the rule for rows of equal score, "expected" or "index".
        n_tied_queries: queries of which a positive has the score of a negative; None where that was
            not counted: without retrieval scores, or by the rule "index".
        n_coinciding: rows that equal another row as they are compared; None without retrieval.
        n_zero: rows of length 0, where rows are compared by direction; else None.
        n_same_image: queries that were not compared with other rows of their own image; None
            without retrieval scores.
        n_ignored: rows with a label that `ignored_labels` names.
        ignored_labels: labels that mean "no class", as the command line gave them.
        exclude_same: "camera" or "sequence", of which n_same_image then counts.
        unlabelled: label that may mean "no class" but is scored as one -> its number of rows.
    """

    ties: str = "expected"
    n_tied_queries: int | None = None
    n_coinciding: int | None = None
    n_zero: int | None = None
    n_same_image: int | None = None
    n_ignored: int = 0
    ignored_labels: tuple[str, ...] = ()
    unlabelled: dict[str, int] = field(default_factory=dict)
    exclude_same: str | None = None


def ignored_ids(evaluated: EvaluatedFile, ignore_labels: Sequence[str]) -> list[int]:
    """The class numbers of labels that mean "no class".

    Args:
        evaluated: the file.
        ignore_labels: names of classes, as the file has them, or class numbers.

    Raises:
        ValueError: no row has such a label, and the message lists those that there are; or every
            row has one.
    """
    names, present = _names(evaluated), set(evaluated.file.ids.tolist())
    chosen = []
    for label in ignore_labels:
        ids = [number for number in sorted(present) if names.get(number) == label]
        if not ids:
            ids = [number for number in sorted(present) if str(number) == label]
        if not ids:
            some = [names.get(number, str(number)) for number in sorted(present)[:8]]
            more = ", …" if len(present) > 8 else ""
            raise ValueError(
                f"no row has the label {label!r} that is to be ignored; there are "
                f"{', '.join(some)}{more}"
            )
        chosen += ids
    if chosen and present <= set(chosen):
        raise ValueError(
            f"every row has a label that is to be ignored ({', '.join(ignore_labels)}): nothing is "
            "left to score"
        )
    return chosen


def images_of(evaluated: EvaluatedFile) -> Tensor | None:
    """Int64 [N], equal for rows that are not compared with one another; None where all differ.

    Those of one image by the names of files, or with `exclude_same` those of one class and camera
    or sequence (as a rule, an image has one of each).

    Raises:
        ValueError: the file does not say which camera or sequence its rows are of.
    """
    name = evaluated.exclude_same
    if name is None:
        return same_image(evaluated.file.paths)
    values = getattr(evaluated.file, name)
    if values is None:
        raise ValueError(
            f"--exclude-same {name}: the file has no {name} of its rows; store one per row under "
            f"the key {name}"
        )
    pairs = np.stack([evaluated.file.ids, values], 1)
    return torch.from_numpy(np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1))


def count_rows(
    evaluated: EvaluatedFile,
    compared: Tensor | None,
    found: RetrievalScores | None,
    ties: str,
    ignore_labels: Sequence[str],
) -> RowCounts:
    """Count what `RowCounts` names.

    Args:
        evaluated: the file.
        compared: [N, D] rows as retrieval compares them, or None without it.
        found: its scores, likewise.
        ties: rule for rows of equal score.
        ignore_labels: see `ignored_ids`.
    """
    ids = evaluated.file.ids
    ignored = ignored_ids(evaluated, ignore_labels)
    counts = RowCounts(
        ties=ties,
        n_ignored=int(np.isin(ids, ignored).sum()),
        ignored_labels=tuple(ignore_labels),
        unlabelled=_unlabelled(evaluated, ignored),
        exclude_same=evaluated.exclude_same,
    )
    if compared is None or found is None:
        return counts
    lengths = torch.linalg.vector_norm(torch.from_numpy(evaluated.file.embeddings).double(), dim=1)
    by_direction = evaluated.geometry.name in _BY_DIRECTION
    return RowCounts(
        **{
            **vars(counts),
            "n_tied_queries": int(found.rows.tied.sum()) if ties == "expected" else None,
            "n_coinciding": _n_coinciding(compared),
            "n_zero": int((lengths == 0).sum()) if by_direction else None,
            "n_same_image": found.n_same_image,
        }
    )


def notes_on_rows(every: Sequence[RowCounts]) -> list[str]:
    """What to say about the rows of files that are averaged, without the full stop."""
    first = every[0]
    notes = [_note_on_ties(first.ties, _most(every, "n_tied_queries"), every)]
    if zero := _most(every, "n_zero"):
        verb = "has" if zero == 1 else "have"
        notes.append(f"{_rows(zero)} {verb} length 0: their cosine with every row counts as 0")
    if same := _most(every, "n_same_image"):
        verb = "query is" if same == 1 else "queries are"
        name = first.exclude_same
        what = f"their class and {name}" if name else "the same image path"
        notes.append(f"{same:,} {verb} not compared with other rows of {what}")
    if ignored := _most(every, "n_ignored"):
        labels = ", ".join(first.ignored_labels)
        notes.append(
            f"{_rows(ignored)} with the label {labels} only in the gallery, as rows of no query's "
            "class, and in no other score"
        )
    for label, n in first.unlabelled.items():
        notes.append(
            f"{_rows(n)} with the label {label!r}, scored as a class like any other; if it means "
            f"that there is no class, {_how_to_ignore(label)}"
        )
    return [note for note in notes if note]


def _how_to_ignore(label: str) -> str:
    """What to type so that a label is ignored, on the command line and in Python."""
    return f"add {typed.option('ignore-label', label)} (vmf.evaluate: ignore_labels=[{label!r}])"


def _note_on_ties(ties: str, n_tied: int, every: Sequence[RowCounts]) -> str:
    n_coinciding = _most(every, "n_coinciding")
    verb = "coincides" if n_coinciding == 1 else "coincide"
    coinciding = f"{_rows(n_coinciding)} {verb} with another row" if n_coinciding else ""
    if ties == "index":
        rest = "tied rows are ranked by their number (ties=index), on which scores then depend"
        return f"{coinciding}; {rest}" if coinciding else ""
    if not n_tied:
        return coinciding
    queries = "1 query has" if n_tied == 1 else f"{n_tied:,} queries have"
    tied = (
        f"{queries} rows of their class at the same score as rows of others: scores are means over "
        "all orders of tied rows"
    )
    return f"{coinciding}; {tied}" if coinciding else tied


def _most(every: Sequence[RowCounts], name: str) -> int:
    return max(getattr(counts, name) or 0 for counts in every)


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"


def _names(evaluated: EvaluatedFile) -> dict[int, str]:
    return evaluated.class_names or {}


def _unlabelled(evaluated: EvaluatedFile, ignored: Sequence[int]) -> dict[str, int]:
    """Labels whose name or number stands for "no class" elsewhere -> number of rows."""
    names, found = _names(evaluated), {}
    numbers, counts = np.unique(evaluated.file.ids, return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        name = names.get(number, str(number))
        is_negative = name.startswith("-") and name[1:].isdigit()
        if number not in ignored and (is_negative or name.strip().lower() in _NO_CLASS):
            found[name] = count
    return found


def _n_coinciding(rows: Tensor) -> int:
    """Rows [N, D] of which there is an equal one."""
    first = first_identical_row(rows)
    if first is None:
        return 0
    counts = torch.bincount(first)
    return int(counts[counts > 1].sum())
