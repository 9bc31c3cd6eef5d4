"""Nearest neighbours in a gallery that is held as bytes or bits, with or without rescoring."""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.search.exact import METRICS, order_ties
from vmf_embeddings.search.hamming import hamming_nearest
from vmf_embeddings.search.precision import full_float32_products
from vmf_embeddings.search.quantisation import Precision, Ranges, dequantise, quantise, signs

_BLOCK_ROWS = 4096
_BLOCK_QUERIES = 1024


class QuantisedGallery:
    """Codes of gallery rows, and the neighbours of float queries among them.

    Bytes are compared as code * step + low with the float query; bits by Hamming distance with the
    query's bits.

    Args:
        gallery: float [G, D], projected for the metric (`Geometry.project`); only its codes are
            kept.
        precision: of the codes, see `quantise`.
        metric: "ip" (inner product) or "l2" (negative squared distance).
        ranges: of the dimensions, for bytes, from other rows than the gallery; None = its own.

    Attributes:
        codes: [G, D] bytes or [G, ceil(D / 8)] packed bits.
        ranges: of the dimensions, for bytes; None for others.
    """

    def __init__(
        self,
        gallery: Tensor,
        precision: Precision | str,
        metric: str = "ip",
        ranges: Ranges | None = None,
    ) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric={metric!r} is unknown; known: {', '.join(METRICS)}")
        rows = gallery.detach().cpu().numpy()
        self.precision, self.metric, self.dim = precision, metric, rows.shape[1]
        is_bytes = precision in ("int8", "uint8")
        self.ranges = (ranges or Ranges.of(rows)) if is_bytes else None
        self.codes = quantise(rows, precision, self.ranges)

    @property
    def by_bits(self) -> bool:
        """Whether rows are compared by Hamming distance."""
        return self.precision in ("binary", "ubinary")

    def nearest(
        self,
        queries: Tensor,
        k: int,
        *,
        rescore_multiplier: int = 0,
        rows: Tensor | None = None,
        exclude: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The k nearest rows of every query.

        Args:
            queries: float [Q, D], projected.
            k: >= 1.
            rescore_multiplier: m >= 1: the best k * m rows by code are compared once more, in
                float64; 0 = none are.
            rows: the gallery's float rows [G, D], for that; None = of bits, the query's inner
                product with vectors of -1 and 1.
            exclude: [Q] or [Q, E] gallery rows to leave out per query; -1 for none.

        Returns:
            Indices int64 [Q, k], -1 where the gallery has fewer rows, and scores float64 [Q, k],
            there -inf: larger = nearer; minus the Hamming distance for bits that are not rescored.
        """
        if k < 1 or rescore_multiplier < 0:
            raise ValueError(
                f"expected k >= 1 and rescore_multiplier >= 0, got {k} and {rescore_multiplier}"
            )
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(
                f"queries {list(queries.shape)} and gallery [{len(self.codes)}, {self.dim}] differ "
                "in columns"
            )
        columns = None
        if exclude is not None:
            columns = exclude[:, None] if exclude.ndim == 1 else exclude
        find = self._by_hamming if self.by_bits else self._by_values
        n_candidates = min(k * max(1, rescore_multiplier), max(k, len(self.codes)))
        found, scores = find(queries, n_candidates, columns)
        if rescore_multiplier:
            found, scores = self._rescored(queries, found, rows)
        return found[:, :k], scores[:, :k]

    def _by_hamming(self, queries: Tensor, k: int, exclude: Tensor | None) -> tuple[Tensor, Tensor]:
        bits = quantise(queries.detach().cpu().numpy(), self.precision)
        without = None if exclude is None else exclude.cpu().numpy()
        found, distances = (
            torch.from_numpy(a) for a in hamming_nearest(bits, self.codes, k, without)
        )
        scores = torch.where(found >= 0, -distances.double(), -torch.inf)
        return found.to(queries.device), scores.to(queries.device)

    def _by_values(self, queries: Tensor, k: int, exclude: Tensor | None) -> tuple[Tensor, Tensor]:
        """By float32 products with the values that bytes stand for, a block of them at a time."""
        found = queries.new_full((len(queries), k), -1, dtype=torch.int64)
        scores = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float64)
        with full_float32_products(queries.device):
            for first in range(0, len(self.codes), _BLOCK_ROWS):
                values = self._values(first, first + _BLOCK_ROWS).to(queries.device)
                for begin in range(0, len(queries), _BLOCK_QUERIES):
                    part = slice(begin, begin + _BLOCK_QUERIES)
                    own = METRICS[self.metric](queries[part].float(), values)
                    if exclude is not None:
                        _exclude(own, exclude[part].to(own.device) - first)
                    best = own.topk(min(k, own.shape[1]), dim=1)
                    numbers = torch.where(best.values == -torch.inf, -1, best.indices + first)
                    every = torch.cat([found[part], numbers], 1)
                    of_every = torch.cat([scores[part], best.values.double()], 1)
                    every, of_every = order_ties(every, of_every)
                    found[part], scores[part] = every[:, :k], of_every[:, :k]
        return found, scores

    def _values(self, first: int, last: int) -> Tensor:
        """What the codes of rows stand for, float32."""
        codes = self.codes[first:last]
        if self.ranges is None:
            return torch.from_numpy(codes)
        offset = 128 if self.precision == "int8" else 0
        low, step = self.ranges.low + offset * self.ranges.step, self.ranges.step
        values = torch.from_numpy(codes).float()
        return values * torch.from_numpy(step).float() + torch.from_numpy(low).float()

    def _rescored(
        self, queries: Tensor, found: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The rows found, compared once more, best first."""
        scores = queries.new_empty(found.shape, dtype=torch.float64)
        for first in range(0, len(queries), _BLOCK_QUERIES // 8):
            part = slice(first, first + _BLOCK_QUERIES // 8)
            places = found[part].clamp_min(0)
            others = self._floats(places, rows).to(queries.device).double()
            own = queries[part].double()
            if self.metric == "ip" or (rows is None and self.by_bits):
                scores[part] = torch.einsum("qd,qkd->qk", own, others)
            else:
                scores[part] = -(own[:, None] - others).square().sum(-1)
        scores[found < 0] = -torch.inf
        return order_ties(found, scores)

    def _floats(self, places: Tensor, rows: Tensor | None) -> Tensor:
        """Rows [Q, K, D] for rescoring: the floats, or what the codes stand for."""
        if rows is not None:
            return rows[places.to(rows.device)]
        numbers = places.cpu().numpy()
        if self.by_bits:
            kept = self.codes[numbers.ravel()]
            return torch.from_numpy(signs(kept, self.dim)).view(*places.shape, -1)
        if self.ranges is None:
            return torch.from_numpy(self.codes[numbers])
        kept = dequantise(self.codes[numbers.ravel()], self.ranges)
        return torch.from_numpy(kept).view(*places.shape, -1)


def _exclude(scores: Tensor, columns: Tensor) -> None:
    """Sets the scores [Q, G] of columns [Q, E] to -inf; those outside are ignored."""
    line, entry = ((columns >= 0) & (columns < scores.shape[1])).nonzero(as_tuple=True)
    scores[line, columns[line, entry]] = -torch.inf


def overlap(found: np.ndarray | Tensor, other: np.ndarray | Tensor) -> float:
    """Mean over queries of the fraction of `other`'s neighbours that are also in `found`.

    Args:
        found: indices [Q, k]; -1 for none.
        other: indices [Q, k], such as those of the float rows.

    Returns:
        In [0, 1]; NaN where `other` has none.

    Example:
        >>> overlap(np.array([[0, 1]]), np.array([[1, 2]]))
        0.5
    """
    return float(overlaps(found, other).nanmean())


def overlaps(found: np.ndarray | Tensor, other: np.ndarray | Tensor) -> Tensor:
    """The fraction of every query, float64 [Q]; see `overlap`."""
    ours, theirs = torch.as_tensor(found), torch.as_tensor(other)
    wanted = theirs >= 0
    shared = (theirs[:, :, None] == ours[:, None, :]).any(2) & wanted
    return shared.sum(1).double() / wanted.sum(1)
