"""Rows of corrupted images of the scored ones: their file, checked, and their confidences."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import typed
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.companions import (
    Companion,
    companion,
    companion_beside,
    companion_of_run,
)
from vmf_embeddings.evaluation.confidences import confidences
from vmf_embeddings.evaluation.context import Context

CLEAN = "clean"  # in the field `corruption`


@dataclass(frozen=True)
class Grid:
    """The rows of one corruption, of every image at every level.

    Attributes:
        corruption: its name.
        levels: float64 [L], rising, the first is 0.
        rows: int64 [N, L], row numbers in the corrupted file; the first are the clean images.
    """

    corruption: str
    levels: np.ndarray
    rows: np.ndarray


def corrupted_beside(context: Context) -> Companion | None:
    """The file `<dataset>_<split>_corrupted` beside the scored one, if it is of its rows."""
    evaluated = context.evaluated
    found = companion_beside(evaluated, f"{evaluated.split}_corrupted")
    return None if found is None or _unfit(context, found.file) else found


def corrupted_rows(context: Context) -> Companion:
    """The file that `--corrupted` names, or else the one beside.

    Raises:
        ValueError: there is none, or it is not of corrupted images of the scored rows.
        FileNotFoundError: there is no such file.
    """
    given = context.options.corrupted
    if given is None:
        found = corrupted_beside(context)
        if found is None:
            run = typed.override("run", context.evaluated.path.parent)
            split = typed.override("split", context.evaluated.split)
            raise ValueError(
                "metrics=corruption needs embeddings of the scored images at rising strengths of "
                "corruption. Write them: "
                f"{typed.command('main', 'mode=corrupt', run, split)}; or name them by --corrupted"
            )
        return found
    if isinstance(given, Path):
        found = companion_of_run(context.evaluated, given, "--corrupted")
    else:
        found = companion(context.evaluated, given, "--corrupted")
    reason = _unfit(context, found.file)
    if reason is not None:
        raise ValueError(f"--corrupted {found.name}: {reason}")
    return found


def _unfit(context: Context, file: EmbeddingFile) -> str | None:
    """Why a file is not of corrupted images of the scored rows; None where it is."""
    ids, source = context.file.ids, file.source
    if source is None or file.ids is None:
        return "it holds no corrupted images: write it with mode=corrupt"
    hashes = (file.meta or {}).get("source_hash"), context.evaluated.meta("split_hash")
    if None not in hashes and hashes[0] != hashes[1]:
        return "its images are those of another split"
    if source.min() < 0 or source.max() >= len(ids) or not np.array_equal(ids[source], file.ids):
        return "the rows that it names as its clean images are not those that are scored"
    return None


def grids(file: EmbeddingFile) -> Iterator[Grid]:
    """The corruptions of a file, in its order.

    Raises:
        ValueError: an image lacks a level, or its clean row.
    """
    names, sources, strengths = file.corruption, file.source, file.level
    clean = (names == CLEAN).nonzero()[0]
    clean = clean[np.argsort(sources[clean], kind="stable")]
    _, first = np.unique(names, return_index=True)
    for name in names[np.sort(first)].tolist():
        if name == CLEAN:
            continue
        rows = (names == name).nonzero()[0]
        rows = rows[np.lexsort((strengths[rows], sources[rows]))]
        levels, images = np.unique(strengths[rows]), np.unique(sources[rows])
        place = np.searchsorted(sources[clean], images).clip(max=max(0, len(clean) - 1))
        if (
            len(rows) != len(levels) * len(images)
            or not len(clean)
            or not np.array_equal(sources[clean[place]], images)
            or not np.array_equal(strengths[rows].reshape(len(images), -1)[0], levels)
            or (np.diff(strengths[rows].reshape(len(images), -1), axis=1) <= 0).any()
        ):
            raise ValueError(
                f"corrupted images: not every image has {name} at every level, and clean; write "
                "the file again with mode=corrupt"
            )
        table = np.column_stack([clean[place], rows.reshape(len(images), len(levels))])
        yield Grid(name, np.concatenate([[0.0], levels.astype(np.float64)]), table)


def confidences_of(context: Context, file: EmbeddingFile) -> dict[str, Tensor]:
    """Every confidence of corrupted rows by name, float64 [n]; NaN for rows without it.

    Neighbours are searched among the clean rows, without the image itself.
    """
    n_clean = len(context.file.ids)
    evaluated = replace(context.evaluated, file=_together(context, file), exclude_same=None)
    both = Context(evaluated, context.options)
    return {name: values[n_clean:] for name, values in confidences(both).items()}


def _together(context: Context, file: EmbeddingFile) -> EmbeddingFile:
    """The clean rows, which are searched, followed by the corrupted ones, which are queries."""
    clean, n_corrupted = context.file, len(file.embeddings)
    images = context.images.numpy()
    gallery = np.ones(len(images), bool) if clean.is_gallery is None else clean.is_gallery
    both = ((name, getattr(clean, name), getattr(file, name)) for name in ("logits", "confidence"))
    stored = {
        name: np.concatenate([one, other])
        for name, one, other in both
        if one is not None and other is not None
    }
    return EmbeddingFile(
        embeddings=np.concatenate([clean.embeddings, file.embeddings]),
        ids=np.concatenate([clean.ids, file.ids]),
        temperature=clean.temperature,
        class_weights=clean.class_weights,
        **stored,
        paths=np.concatenate([images, images[file.source]]).astype(str),
        is_query=np.concatenate([np.zeros(len(images), bool), np.ones(n_corrupted, bool)]),
        is_gallery=np.concatenate([gallery, np.zeros(n_corrupted, bool)]),
        meta=clean.meta,
    )


def examples_beside(name: str) -> str | None:
    """Path of the file of examples that belongs to a corrupted one, where it is there."""
    path = Path(name)
    beside = path.with_name(f"{path.stem}_examples.npz")
    return str(beside) if beside.is_file() else None


def without_unknown(values: Tensor, grid: Grid) -> Tensor:
    """Confidences [N, L] of the images of a grid that have one at every level."""
    table = values[torch.from_numpy(grid.rows)]
    return table[~table.isnan().any(1)]
