"""The rows on which something is fitted for a file: others than those it scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.companions import (
    Companion,
    companion,
    companion_beside,
    companion_of_run,
)
from vmf_embeddings.evaluation.context import Context

SPLITS = ("valid", "train")


@dataclass(frozen=True)
class FittingRows:
    """Rows of known class that are not scored.

    Args:
        name: where they are from.
        split: of the data set; "" where it is not known.
        logits: [M, C] or [M, S, C].
        labels: int64 [M].
    """

    name: str
    split: str
    logits: Tensor
    labels: Tensor


def fitting_rows(context: Context) -> FittingRows | None:
    """The rows of `options.fit_on`; None where no such file lies beside the scored one.

    Raises:
        ValueError: a file that was named is not of other rows by the same network, has no logits or
            labels, or other classes.
        FileNotFoundError: there is no such file.
    """
    evaluated, given = context.evaluated, context.options.fit_on
    if isinstance(given, str):
        found = companion_beside(evaluated, given)
        if found is None or found.file.logits is None or found.file.ids is None:
            return None
    elif isinstance(given, Path):
        found = companion_of_run(evaluated, given, "--fit-on")
    else:
        found = companion(evaluated, given, "--fit-on")
    reason = _unfit(context, found)
    if reason is not None:
        raise ValueError(f"--fit-on {found.name}: {reason}")
    file = found.file
    kept = ~np.isin(file.ids, context.ignored)
    logits = file.logits if kept.all() else file.logits[kept]
    split = str((file.meta or {}).get("split") or (given if isinstance(given, str) else ""))
    return FittingRows(
        found.name, split, torch.from_numpy(logits), torch.from_numpy(file.ids[kept])
    )


def _unfit(context: Context, found: Companion) -> str | None:
    """Why nothing can be fitted on rows for those that are scored; None where it can."""
    mine, its = context.file, found.file
    if its.logits is None or its.ids is None:
        missing = "logits" if its.logits is None else "labels"
        return f"it has no {missing}: write it with mode=get_embeddings"
    if mine.logits is None or its.logits.shape[1:] != mine.logits.shape[1:]:
        shape = None if mine.logits is None else list(mine.logits.shape[1:])
        return f"its logits have the shape {list(its.logits.shape[1:])} for each row, not {shape}"
    if its.logits.shape == mine.logits.shape and np.array_equal(its.logits, mine.logits):
        return "it holds the rows that are scored"
    labels = its.ids[~np.isin(its.ids, context.ignored)]
    if not len(labels) or labels.min() < 0 or labels.max() >= its.logits.shape[-1]:
        return f"it has no rows of the {its.logits.shape[-1]} classes, or rows of others"
    return None


def notes_on_fit(context: Context, rows: FittingRows | None, what: str) -> list[str]:
    """What restricts how scores after a fit may be read, without the full stop.

    Args:
        context: the file.
        rows: that were used; None = there were none.
        what: was, or would be, fitted.
    """
    if rows is None:
        return [
            f"{what} needs {context.evaluated.dataset}_{context.options.fit_on}.npz of the same "
            "run, with logits, beside the scored file (mode=get_embeddings split=all), or "
            "--fit-on FILE (vmf.evaluate: fit_on=)"
        ]
    notes = []
    if rows.split and rows.split == context.evaluated.meta("selected_on"):
        notes.append(f"{what} is fitted on the split that chose the epoch, {rows.split}")
    if rows.split == "train":
        notes.append(
            f"{what} is fitted on training rows, which the network knows: other rows need more"
        )
    return notes
