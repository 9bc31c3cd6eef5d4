"""Counts of all pairs of rows by score, without holding the pairs.

Tiles of rounded scores are counted in narrow bins; the pairs of bins that may matter are listed, to
be scored again in float64. So the memory is that of a few tiles, the bins and the listed pairs,
however many pairs there are.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings import native, threads
from vmf_embeddings.search.exact import Similarity
from vmf_embeddings.search.pair_scores import ExactScorer
from vmf_embeddings.search.products import Products
from vmf_embeddings.search.ranks import Progress

N_BINS = 2**16
TILE_ROWS = 2048
MOST_LISTED = 20_000_000  # 24 bytes each


@dataclass(frozen=True)
class PairSet:
    """Pairs of rows and how they are compared.

    Args:
        rows: [N, D], projected for the similarity.
        codes: int64 [N], classes.
        images: int64 [N]; pairs of rows of one image are left out.
        metric: "ip" or "l2" if it gives the order of `similarity`, else None.
        similarity: takes [n, D] and [m, D] in float64, gives [n, m].
        queries: int64 [Q] row numbers, with `gallery`; None = every pair of two rows once.
        gallery: int64 [G] row numbers; a row is not compared with itself.
    """

    rows: Tensor
    codes: Tensor
    images: Tensor
    metric: str | None
    similarity: Similarity
    queries: Tensor | None = None
    gallery: Tensor | None = None

    def sides(self) -> tuple[Tensor, Tensor]:
        """Row numbers of the left and of the right side of all pairs."""
        every = torch.arange(len(self.rows))
        if self.queries is None or self.gallery is None:
            return every, every
        return self.queries, self.gallery

    @property
    def once(self) -> bool:
        """Whether every pair of two rows is taken once, instead of every query and gallery row."""
        return self.queries is None

    def n_pairs(self) -> tuple[int, int]:
        """Number of pairs of one class, and of different classes."""
        left, right = self.sides()

        def of(codes: Tensor) -> int:
            """Pairs whose codes are equal, ordered."""
            of_left = torch.bincount(codes[left], minlength=int(codes.max()) + 1)
            return int((of_left * torch.bincount(codes[right], minlength=len(of_left))).sum())

        both = self.codes * (int(self.images.max()) + 1) + self.images
        images = torch.unique(self.images, return_inverse=True)[1]
        both = torch.unique(both, return_inverse=True)[1]
        same = of(self.codes) - of(both)
        different = len(left) * len(right) - of(images) - same
        return (same // 2, different // 2) if self.once else (same, different)

    def scores(self, left: Tensor, right: Tensor) -> Tensor:
        """Float64 similarities [P] of pairs of row numbers."""
        if self.metric is not None:
            compiled = self.rows.device.type == "cpu" and native.enabled(
                left.numel() * self.rows.shape[1]
            )
            squared = self.metric == "l2"
            scorer = ExactScorer(torch.zeros(0), self.rows, squared, compiled)
            return scorer.score(left, right).cpu().mul_(2 if squared else 1)
        out = [torch.zeros(0, dtype=torch.float64)]
        step = max(1, 2**22 // self.rows.shape[1])
        for sides in zip(left.split(step), right.split(step), strict=True):
            x, y = (self.rows[side.to(self.rows.device)].double() for side in sides)
            out.append(_one_by_one(self.similarity, x, y).cpu())
        return torch.cat(out)


@dataclass(frozen=True)
class PairCounts:
    """Pairs by score.

    Args:
        low: score at which bin 0 begins.
        width: of a bin, > 0.
        counts: int64 [2, B], pairs of different and of equal classes by rounded score.
        error: largest error of a rounded score.
        flagged: bool [B], bins whose pairs are listed.
        listed: int64 [M, 3], row numbers of both sides of a pair, and its bin.
        complete: whether all pairs of flagged bins are listed.
    """

    low: float
    width: float
    counts: Tensor
    error: float
    flagged: Tensor
    listed: Tensor
    complete: bool


class PairCounter:
    """Counts the pairs of a set, as often as asked.

    Args:
        pairs: what is compared.
        low: score at which bin 0 begins.
        high: score at which the last bin ends.
    """

    def __init__(self, pairs: PairSet, low: float, high: float) -> None:
        self.pairs, self.low = pairs, low
        self.width = max(high - low, 1e-30) / N_BINS
        self._products, self._factor, self.error = None, 1.0, 0.0
        if pairs.metric is not None:
            self._products = Products(pairs.rows.cpu(), pairs.metric)
            self._factor = 2.0 if pairs.metric == "l2" else 1.0  # its scores are half of -|x-y|^2
            largest, n = float(self._products.norms.max()), pairs.rows.shape[1]
            size = 2 * largest**2 * self._factor
            self.error = (n + 16) * torch.finfo(self._products.start_dtype()).eps / 2 * size

    def count(self, flagged: Tensor, progress: Progress | None = None) -> PairCounts:
        """One pass over all pairs.

        Args:
            flagged: bool [B], bins whose pairs are listed, up to `MOST_LISTED`.
            progress: called with the fraction of the work that is done.
        """
        counts, listed = torch.zeros(2, N_BINS, dtype=torch.int64), []
        lock, done = threading.Lock(), [0, 0]
        tiles = list(self._tiles())
        compiled = native.enabled(len(self.pairs.rows) ** 2)

        def count_tile(tile: tuple[Tensor, Tensor, bool]) -> None:
            own, pairs = self._count_tile(*tile, flagged, compiled)
            with lock:
                counts.add_(own)
                done[0] += 1
                done[1] += len(pairs)
                if done[1] <= MOST_LISTED:
                    listed.append(pairs)
                if progress is not None:
                    progress(done[0] / len(tiles))

        threads.each(count_tile, tiles)
        every = torch.cat(listed) if listed else torch.zeros(0, 3, dtype=torch.int64)
        complete = done[1] <= MOST_LISTED
        return PairCounts(
            self.low, self.width, counts, self.error, flagged.clone(), every, complete
        )

    def _tiles(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Row numbers of both sides of every tile, and whether only j > i counts."""
        left, right = self.pairs.sides()
        for number, rows in enumerate(left.split(TILE_ROWS)):
            for other, columns in enumerate(right.split(TILE_ROWS)):
                if not self.pairs.once or other >= number:
                    yield rows, columns, self.pairs.once and other == number

    def _count_tile(
        self, left: Tensor, right: Tensor, diagonal: bool, flagged: Tensor, compiled: bool
    ) -> tuple[Tensor, Tensor]:
        """Counts [2, B] of a tile, and its pairs in flagged bins as in `PairCounts.listed`."""
        scores = self._tile_scores(left, right)
        codes = self.pairs.codes[left], self.pairs.codes[right]
        images = self.pairs.images[left], self.pairs.images[right]
        counter = _count_compiled if compiled else _count
        bins = self.low, 1 / self.width
        counts, places = counter(scores, codes, images, diagonal, bins, flagged)
        return counts, torch.stack([left[places[:, 0]], right[places[:, 1]], places[:, 2]], 1)

    def _tile_scores(self, left: Tensor, right: Tensor) -> Tensor:
        if self._products is None:
            rows = self.pairs.rows
            return self.pairs.similarity(
                rows[left.to(rows.device)].double(), rows[right.to(rows.device)].double()
            ).cpu()
        dtype = self._products.start_dtype()
        queries = self._products.operand(left, dtype, is_query=True)
        scores = queries @ self._products.operand(right, dtype, is_query=False).T
        return scores if self._factor == 1 else scores.mul_(self._factor)


