"""Exact nearest neighbours of packed bits by Hamming distance."""

import numpy as np
import torch

from vmf_embeddings import native, threads
from vmf_embeddings.search.quantisation import unsigned

_WORD = 8  # bytes that are compared at once
_BLOCK_PAIRS = 2**22
_LEAST_PAIRS = 2**20  # fewer are not worth another thread
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def hamming_nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k gallery rows of fewest differing bits of every query; ties by the smaller index.

    Args:
        queries: packed bits [Q, B], uint8 or int8, of `quantise`.
        gallery: [G, B], likewise.
        k: >= 1.
        exclude: int64 [Q, E] gallery rows that are left out per query; -1 for none.

    Returns:
        Indices int64 [Q, k], -1 where the gallery has fewer rows, and distances int32 [Q, k], there
        -1.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> bits = np.array([[0b1111], [0b0001], [0b0000]], np.uint8)
        >>> hamming_nearest(bits[:1], bits, 2)[1].tolist()
        [[0, 3]]
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or k < 1:
        raise ValueError(
            f"expected bits [Q, B] and [G, B] and k >= 1, got {list(queries.shape)}, "
            f"{list(gallery.shape)} and {k}"
        )
    none = np.full((len(queries), 1), -1, np.int64)
    exclude = none if exclude is None else np.ascontiguousarray(exclude, np.int64)
    if exclude.ndim != 2 or len(exclude) != len(queries) or exclude.max(initial=-1) >= len(gallery):
        raise ValueError(
            f"exclude: expected rows below {len(gallery)}, [{len(queries)}, E], got up to "
            f"{exclude.max(initial=-1)}, {list(exclude.shape)}"
        )
    columns = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), -1, np.int32)
    if len(gallery) == 0 or queries.shape[1] == 0 or len(queries) == 0:
        return columns, distances
    words, lines = _words(queries), np.ascontiguousarray(_words(gallery).T)
    if native.enabled():
        from vmf_embeddings.search.kernels.hamming import nearest_rows

        def work(first: int, end: int) -> None:
            part = slice(first, end)
            nearest_rows(words[part], lines, exclude[part], columns[part], distances[part])

        threads.in_threads(work, len(words), least=max(1, _LEAST_PAIRS // len(gallery)))
        return columns, distances
    step = max(1, _BLOCK_PAIRS // len(gallery))
    for first in range(0, len(words), step):
        part = slice(first, first + step)
        _nearest_rows(words[part], lines, exclude[part], columns[part], distances[part])
    return columns, distances


def _words(bits: np.ndarray) -> np.ndarray:
    """Packed bits [N, B] as words uint64 [N, W], filled up with zeros."""
    rows = unsigned(bits)
    padded = np.zeros((len(rows), -(-rows.shape[1] // _WORD) * _WORD), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view(np.uint64)


def _nearest_rows(
    queries: np.ndarray,
    gallery: np.ndarray,
    exclude: np.ndarray,
    columns: np.ndarray,
    distances: np.ndarray,
) -> None:
    """The compiled function of this name in NumPy and PyTorch."""
    distance = np.zeros((len(queries), gallery.shape[1]), np.int64)
    for place in range(len(gallery)):
        distance += _count_ones(queries[:, place, None] ^ gallery[place])
    line, entry = (exclude >= 0).nonzero()
    far = 64 * len(gallery) + 1
    distance[line, exclude[line, entry]] = far
    n_found = min(columns.shape[1], gallery.shape[1])
    # one number that orders by distance, then by row
    keys = torch.from_numpy(distance * gallery.shape[1] + np.arange(gallery.shape[1]))
    best = keys.topk(n_found, dim=1, largest=False).values.numpy()
    found, row = np.divmod(best, gallery.shape[1])
    columns[:, :n_found] = np.where(found < far, row, -1)
    distances[:, :n_found] = np.where(found < far, found, -1)


def _count_ones(words: np.ndarray) -> np.ndarray:
    """How many bits of each word are 1."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words)
    return _ONES[words[..., None].view(np.uint8)].sum(-1)
