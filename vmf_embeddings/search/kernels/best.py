"""Compiled: the best scores that each line, and each column, of many tiles has seen.

What a line has seen lies in a heap of fixed size whose first entry is the worst: a better score
takes its place.
"""

import numpy as np

from vmf_embeddings import native

CHUNK = 64  # scores that are compared at once before any of them is looked at


@native.compiled(fastmath={"reassoc", "nsz"})
def _n_above(scores: np.ndarray, shift: np.ndarray, worst: np.ndarray) -> float:
    """How many of scores [n] less shift [n or 1] are above worst [n or 1]."""
    count = np.float32(0)
    if len(worst) == 1:
        for j in range(len(scores)):
            count += np.float32(1) if scores[j] - shift[j] > worst[0] else np.float32(0)
    else:
        for j in range(len(scores)):
            count += np.float32(1) if scores[j] - shift[0] > worst[j] else np.float32(0)
    return count


@native.compiled()
def _replace_worst(scores: np.ndarray, columns: np.ndarray, score: float, column: int) -> None:
    """Put a score in place of the first and worst of a heap [n]."""
    n, place = len(scores), 0
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[place], columns[place] = scores[child], columns[child]
        place = child
    scores[place], columns[place] = score, column


@native.compiled()
def keep_best_of_lines(
    tile: np.ndarray, shift: np.ndarray, column: int, scores: np.ndarray, columns: np.ndarray
) -> None:
    """Let every line of a tile see its scores.

    Args:
        tile: [I, J] float32.
        shift: [J] what is subtracted from every column.
        column: number of column 0.
        scores: [I, n] heaps, -inf where nothing was seen.
        columns: [I, n] int64 numbers of the columns of these scores.
    """
    for i in range(tile.shape[0]):
        best = scores[i]
        for start in range(0, tile.shape[1], CHUNK):
            end = min(start + CHUNK, tile.shape[1])
            if _n_above(tile[i, start:end], shift[start:end], best[:1]) == 0:
                continue
            for j in range(start, end):
                score = tile[i, j] - shift[j]
                if score > best[0]:
                    _replace_worst(best, columns[i], score, column + j)


@native.compiled()
def keep_best_of_columns(
    tile: np.ndarray, shift: np.ndarray, row: int, scores: np.ndarray, rows: np.ndarray
) -> None:
    """Let every column of a tile see its scores.

    Args:
        tile: [I, J] float32.
        shift: [I] what is subtracted from every line.
        row: number of line 0.
        scores: [J, n] heaps, -inf where nothing was seen.
        rows: [J, n] int64 numbers of the lines of these scores.
    """
    worst = scores[:, 0].copy()
    for i in range(tile.shape[0]):
        for start in range(0, tile.shape[1], CHUNK):
            end = min(start + CHUNK, tile.shape[1])
            if _n_above(tile[i, start:end], shift[i : i + 1], worst[start:end]) == 0:
                continue
            for j in range(start, end):
                score = tile[i, j] - shift[i]
                if score > worst[j]:
                    _replace_worst(scores[j], rows[j], score, row + i)
                    worst[j] = scores[j, 0]
