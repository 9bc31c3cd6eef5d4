"""Queries of several data sets against the union of their galleries, beside each by itself.

Ypsilantis et al. 2023, https://arxiv.org/abs/2309.01858 (UnED): a hit is a row of the query's own
data set and class; rows of all others are in the way.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.companions import companion
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText, WeightedScore
from vmf_embeddings.metrics import RetrievalRows, retrieval
from vmf_embeddings.metrics.arrays import as_codes
from vmf_embeddings.metrics.resampling import weighted_mean
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search import nearest
from vmf_embeddings.search.same_image import rows_of_same_image

K = 5  # of mMP, as in UnED
TABLE = TableText(
    title="Merged galleries: rows of all data sets are in the way",
    head="queries of",
    columns={
        "recall@1": ("R@1 %", 100, 2),
        "recall@1_separate": ("by itself", 100, 2),
        f"mmp@{K}": (f"mMP@{K} %", 100, 2),
        f"mmp@{K}_separate": ("by itself", 100, 2),
        "nearest_of_other_data_set": ("nearest of another set %", 100, 2),
    },
)


def score(context: Context) -> ScoreTable:
    """Scores each data set against all galleries, and against its own.

    Raises:
        ValueError: no other file is named, or one is of another network or without labels.
    """
    parts = _parts(context)
    every = _Union(list(parts.values()))
    with Progress(f"Ranking {len(every.rows):,} rows of all data sets",
                  at_once=len(every.rows) > LARGE_JOB):  # fmt: skip
        merged = every.ranked()
    foreign, table = every.nearest_is_foreign(), ScoreTable()
    for number, (name, part) in enumerate(parts.items()):
        own = every.part_of_query == number
        by_itself = _Union([part]).ranked()
        alone = _scores(by_itself, slice(None))
        table.rows[name] = {
            **_scores(merged, own),
            **{f"{score}_separate": value for score, value in alone.items()},
            "nearest_of_other_data_set": float(foreign[own].double().mean()),
        }
        if part is context:
            table.drawn = _drawn(context, name, merged, by_itself, foreign, own)
        table.about[name] = {
            "n_queries": int(own.sum()),
            "n_gallery": int(every.is_gallery[every.part == number].sum()),
        }
    of_parts = list(table.rows.values())
    means = {name: float(np.mean([one[name] for one in of_parts])) for name in of_parts[0]}
    table.rows["mean of data sets"] = means
    return table


def _drawn(
    context: Context,
    name: str,
    merged: RetrievalRows,
    by_itself: RetrievalRows,
    foreign: Tensor,
    own: Tensor,
) -> dict[str, WeightedScore]:
    """The scores of the scored file as functions of weights of its rows."""
    is_query = _mask(context.file.is_query, len(context.file.ids))
    queries = is_query & torch.from_numpy(context.kept)

    def mean(values: Tensor) -> WeightedScore:
        every = torch.full((len(queries),), torch.nan, dtype=torch.float64)
        every[queries] = values.double()
        return weighted_mean(every)

    return {
        f"{name}/recall@1": mean(merged.recall[1][own]),
        f"{name}/mmp@{K}": mean(merged.ranking[K].mmp[own]),
        f"{name}/recall@1_separate": mean(by_itself.recall[1]),
        f"{name}/mmp@{K}_separate": mean(by_itself.ranking[K].mmp),
        f"{name}/nearest_of_other_data_set": mean(foreign[own]),
    }


def _parts(context: Context) -> dict[str, Context]:
    """The scored file and those that are merged with it, by the names of their data sets."""
    evaluated, options = context.evaluated, context.options
    if not options.merge:
        raise ValueError("metrics=merged needs other files of the same run: --merge FILE…")
    parts = {evaluated.dataset: context}
    for given in options.merge:
        other = companion(evaluated, given, "--merge")
        if other.file.ids is None:
            raise ValueError(f"--merge {other.name}: it has no labels")
        name = str((other.file.meta or {}).get("dataset") or Path(other.name).stem)
        if name in parts:
            name = f"{name} ({len(parts) + 1})"
        file = replace(evaluated, file=other.file)
        parts[name] = Context(file, replace(options, ignore_labels=()))
    return parts


class _Union:
    """Rows of several files, of which those of different files are of different classes.

    Args:
        parts: the files.
    """

    def __init__(self, parts: Sequence[Context]) -> None:
        self.first = parts[0]
        self.rows = torch.cat([part.rows for part in parts])
        sizes = torch.tensor([len(part.rows) for part in parts])
        self.part = torch.arange(len(parts)).repeat_interleave(sizes)
        # numbers of classes and images are below the number of rows of their file
        offset = (sizes.cumsum(0) - sizes)[self.part]
        self.codes = torch.cat([as_codes(part.file.ids) for part in parts]) + offset
        self.images = torch.cat([as_codes(part.images) for part in parts]) + offset
        self.is_query, self.is_gallery = (
            torch.cat([_mask(getattr(part.file, name), len(part.rows)) for part in parts])
            for name in ("is_query", "is_gallery")
        )
        self.is_query &= torch.cat([torch.from_numpy(part.kept) for part in parts])
        self.part_of_query = self.part[self.is_query]

    def ranked(self) -> RetrievalRows:
        """Scores of every query against the whole gallery."""
        geometry = self.first.evaluated.geometry
        return retrieval(
            self.rows, self.codes, similarity=geometry.similarity, metric=geometry.faiss_metric,
            ranking_ks=[K], is_query=self.is_query, is_gallery=self.is_gallery, images=self.images,
            ties=self.first.options.ties,
        ).rows  # fmt: skip

    def nearest_is_foreign(self) -> Tensor:
        """Bool [Q], whether the nearest gallery row of each query is of another file."""
        geometry, device = self.first.evaluated.geometry, self.rows.device
        queries, gallery = (mask.nonzero().squeeze(1) for mask in (self.is_query, self.is_gallery))
        found, _ = nearest(
            self.rows[queries.to(device)],
            self.rows[gallery.to(device)],
            1,
            similarity=geometry.similarity,
            metric=geometry.faiss_metric,
            exclude=rows_of_same_image(self.images[queries], self.images[gallery]).to(device),
            backend=self.first.options.search,
        )
        return self.part[gallery[found[:, 0].cpu()]] != self.part_of_query


def _scores(rows: RetrievalRows, chosen: Tensor | slice) -> dict[str, float]:
    """Means over some queries: those without a row of their class are misses in recall alone."""
    return {
        "recall@1": float(rows.recall[1][chosen].mean()),
        f"mmp@{K}": float(rows.ranking[K].mmp[chosen].nanmean()),
    }


def _mask(given: np.ndarray | None, n_rows: int) -> Tensor:
    return torch.ones(n_rows, dtype=torch.bool) if given is None else torch.from_numpy(given.copy())