def _count(
    scores: Tensor,
    codes: tuple[Tensor, Tensor],
    images: tuple[Tensor, Tensor],
    diagonal: bool,
    bins: tuple[float, float],
    flagged: Tensor,
) -> tuple[Tensor, Tensor]:
    """As the kernel `count_tile`, in PyTorch; places and bins of flagged pairs int64 [M, 3]."""
    low, scale = bins
    taken = images[0][:, None] != images[1]
    if diagonal:
        taken = taken.triu(1)
    place = ((scores - low) * scale).clamp(0, N_BINS - 1).long()
    same = codes[0][:, None] == codes[1]
    counts = torch.bincount((place + N_BINS * same)[taken], minlength=2 * N_BINS)
    found = (taken & flagged[place]).nonzero()
    bins_found = place[found[:, 0], found[:, 1], None]
    return counts.view(2, N_BINS), torch.cat([found, bins_found], 1)


def _count_compiled(
    scores: Tensor,
    codes: tuple[Tensor, Tensor],
    images: tuple[Tensor, Tensor],
    diagonal: bool,
    bins: tuple[float, float],
    flagged: Tensor,
) -> tuple[Tensor, Tensor]:
    from vmf_embeddings.search.kernels.pair_counts import count_tile

    counts = torch.zeros(2, N_BINS, dtype=torch.int64)
    found = torch.empty(2**14, 3, dtype=torch.int32)
    arrays = [tuple(x.numpy() for x in pair) for pair in (codes, images)]
    flags = flagged.view(torch.uint8).numpy()
    while True:
        n_found = count_tile(
            scores.numpy(), *arrays, diagonal, *bins, flags, counts.numpy(), found.numpy()
        )
        if n_found <= len(found):
            return counts, found[:n_found].long()
        counts.zero_()
        found = torch.empty(n_found, 3, dtype=torch.int32)


def _one_by_one(similarity: Similarity, x: Tensor, y: Tensor) -> Tensor:
    """Similarities of row i of x with row i of y, from small matrices of all."""
    return torch.cat([similarity(a, b).diagonal() for a, b in zip(x.split(64), y.split(64),
                                                                strict=True)])  # fmt: skip
