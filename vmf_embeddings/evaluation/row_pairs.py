"""Which rows of a file are compared, and scores of any ranking of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.rows import images_of
from vmf_embeddings.evaluation.spaces import which_rows
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics import MarginalScores, RetrievalScores, retrieval
from vmf_embeddings.search.same_image import rows_of_same_image

_BLOCK_ROWS = 4096
PairScores = Callable[[Tensor, Tensor], Tensor]
"""Row numbers of queries [Q] and of gallery rows [G] -> scores [Q, G], larger = nearer."""


def rows_to_compare(evaluated: EvaluatedFile) -> Tensor:
    """The file's embeddings [N, D] after `geometry.project`, on the GPU if there is one.

    Projected rows are float64. Rows that the geometry does not project stay float32, as stored.
    """
    return compared(evaluated.file.embeddings, evaluated.geometry)


def compared(embeddings: np.ndarray, geometry: Geometry) -> Tensor:
    """As `rows_to_compare`, of any embeddings [N, D]."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = torch.from_numpy(np.ascontiguousarray(embeddings)).to(device)
    project = geometry.project
    if project(rows[:1]).data_ptr() == rows.data_ptr():
        return rows
    # by blocks: a float64 copy of all rows before projection would double the memory
    projected = torch.empty(rows.shape, dtype=torch.float64, device=device)
    for target, part in zip(projected.split(_BLOCK_ROWS), rows.split(_BLOCK_ROWS), strict=True):
        target.copy_(project(part.double()))
    return projected


def named_scores(
    found: RetrievalScores | MarginalScores, ks: Sequence[int], *, of_all_ranks: bool = True
) -> dict[str, float]:
    """Scores under the names that they have in metrics.json.

    Args:
        found: the scores.
        ks: the k of Recall@k.
        of_all_ranks: whether those are included that need the ranks of all positives.
    """
    of_nearest = {
        **{f"recall@{k}": found.recall[k] for k in ks},
        "map@r": found.map_at_r,
        "r_precision": found.r_precision,
    }
    if not of_all_ranks:
        return of_nearest
    return {
        **of_nearest,
        "mean_average_precision": found.mean_average_precision,
        "mean_reciprocal_rank": found.mean_reciprocal_rank,
    }


@dataclass(frozen=True)
class QueriesAndGallery:
    """Row numbers of queries and gallery, and what a query is not compared with.

    Args:
        queries: int64 [Q].
        gallery: int64 [G].
        exclude: int64 [Q, E] places in the gallery of the query itself and of rows of its image; -1
            for none.
    """

    queries: Tensor
    gallery: Tensor
    exclude: Tensor

    @classmethod
    def of(cls, evaluated: EvaluatedFile) -> "QueriesAndGallery":
        """Those of a file."""
        file = evaluated.file
        every = torch.arange(len(file.ids))
        queries, gallery = (
            every if mask is None else torch.as_tensor(mask).nonzero().squeeze(1)
            for mask in (file.is_query, file.is_gallery)
        )
        images = images_of(evaluated)
        images = every if images is None else images
        return cls(queries, gallery, rows_of_same_image(images[queries], images[gallery]))


def scores_of_ranking(
    score: PairScores, evaluated: EvaluatedFile, options: EvaluationOptions, ks: list[int]
) -> RetrievalScores:
    """Retrieval scores where queries rank the gallery by any scores of pairs of rows.

    Args:
        score: called with blocks of queries, and every time with the same tensor of gallery rows.
        evaluated: the file: labels, queries, gallery, images.
        options: rule for ties, labels to ignore.
        ks: the k of Recall@k.
    """
    numbers = torch.arange(len(evaluated.file.ids), dtype=torch.float64)[:, None]
    seen: list[Tensor] = []  # the last gallery, and its row numbers

    def similarity(queries: Tensor, gallery: Tensor) -> Tensor:
        if not seen or seen[0] is not gallery:
            seen[:] = [gallery, gallery[:, 0].long()]
        return score(queries[:, 0].long(), seen[1]).double().cpu()

    return retrieval(
        numbers,
        evaluated.file.ids,
        similarity=similarity,
        ks=ks,
        **which_rows(evaluated, options),
    )


class MatrixScores:
    """Scores of pairs as a similarity of two sets of rows, which may differ.

    Args:
        queries: [N, D], by row number; those of queries are used.
        gallery: [N, D], likewise.
        similarity: takes [Q, D] and [G, D], gives [Q, G].
    """

    def __init__(
        self, queries: Tensor, gallery: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.queries, self.gallery, self.similarity = queries, gallery, similarity
        self._chosen: tuple[Tensor, Tensor] | None = None

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Row numbers [Q] and [G] -> scores float64 [Q, G]."""
        if self._chosen is None or self._chosen[0] is not gallery:
            rows = self.gallery[gallery.to(self.gallery.device)].double()
            self._chosen = gallery, rows
        return self.similarity(
            self.queries[queries.to(self.queries.device)].double(), self._chosen[1]
        )


class CandidatesFirst:
    """Scores of pairs by which candidates come first, by their own scores, then all others.

    Args:
        vectors: [N, D] of -1 and 1; the others are ranked by their inner products.
        pairs: queries and gallery.
        candidates: places in the gallery [Q, K]; -1 for none.
        scores: of the candidates [Q, K], larger = nearer.
    """

    def __init__(
        self, vectors: Tensor, pairs: QueriesAndGallery, candidates: Tensor, scores: Tensor
    ) -> None:
        self.vectors, self.candidates, self.scores = vectors.double(), candidates, scores
        n_rows = len(vectors)
        self.line = torch.full((n_rows,), -1).scatter_(
            0, pairs.queries, torch.arange(len(pairs.queries))
        )
        self.row_of_place = pairs.gallery
        self._n_rows = n_rows

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Row numbers [Q] and [G] -> scores [Q, G]."""
        others = self.vectors[queries] @ self.vectors[gallery].T
        lines = self.line[queries]
        found, scores = self.candidates[lines], self.scores[lines]
        known = found >= 0
        lowest = torch.where(known, scores, torch.inf).amin(1, keepdim=True).nan_to_num(posinf=0)
        ranked = others - self.vectors.shape[1] - 1 + lowest
        column = torch.full((self._n_rows,), -1).scatter_(0, gallery, torch.arange(len(gallery)))
        columns = column[self.row_of_place[found.clamp_min(0)]]
        line, place = known.nonzero(as_tuple=True)
        ranked[line, columns[line, place]] = scores[line, place]
        return ranked
