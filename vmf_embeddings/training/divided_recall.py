"""Recall@k of rows that are divided among processes, by rounds.

In each round one process sends its gallery rows, and all search them for the neighbours of their
own queries; the k nearest of all rounds are merged. A process holds its own rows and those of one
other process. Queries whose k nearest end among ties are scored again, with the rows that may
decide.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics import retrieval
from vmf_embeddings.search import nearest
from vmf_embeddings.search.exact import BLOCK_ELEMENTS, METRICS, order_ties
from vmf_embeddings.search.same_image import rows_of_same_image, same_image
from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.validate import end_among_ties, product_error

# by a similarity without a metric, equal rows of two rounds may differ by rounding: all that may be
# equal are compared again
RELATIVE_ERROR = 1e-9


def divided_recalls(
    ks: Sequence[int],
    geometry: Geometry,
    own: Tensor,
    split: Split,
    place: tuple[int, int],
    search: str,
) -> list[float]:
    """Fractions of a split's queries with their label among the k nearest other gallery rows.

    Args:
        ks: values of k, each >= 1.
        geometry: compares the embeddings.
        own: embeddings [n, D] of rows rank, rank + world, ….
        split: see `validate.recall_at`.
        place: rank of this process, and number of processes.
        search: `auto`, `torch` or `faiss`.

    Returns:
        One fraction in [0, 1] for each k, the same in every process and as of one process.
    """
    rank, world = place
    rows = _DividedRows(geometry, own, split, rank, world)
    found, scores = _nearest_of_all(rows, max(ks) + 1, search)
    hits = (rows.labels[found] == rows.labels[rows.queries][:, None]) & (found >= 0)
    recalls = torch.stack([hits[:, :k].any(1).double() for k in ks], 1)
    error = _largest(_score_error(rows, scores), own.device)
    tied = end_among_ties(ks, scores, error)
    if _largest(float(tied.any()), own.device):
        recalls[tied] = _recalls_of_tied(ks, rows, tied, scores[:, -1] - 2 * error)
    every = recalls.new_zeros(len(own), len(ks))
    every[rows.is_query[rank::world]] = recalls
    every = gather_rows(every.to(own.device), rank, world, len(rows.labels)).cpu()[rows.is_query]
    return [float(recall.sum()) / len(every) for recall in every.T.contiguous()]


class _DividedRows:
    """Projected rows of this process, and what is known of the rows of all.

    Args:
        geometry: projects and compares the embeddings.
        own: embeddings [n, D] of rows rank, rank + world, ….
        split: labels, masks and paths of all rows.
        rank: this process, in 0..world-1.
        world: number of processes.
    """

    def __init__(
        self, geometry: Geometry, own: Tensor, split: Split, rank: int, world: int
    ) -> None:
        self.geometry, self.rank, self.world = geometry, rank, world
        self.rows = geometry.project(own)
        self.labels, self.paths = split.labels.cpu(), split.paths
        n = len(self.labels)
        masks = (split.is_query, split.is_gallery)
        self.is_query, self.is_gallery = (
            torch.ones(n, dtype=torch.bool) if mask is None else mask.cpu() for mask in masks
        )
        images = same_image(split.paths)
        self.images = torch.arange(n) if images is None else images
        self.queries = self._numbers(self.is_query, rank)
        """Row numbers of this process's queries, ascending."""
        self.query_rows = self.rows[self.is_query[rank::world].to(own.device)]

    def _numbers(self, mask: Tensor, rank: int) -> Tensor:
        """Row numbers of a process where the mask [N] is True, ascending."""
        numbers = torch.arange(rank, len(mask), self.world)
        return numbers[mask[numbers]]

    def rounds(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Row numbers [G] and gallery rows [G, D] of one process after the other."""
        for sender in range(self.world):
            numbers = self._numbers(self.is_gallery, sender)
            if len(numbers) == 0:
                continue
            if sender == self.rank:
                block = self.rows[self.is_gallery[sender :: self.world].to(self.rows.device)]
            else:
                block = self.rows.new_empty(len(numbers), self.rows.shape[1])
            dist.broadcast(block, sender)
            yield numbers, block


def _nearest_of_all(rows: _DividedRows, k: int, search: str) -> tuple[Tensor, Tensor]:
    """Row numbers and float64 scores [Q, k] of the nearest gallery rows of this process's queries.

    Best first, equal scores by row number; -1 and -inf where there are fewer.
    """
    k = min(k, int(rows.is_gallery.sum()))
    found = torch.full((len(rows.queries), k), -1)
    scores = torch.full((len(rows.queries), k), -torch.inf, dtype=torch.float64)
    for numbers, block in rows.rounds():
        columns, of_block = nearest(
            rows.query_rows,
            block,
            min(k, len(block)),
            similarity=rows.geometry.similarity,
            metric=rows.geometry.faiss_metric,
            exclude=rows_of_same_image(rows.images[rows.queries], rows.images[numbers]),
            backend=search,
        )
        columns = columns.cpu()
        in_block = torch.where(columns >= 0, numbers[columns], -1)
        merged = torch.cat([found, in_block], 1), torch.cat([scores, of_block.cpu()], 1)
        found, scores = (part[:, :k] for part in order_ties(*merged))
    return found, scores


def _score_error(rows: _DividedRows, scores: Tensor) -> float:
    """More than scores of this process differ by where they may be equal."""
    finite = scores[scores.isfinite()]
    relative = RELATIVE_ERROR * float(finite.abs().max()) if len(finite) else 0.0
    if rows.geometry.faiss_metric is None:
        return relative
    return product_error(rows.rows, rows.geometry.faiss_metric)


def _largest(value: float, device: torch.device) -> float:
    """The largest of a number of every process."""
    number = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return float(number)


def _recalls_of_tied(
    ks: Sequence[int], rows: _DividedRows, tied: Tensor, threshold: Tensor
) -> Tensor:
    """Recall [T, len(ks)] of tied queries, from the gallery rows that may decide it.

    Args:
        ks: values of k.
        rows: the rows.
        tied: which of this process's queries are tied [Q] bool; there may be none.
        threshold: [Q]; gallery rows below it are farther than the k nearest and all their ties.
    """
    queries, numbers, candidates = rows.queries[tied], [], []
    query_rows = rows.query_rows[tied.to(rows.rows.device)]
    for block_numbers, block in rows.rounds():
        near = _reach(rows.geometry, query_rows, block, threshold[tied].to(block.device))
        numbers.append(block_numbers[near.cpu()])
        candidates.append(block[near])
    if len(queries) == 0:
        return torch.zeros(0, len(ks), dtype=torch.float64)
    gallery = torch.cat(numbers)
    together, order = torch.cat([queries, gallery]).unique(return_inverse=True)
    embeddings = query_rows.new_empty(len(together), query_rows.shape[1])
    embeddings[order.to(embeddings.device)] = torch.cat([query_rows, *candidates])
    scores = retrieval(
        embeddings, rows.labels[together], ks=ks, only_recall=True,
        similarity=rows.geometry.similarity, metric=rows.geometry.faiss_metric,
        is_query=torch.isin(together, queries), is_gallery=torch.isin(together, gallery),
        paths=None if rows.paths is None else [rows.paths[i] for i in together.tolist()],
    )  # fmt: skip
    return torch.stack([torch.as_tensor(scores.rows.recall[k]).cpu() for k in ks], 1).double()


def _reach(geometry: Geometry, queries: Tensor, block: Tensor, threshold: Tensor) -> Tensor:
    """Which gallery rows [G] bool have the score of some query's threshold [T], or more."""
    metric = geometry.faiss_metric
    similarity = geometry.similarity if metric is None else METRICS[metric]
    near = torch.zeros(len(block), dtype=torch.bool, device=block.device)
    gallery = block.double()
    step = max(1, BLOCK_ELEMENTS // len(block))
    for part, least in zip(queries.split(step), threshold.split(step), strict=True):
        if len(part):
            near |= (similarity(part.double(), gallery) >= least[:, None]).any(0)
    return near
