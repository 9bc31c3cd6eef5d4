"""What the sections of an evaluation take from a file, each computed once and when it is needed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_pairs import QueriesAndGallery, rows_to_compare
from vmf_embeddings.evaluation.rows import ignored_ids, images_of
from vmf_embeddings.evaluation.spaces import which_rows
from vmf_embeddings.metrics import RetrievalScores
from vmf_embeddings.metrics.arrays import as_codes
from vmf_embeddings.metrics.class_predictions import ClassPredictions
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search import nearest


@dataclass(frozen=True)
class Classified:
    """Predictions for the rows that have a class.

    Args:
        rows: int64 [M], their numbers in the file.
        ids: int64 [M], their classes.
        predicted: what the logits say of them; of draws the mean.
    """

    rows: np.ndarray
    ids: np.ndarray
    predicted: ClassPredictions

    @property
    def probabilities(self) -> Tensor:
        """Float64 [M, C], all of them at once."""
        return self.predicted.probabilities

    @property
    def confidence(self) -> Tensor:
        """Float64 [M], the largest probability of each row."""
        return self.predicted.confidence

    @property
    def correct(self) -> Tensor:
        """Bool [M], whether the class with the largest is the row's."""
        return self.predicted.correct


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery rows of every query.

    Args:
        queries: int64 [Q], row numbers in the file.
        numbers: int64 [Q, k], row numbers in the file of the nearest first; -1 for none.
        similarities: float64 [Q, k], larger = nearer; -inf for none.
    """

    queries: Tensor
    numbers: Tensor
    similarities: Tensor


class Context:
    """An embedding file, the options of its evaluation, and what several sections read of it.

    Args:
        evaluated: the file.
        options: what to score.
    """

    def __init__(self, evaluated: EvaluatedFile, options: EvaluationOptions) -> None:
        self.evaluated, self.options, self.file = evaluated, options, evaluated.file
        self.retrieved: RetrievalScores | None = None
        """Exact retrieval scores by the file's geometry, once they were computed."""

    @cached_property
    def ignored(self) -> list[int]:
        """Classes that mean "no class"."""
        return ignored_ids(self.evaluated, self.options.ignore_labels)

    @cached_property
    def kept(self) -> np.ndarray:
        """Bool [N], rows that have a class."""
        return ~np.isin(self.file.ids, self.ignored)

    @cached_property
    def classified(self) -> Classified | None:
        """Predictions of a closed set with logits; else None.

        Raises:
            ValueError: a class is no column of the logits.
        """
        if self.file.logits is None or self.file.open_set:
            return None
        rows = self.kept.nonzero()[0]
        ids = self.file.ids[rows]
        _refuse_unknown_classes(ids)
        chosen = rows if self.ignored else None
        return Classified(rows, ids, ClassPredictions(self.file.logits, ids, chosen))

    @cached_property
    def rows(self) -> Tensor:
        """[N, D] rows as the geometry compares them; see `rows_to_compare`."""
        return rows_to_compare(self.evaluated)

    @cached_property
    def pairs(self) -> QueriesAndGallery:
        """Queries and gallery, and what a query is not compared with."""
        return QueriesAndGallery.of(self.evaluated)

    @cached_property
    def ranked(self) -> Tensor:
        """Int64 [Q] row numbers of the queries that retrieval ranks, in the order of its scores."""
        given = which_rows(self.evaluated, self.options)["is_query"]
        chosen = self.kept if given is None else self.kept & np.asarray(given)
        return torch.from_numpy(chosen.nonzero()[0])

    @cached_property
    def images(self) -> Tensor:
        """Int64 [N], equal for rows that are not compared; see `rows.images_of`."""
        found = images_of(self.evaluated)
        return torch.arange(len(self.file.ids)) if found is None else found

    @cached_property
    def n_relevant(self) -> Tensor:
        """Int64 [Q], rows of the class of every query that it is compared with; 0 without class."""
        pairs, codes = self.pairs, as_codes(self.file.ids)
        gallery, own = codes[pairs.gallery], codes[pairs.queries]
        counts = torch.bincount(gallery, minlength=int(codes.max()) + 1)[own]
        excluded = (gallery[pairs.exclude.clamp_min(0)] == own[:, None]) & (pairs.exclude >= 0)
        has_class = torch.from_numpy(self.kept)[pairs.queries]
        return torch.where(has_class, counts - excluded.sum(1), 0)

    def neighbours(self, k: int) -> Neighbours:
        """The k nearest gallery rows of every query by the file's geometry, without itself."""
        if self._found is None or self._found.numbers.shape[1] < k:
            self._found = self._search(k)
        found = self._found
        return Neighbours(found.queries, found.numbers[:, :k], found.similarities[:, :k])

    _found: Neighbours | None = None

    def _search(self, k: int) -> Neighbours:
        pairs, rows, geometry = self.pairs, self.rows, self.evaluated.geometry
        with Progress(
            f"Neighbours of {len(pairs.queries):,} rows", at_once=len(pairs.queries) > LARGE_JOB
        ):
            places, similarities = nearest(
                rows[pairs.queries.to(rows.device)],
                rows[pairs.gallery.to(rows.device)],
                k,
                similarity=geometry.similarity,
                metric=geometry.faiss_metric,
                exclude=pairs.exclude.to(rows.device),
                backend=self.options.search,
            )
        places = places.cpu()
        numbers = torch.where(places >= 0, pairs.gallery[places.clamp_min(0)], -1)
        return Neighbours(pairs.queries, numbers, similarities.cpu())


def _refuse_unknown_classes(ids: np.ndarray) -> None:
    """Refuses negative classes in a closed set, of which no column of logits is."""
    if ids.min() < 0:
        row = int((ids < 0).argmax())
        raise ValueError(
            f"ids must be class numbers from 0 where there are logits; row {row} (counted from 0) "
            f"is {ids[row]}. If that means that there is no class, add --ignore-label {ids[row]}"
        )
