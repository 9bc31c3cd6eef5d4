"""The scores of a file: those that `evaluate` wrote beside it, or the same computed now."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.results import describe
from vmf_embeddings.evaluation.scores import CHEAP_ROWS, score
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.untrusted.arrays import NUMBERS, npz_keys, read_npz
from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import ENTRY, check_record
from vmf_embeddings.untrusted.text import printable

_LARGEST_JSON = 64 * 2**20  # bytes
_SAME = ("split_hash", "epoch", "method", "geometry", "seed")
SECTION = "uncertainty"  # which gives risk and coverage; scored besides the default scores


@dataclass(frozen=True)
class Scored:
    """Scores of one file.

    Args:
        entry: as in `metrics.json`.
        curves: `section/name` -> array, as in `<dataset>_<split>_curves.npz`.
        notes: on where they are from.
    """

    entry: Mapping[str, Any]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def scored(evaluated: EvaluatedFile, options: EvaluationOptions) -> Scored:
    """Scores from the folder of a file; computed, and written nowhere, where it has none.

    Raises:
        ValueError: the file cannot be scored.
    """
    try:
        entry = _entry(evaluated)
    except (OSError, ValueError) as error:
        return _computed(evaluated, options, f"metrics.json is not used: {printable(error)}")
    if entry is None:
        return _computed(evaluated, options, "scored for this report: metrics.json has no scores "
                         "of this file")  # fmt: skip
    if differs := _difference(evaluated, entry):
        return _computed(evaluated, options, "scored for this report: metrics.json has scores of "
                         f"another state of this file ({differs} differs)")  # fmt: skip
    notes = []
    if SECTION not in entry:
        command = typed.given([str(evaluated.path)])
        notes.append(
            "risk and coverage were not scored; add them: vmf-embeddings evaluate "
            f"{command} metrics={SECTION}"
        )
    try:
        return Scored(entry, _curves(evaluated.path.parent / evaluated.curves_name), tuple(notes))
    except (OSError, ValueError) as error:
        return Scored(entry, {}, (*notes, f"no curves of scores: {printable(error)}"))


def _entry(evaluated: EvaluatedFile) -> Mapping[str, Any] | None:
    path = evaluated.path.parent / "metrics.json"
    if not path.exists():
        return None
    _refuse_link(path)
    entry = parse_json_object(read_text(path, limit=_LARGEST_JSON), str(path)).get(
        evaluated.path.name
    )
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {evaluated.path.name} must hold a JSON object")
    check_record(entry, ENTRY, f"{path}: {evaluated.path.name}")
    return entry


def _difference(evaluated: EvaluatedFile, entry: Mapping[str, Any]) -> str | None:
    """What an entry states otherwise than the file; None where it is of this file."""
    stated = {
        "n_rows": len(evaluated.file.ids),
        "embedding_dim": evaluated.file.embeddings.shape[1],
        "geometry": evaluated.geometry.to_meta(),
        **{key: evaluated.meta(key) for key in _SAME if key != "geometry"},
    }
    for key, value in stated.items():
        known = entry.get(key)
        if known is not None and value is not None and known != value:
            return key
    return None


def _refuse_link(path: Path) -> None:
    """Refuses a link in a received folder, which could lead to a file of this machine."""
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link")


def _curves(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    _refuse_link(path)
    keys = npz_keys(path, in_groups=True)
    return read_npz(path, dict.fromkeys(keys, NUMBERS), in_groups=True)


def _computed(evaluated: EvaluatedFile, options: EvaluationOptions, note: str) -> Scored:
    n_rows = len(evaluated.file.ids)
    with Progress(f"Scoring {n_rows:,} rows of {evaluated.path.name}", at_once=n_rows > LARGE_JOB):
        try:
            # of more rows, to rank all confidences takes long
            options = replace(options, sections=(SECTION,) if n_rows <= CHEAP_ROWS else ())
            scores = score(evaluated, options)
        except ValueError:  # neither logits nor two rows of one class
            options = replace(options, sections=())
            scores = score(evaluated, options)
    curves = {
        f"{section}/{name}": values
        for section, table in scores.tables.items()
        for name, values in table.curves.items()
    }
    return Scored(_plain(describe(evaluated, scores, options)), curves, (note,))


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with None in place of NaN, as it is read from a file."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return plain(entry)
