"""Candidates among the rows themselves: every product of two rows is computed once, for both."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.search.precision import full_float32_products

SIDE = 1024  # of a tile: it stays in the cache of the thread that computes it


def candidates_within(rows: Tensor, metric: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """`torch_candidates` for queries that are all rows of the gallery, in half the products.

    Args:
        rows: [N, D] float32 on the CPU.
        metric: "ip" or "l2".

    Returns:
        (those rows, k) -> row numbers and scores, both [N, k], best first.
    """
    shift = rows.square().sum(1) / 2 if metric == "l2" else rows.new_zeros(len(rows))

    def fetch(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        assert len(queries) == len(rows)
        return _best(rows, shift, k)

    return fetch


def _best(rows: Tensor, shift: Tensor, k: int) -> tuple[Tensor, Tensor]:
    from vmf_embeddings.search.kernels.best import keep_best_of_columns, keep_best_of_lines

    scores = torch.full((len(rows), k), -torch.inf)
    numbers = torch.full((len(rows), k), -1)
    parts = list(zip(*(x.split(SIDE) for x in (rows, shift, scores, numbers)), strict=True))

    def compare(pair: tuple[int, int]) -> None:
        first, second = pair
        one, other = parts[first], parts[second]
        tile = (one[0] @ other[0].T).numpy()
        keep_best_of_lines(tile, other[1].numpy(), second * SIDE, one[2].numpy(), one[3].numpy())
        if first != second:
            keep_best_of_columns(
                tile, one[1].numpy(), first * SIDE, other[2].numpy(), other[3].numpy()
            )

    with full_float32_products(rows.device):
        for pairs in rounds(len(parts)):  # of a round each on its own thread
            threads.each(compare, pairs)
    scores, order = scores.sort(dim=1, descending=True)
    return numbers.gather(1, order), scores


def rounds(n: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs i <= j of 0..n-1 once, in rounds in which no number is in two pairs.

    They are those of a tournament in which all play all: one player stays, the others go round.

    >>> list(rounds(3))
    [[(0, 0), (1, 1), (2, 2)], [(1, 2)], [(0, 2)], [(0, 1)]]
    """
    yield [(i, i) for i in range(n)]
    size = n + n % 2  # with an odd number, whoever meets the last one rests
    circle = list(range(1, size))
    for _ in range(size - 1):
        table = [0, *circle]
        met = (sorted((table[i], table[-1 - i])) for i in range(size // 2))
        pairs = [(i, j) for i, j in met if j < n]
        if pairs:
            yield pairs
        circle = [circle[-1], *circle[:-1]]
