"""The exact score of a pair of rows, where rounded scores are too close to order."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings import threads

PAIRS_AT_ONCE = 2**22  # numbers held while pairs are scored
MIN_PAIRS_PER_THREAD = 128  # with fewer, starting a thread costs more than it saves


@dataclass(frozen=True)
class ExactScorer:
    """Float64 scores of pairs whose rounded scores are too close to order.

    Args:
        first_copy: [N] lowest number of a row equal to each row; equal rows have equal scores,
            whatever rounding made of them.
        rows: [N, D] what is compared, by row number; None where a tile's scores are exact.
        squared: whether rows are compared by distance instead of inner product.
        compiled: whether the kernels of `native` score and count; all of one ranking alike, as
            their sums may round otherwise.
    """

    first_copy: Tensor
    rows: Tensor | None = None
    squared: bool = False
    compiled: bool = False

    def score(self, left: Tensor, right: Tensor) -> Tensor:
        """Exact scores [P] of pairs of row numbers: x.y, or -|x - y|^2 / 2, in float64."""
        assert self.rows is not None
        out = torch.empty(len(left), dtype=torch.float64, device=self.rows.device)
        if self.compiled:
            from vmf_embeddings.search.kernels.pairs import score_pairs

            arrays = [x.numpy() for x in (left, right, out)]
            rows = self.rows.numpy()
            threads.in_threads(
                lambda begin, end: score_pairs(rows, self.squared, *arrays, begin, end),
                len(left), MIN_PAIRS_PER_THREAD,
            )  # fmt: skip
            return out
        step = max(1, PAIRS_AT_ONCE // self.rows.shape[1])
        for begin in range(0, len(left), step):
            part = slice(begin, begin + step)
            x, y = self.rows[left[part]].double(), self.rows[right[part]].double()
            out[part] = -(x - y).square().sum(1) / 2 if self.squared else (x * y).sum(1)
        return out
