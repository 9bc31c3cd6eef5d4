"""Scores of shorter and coarser embeddings: prefixes, bytes, bits, and principal components."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.companions import Companion, training_rows
from vmf_embeddings.evaluation.context import Classified
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.prefix_logits import prefix_logits
from vmf_embeddings.evaluation.row_pairs import (
    CandidatesFirst,
    MatrixScores,
    QueriesAndGallery,
    compared,
    named_scores,
    rows_to_compare,
    scores_of_ranking,
)
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.evaluation.spaces import which_rows
from vmf_embeddings.metrics import PrincipalComponents, RetrievalScores, retrieval
from vmf_embeddings.metrics.resampling import weighted_mean
from vmf_embeddings.progress import Progress
from vmf_embeddings.search import (
    QuantisedGallery,
    Ranges,
    bytes_per_row,
    dequantise,
    nearest,
    quantise,
    signs,
)
from vmf_embeddings.search.quantised import overlaps

COMPACT = "compact"  # the section in metrics.json
N_OVERLAP = 10  # neighbours that are compared with those of the float rows
_MANY_CLIPPED = 0.01  # of the values
Classify = Callable[[Tensor], tuple[dict[str, float], Classified]]


def compact_scores(
    evaluated: EvaluatedFile,
    options: EvaluationOptions,
    ks: list[int],
    found: RetrievalScores | None,
    classify: Classify,
) -> ScoreTable:
    """Scores of `options.dims` x `options.precision`, and of principal components.

    Args:
        evaluated: the file.
        options: what to score.
        ks: the k of Recall@k.
        found: its usual retrieval scores, where they were computed.
        classify: logits [N, C] -> classification scores, and what they are from.

    Raises:
        ValueError: a length is above that of the embeddings, or a format does not fit the geometry.
    """
    return _Compact(evaluated, options, ks, found, classify).all()


class _Compact:
    def __init__(
        self,
        evaluated: EvaluatedFile,
        options: EvaluationOptions,
        ks: list[int],
        found: RetrievalScores | None,
        classify: Classify,
    ) -> None:
        self.evaluated, self.options, self.ks = evaluated, options, ks
        self.found, self.classify = found, classify
        self.dim = evaluated.file.embeddings.shape[1]
        self.dims = _dims(options.dims, self.dim)
        self.precisions = options.precision or ("float32",)
        self.metric = evaluated.geometry.faiss_metric
        if self.metric is None and set(self.precisions) != {"float32"}:
            raise ValueError(
                f"--precision: bytes and bits are compared by inner product or Euclidean distance, "
                f"not in the geometry {evaluated.geometry.name}"
            )
        self.pairs = QueriesAndGallery.of(evaluated)
        self.result = ScoreTable()

    def all(self) -> ScoreTable:
        train = training_rows(self.evaluated, self.options.pca_from, "--pca-from")
        calibration = self._calibration()
        logits = prefix_logits(self.evaluated, self.dims) if self.options.dims else None
        self.float_neighbours = self._nearest(rows_to_compare(self.evaluated))
        for dim in self.dims:
            cut = cut_to(self.evaluated, dim)
            try:
                rows = rows_to_compare(cut)
            except ValueError as error:  # as von Mises-Fisher distributions need two dimensions
                raise ValueError(f"--dims {dim}: {error}") from error
            for precision in self.precisions:
                self._by_precision(cut, rows, precision, calibration)
            if logits is not None and dim in logits.by_dim:
                row = f"{dim}/float32"
                scores, classified = self.classify(logits.by_dim[dim])
                self.result.rows.setdefault(row, {}).update(scores)
                self.result.classified[row] = classified
        if logits is not None and logits.note:
            self.result.notes.append(logits.note)
        if self.options.dims:
            self._principal_components(train)
        return self.result

    def _calibration(self) -> Companion | None:
        """Rows that the ranges of bytes are from; None = the scored rows themselves."""
        if not {"int8", "uint8"} & set(self.precisions):
            return None
        rows = training_rows(self.evaluated, self.options.calibrate_on, "--calibrate-on")
        self.result.about["ranges_from"] = "the scored rows" if rows is None else rows.name
        if rows is None:
            self.result.notes.append(
                "the ranges of bytes are those of the scored rows themselves, for lack of a file "
                "of training rows beside them; --calibrate-on names one"
            )
        return rows

    def _by_precision(
        self, cut: EvaluatedFile, rows: Tensor, precision: str, calibration: Companion | None
    ) -> None:
        """Adds the scores of one length in one format."""
        dim, size = rows.shape[1], float(bytes_per_row(rows.shape[1], precision))
        if precision == "float32":
            with self._progress(f"{dim} dimensions"):
                whole = dim == self.dim
                scores = self.found if whole and self.found else self._ranked(cut, rows)
                neighbours = self.float_neighbours if whole else self._nearest(rows)
                self._add(f"{dim}/float32", scores, neighbours, size)
            return
        if precision in ("int8", "uint8"):
            others = (
                rows
                if calibration is None
                else compared(calibration.embeddings[:, :dim], cut.geometry)
            )
            ranges = Ranges.of(others.cpu().numpy())
            self._note_clipped(rows.cpu().numpy(), ranges)
            values = dequantise(quantise(rows.cpu().numpy(), precision, ranges), ranges)
            pairs = MatrixScores(
                rows, torch.from_numpy(values).to(rows.device), cut.geometry.similarity
            )
            with self._progress(f"{dim} dimensions, {precision}"):
                scores = scores_of_ranking(pairs, cut, self.options, self.ks)
                self._add(f"{dim}/{precision}", scores, self._among(rows, precision, ranges), size)
            return
        with self._progress(f"{dim} dimensions, {precision}"):
            self._by_bits(cut, rows, precision, size)

    def _note_clipped(self, rows: np.ndarray, ranges: Ranges) -> None:
        """Remembers, and says where they are many, how many values lie outside the ranges."""
        outside = float(((rows < ranges.low) | (rows > ranges.high)).mean())
        dim = rows.shape[1]
        self.result.about.setdefault("fraction_clipped", {})[str(dim)] = outside
        if outside > _MANY_CLIPPED:
            self.result.notes.append(
                f"{100 * outside:.1f} % of the values of {dim} dimensions lie outside the ranges "
                "of bytes and were clipped"
            )

    def _by_bits(self, cut: EvaluatedFile, rows: Tensor, precision: str, size: float) -> None:
        """Adds the scores of Hamming distances, rescored by signs and by float rows, or not."""
        dim, multiplier = rows.shape[1], self.options.rescore_multiplier
        vectors = torch.from_numpy(signs(quantise(rows.cpu().numpy(), "ubinary"), dim))
        scores = retrieval(
            vectors, cut.file.ids, metric="ip", ks=self.ks, **which_rows(cut, self.options)
        )
        self._add(f"{dim}/{precision}", scores, self._among(rows, precision), size)
        self.result.about["n_candidates"] = multiplier * self._n_found
        for name, floats in (("signs", None), ("rescored", rows)):
            candidates = self._among(rows, precision, multiplier=multiplier, rescored_by=floats)
            ranking = CandidatesFirst(vectors, self.pairs, *candidates)
            scores = scores_of_ranking(ranking, cut, self.options, self.ks)
            found = candidates[0][:, :N_OVERLAP]
            self._add(f"{dim}/{precision}_{name}", scores, found, size)

    @property
    def _n_found(self) -> int:
        return max(N_OVERLAP, min(max(self.ks), len(self.pairs.gallery)))

    def _ranked(self, cut: EvaluatedFile, rows: Tensor) -> RetrievalScores:
        return retrieval(
            rows,
            cut.file.ids,
            similarity=cut.geometry.similarity,
            metric=cut.geometry.faiss_metric,
            ks=self.ks,
            **which_rows(cut, self.options),
        )

    def _nearest(self, rows: Tensor) -> Tensor:
        """The nearest gallery rows of every query, by float rows."""
        geometry = self.evaluated.geometry
        found, _ = nearest(
            rows[self.pairs.queries.to(rows.device)].double(),
            rows[self.pairs.gallery.to(rows.device)].double(),
            N_OVERLAP,
            similarity=geometry.similarity,
            metric=geometry.faiss_metric,
            exclude=self.pairs.exclude,
        )
        return found.cpu()

    def _among(
        self,
        rows: Tensor,
        precision: str,
        ranges: Ranges | None = None,
        *,
        multiplier: int = 0,
        rescored_by: Tensor | None = None,
    ) -> Any:
        """The nearest codes: [Q, 10] without rescoring, else all candidates and their scores."""
        gallery = rows[self.pairs.gallery.to(rows.device)]
        codes = QuantisedGallery(gallery, precision, str(self.metric), ranges)
        queries = rows[self.pairs.queries.to(rows.device)]
        if not multiplier:
            found, _ = codes.nearest(queries, N_OVERLAP, exclude=self.pairs.exclude)
            return found.cpu()
        floats = None if rescored_by is None else gallery
        n_candidates = min(self._n_found * multiplier, max(self._n_found, len(gallery)))
        found, scores = codes.nearest(
            queries, n_candidates, rescore_multiplier=1, rows=floats, exclude=self.pairs.exclude
        )
        return found.cpu(), scores.cpu()

    def _add(
        self, row: str, scores: RetrievalScores, neighbours: Tensor | None, size: float
    ) -> None:
        own = {"bytes_per_row": size, **named_scores(scores, self.ks)}
        if neighbours is not None:
            shared = overlaps(neighbours, self.float_neighbours)
            own[f"overlap@{N_OVERLAP}"] = float(shared.nanmean())
            every = torch.full((len(self.evaluated.file.ids),), torch.nan, dtype=torch.float64)
            every[self.pairs.queries] = shared
            self.result.drawn[f"{row}/overlap@{N_OVERLAP}"] = weighted_mean(every)
        self.result.rows[row] = {**own, **self.result.rows.get(row, {})}
        self.result.queries[row] = scores.rows

    def _principal_components(self, train: Companion | None) -> None:
        """Adds the scores of the training rows' principal components, of the lengths below D."""
        shorter = [dim for dim in self.dims if dim < self.dim]
        if not shorter or self.metric is None:
            return
        if train is None:
            self.result.notes.append(
                "no principal components to compare prefixes with, for lack of a file of training "
                "rows beside; --pca-from names one"
            )
            return
        self.result.about["pca_from"] = train.name
        components = PrincipalComponents.of(compared(train.embeddings, self.evaluated.geometry))
        rows = rows_to_compare(self.evaluated)
        for dim in shorter:
            with self._progress(f"{dim} principal components"):
                short = components.project(rows, dim)
                if self.evaluated.geometry.name == "cosine":
                    short = self.evaluated.geometry.project(short)
                scores = retrieval(
                    short, self.evaluated.file.ids, metric=self.metric, ks=self.ks,
                    **which_rows(self.evaluated, self.options),
                )  # fmt: skip
                self._add(f"pca_{dim}/float32", scores, self._nearest(short), 4.0 * dim)

    def _progress(self, what: str) -> Progress:
        return Progress(f"Ranking {len(self.evaluated.file.ids):,} rows, {what}")


def cut_to(evaluated: EvaluatedFile, dim: int) -> EvaluatedFile:
    """The file with the first `dim` coordinates of its embeddings."""
    file = evaluated.file
    rows = np.ascontiguousarray(file.embeddings[:, :dim])
    return replace(evaluated, file=replace(file, embeddings=rows, class_weights=None))


def _dims(asked: tuple[int, ...], dim: int) -> list[int]:
    """The lengths to score, D last."""
    too_long = [m for m in asked if m > dim]
    if too_long:
        raise ValueError(f"--dims {too_long[0]}: the embeddings have {dim} dimensions")
    return sorted({*asked, dim})
