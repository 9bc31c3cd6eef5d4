"""The training rows that belong to a file of test rows, from the same trained network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings import read_with_notes
from vmf_embeddings.embeddings.endings import FOLDER, is_stored
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile

# what two files of one trained network have in common
_SAME = ("weights", "train_identity", "method", "objective", "epoch", "seed", "geometry")


@dataclass(frozen=True)
class Companion:
    """Embeddings of other rows by the same network.

    Args:
        name: where they are from.
        embeddings: [N, D].
    """

    name: str
    embeddings: np.ndarray


def training_rows(
    evaluated: EvaluatedFile, path: Path | np.ndarray | None = None, option: str = ""
) -> Companion | None:
    """The rows of a named file or array, or else of the training file beside the evaluated one.

    Args:
        evaluated: the file that is scored.
        path: of the other file, or its rows [N, D]; None = `<dataset>_train.npz` or `.emb` in
            the same folder, if it exists.
        option: of the command line that named the file, for messages.

    Returns:
        None without such a file, and where the evaluated rows are those of training themselves.

    Raises:
        ValueError: the named file has other dimensions, is from another network, or holds the
            rows that are scored.
        FileNotFoundError: there is no such file.
    """
    if isinstance(path, np.ndarray):
        reason = _unfit(evaluated, {}, path.shape[1])
        if reason is not None:
            raise ValueError(f"{option}: {reason}")
        return Companion("the rows given", path)
    named = path is not None
    if path is None:
        beside = [f"{evaluated.dataset}_train{ending}" for ending in (".npz", FOLDER)]
        found = [file for name in beside if is_stored(file := evaluated.path.parent / name)]
        own = is_stored(evaluated.path) and not evaluated.foreign and evaluated.split != "train"
        if not own or not found:
            return None
        path = found[0]
    file = read_with_notes(path).file
    reason = _unfit(evaluated, file.meta or {}, file.embeddings.shape[1])
    if reason is not None:
        if not named:
            return None
        raise ValueError(f"{option} {path}: {reason}")
    return Companion(str(path), file.embeddings)


def _unfit(evaluated: EvaluatedFile, meta: dict, dim: int) -> str | None:
    """Why rows are of no use for those of `evaluated`; None where they are."""
    own_dim = evaluated.file.embeddings.shape[1]
    if dim != own_dim:
        return f"it has {dim} dimensions, the rows that are scored have {own_dim}"
    for key in _SAME:
        mine, its = evaluated.meta(key), meta.get(key)
        if mine is not None and its is not None and mine != its:
            return f"it is from another network than the rows that are scored: {key} differs"
    if meta.get("split_hash") is not None and meta["split_hash"] == evaluated.meta("split_hash"):
        return "it holds the rows that are scored"
    return None
