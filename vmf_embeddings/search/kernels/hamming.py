"""Compiled: the rows of nearest Hamming distance, by counting distances instead of sorting them."""

import numpy as np

from vmf_embeddings import native

Words = np.ndarray  # uint64


@native.compiled(inline="always")
def _ones(word: int) -> int:
    """Bits of a 64-bit word that are 1; LLVM compiles this sum of halves to one instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    low = word & np.uint64(0x3333333333333333)
    word = low + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@native.compiled()
def _distances(query: Words, gallery: Words, distance: np.ndarray) -> None:
    """Hamming distances int32 [G] of a query [W] from the rows of `gallery` [W, G]."""
    distance[:] = 0
    for place in range(len(gallery)):
        word, line = query[place], gallery[place]
        for row in range(len(line)):
            distance[row] += _ones(word ^ line[row])


@native.compiled()
def _smallest(
    distance: np.ndarray, counts: np.ndarray, columns: np.ndarray, found: np.ndarray
) -> None:
    """The k smallest distances in the order of (distance, row); the largest value counts as none.

    Args:
        distance: int32 [G], each below M.
        counts: int64 [M], overwritten.
        columns: int64 [k], receives the rows.
        found: int32 [k], receives the distances.
    """
    counts[:] = 0
    for row in range(len(distance)):
        counts[distance[row]] += 1
    total, limit = 0, -1
    for value in range(len(counts) - 1):  # `counts` becomes the first place of each distance
        if total < len(columns):
            limit = value
        n, counts[value] = counts[value], total
        total += n
    for row in range(len(distance)):
        value = distance[row]
        if value <= limit:
            place = counts[value]
            counts[value] += 1
            if place < len(columns):
                columns[place], found[place] = row, value


@native.compiled()
def nearest_rows(
    queries: Words,
    gallery: Words,
    exclude: np.ndarray,
    columns: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Fill in the k nearest rows of each query, in the order of (distance, row).

    Args:
        queries: [Q, W].
        gallery: [W, G], words of one place next to one another.
        exclude: [Q, E] rows below G to leave out; -1 for none.
        columns: int64 [Q, k], filled with -1, receives the rows.
        distances: int32 [Q, k], receives the distances.
    """
    n_words, n_rows = gallery.shape
    distance, counts = np.empty(n_rows, np.int32), np.empty(64 * n_words + 2, np.int64)
    for query in range(len(queries)):
        _distances(queries[query], gallery, distance)
        for row in exclude[query]:
            if row >= 0:
                distance[row] = len(counts) - 1
        _smallest(distance, counts, columns[query], distances[query])
