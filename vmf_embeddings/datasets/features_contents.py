"""One look at all feature vectors: that they are finite, and which of them are equal."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.progress import LARGE_JOB, Progress

_BLOCK = 2**20  # numbers that are looked at together


def row_digests(vectors: np.ndarray, source: str) -> np.ndarray:
    """A hash of every vector as float32, the same whatever the format of its file.

    Args:
        vectors: [M, F] of any type of number.
        source: where they are from, for messages.

    Returns:
        uint64 [M, 2]; equal where all numbers of two vectors are equal.

    Raises:
        ValueError: naming the first vector that has NaN, infinity, or a number beyond float32.
    """
    digests = np.empty((len(vectors), 2), dtype=np.uint64)
    step = max(1, _BLOCK // vectors.shape[1])
    what = f"Reading {len(vectors):,} vectors of {vectors.shape[1]:,} numbers"
    with Progress(what, total=len(vectors), at_once=vectors.size > 1000 * LARGE_JOB) as progress:
        for start in range(0, len(vectors), step):
            with np.errstate(over="ignore"):
                block = np.asarray(vectors[start : start + step], dtype=np.float32) + np.float32(0)
            _refuse_block(block, start, source)  # adding 0 made 0 of -0, which equals it
            hashes = (hashlib.blake2b(row, digest_size=16).digest() for row in block)
            found = np.frombuffer(b"".join(hashes), dtype="<u8").reshape(-1, 2)
            digests[start : start + step] = found
            progress(start + len(block))
    return digests


def refuse_not_finite(vectors: np.ndarray, source: str) -> None:
    """Refuses vectors [M, F] of any type of number as `row_digests` does; reads them once."""
    step = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        with np.errstate(over="ignore"):
            block = np.asarray(vectors[start : start + step], dtype=np.float32)
        _refuse_block(block, start, source)


def _refuse_block(block: np.ndarray, start: int, source: str) -> None:
    finite = np.isfinite(block).all(axis=1)
    if finite.all():
        return
    row = int(np.flatnonzero(~finite)[0])
    raise ValueError(
        f"{source}: row {start + row} (counted from 0) holds NaN, infinity or a number beyond "
        "float32; leave such rows out, or write finite numbers"
    )


@dataclass(frozen=True)
class ListedVector:
    """Where a vector is listed: `row` of its file, counted from 0, in a split, under a label."""

    row: int
    split: str
    label: int


def shared_vectors(
    digests: Mapping[str, np.ndarray],
    rows: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    named: Callable[[int], str],
) -> list[str]:
    """Sentences about equal vectors that make scores worthless, or contradict each other.

    Args:
        digests: split -> uint64 [n, 2] of its vectors.
        rows: split -> int64 [n], their rows in the file.
        labels: split -> int64 [n], original class numbers.
        named: name of an original class number.
    """
    names = list(digests)
    keys = np.concatenate([digests[name] for name in names])
    splits = np.repeat(np.arange(len(names)), [len(digests[name]) for name in names])
    classes = np.concatenate([labels[name] for name in names])
    places = np.concatenate([rows[name] for name in names])
    found: dict[str, list[tuple[ListedVector, ListedVector]]] = {}
    for group in _groups_of_equals(keys):
        for where, values in (("in two splits", splits), ("under two labels", classes)):
            others = group[values[group] != values[group[0]]]
            if len(others):
                one, other = (
                    ListedVector(int(places[i]), names[splits[i]], int(classes[i]))
                    for i in (group[0], others[0])
                )
                found.setdefault(where, []).append((one, other))
                break
    return [_sentence(pairs, where, named) for where, pairs in sorted(found.items())]


def _groups_of_equals(keys: np.ndarray) -> list[np.ndarray]:
    """Positions of every key [n, 2] that is there more than once; all in order."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    is_new = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(is_new) + 1, [len(order)]])
    repeated = np.flatnonzero(np.diff(starts) > 1)
    groups = [np.sort(order[starts[i] : starts[i + 1]]) for i in repeated.tolist()]
    return sorted(groups, key=lambda group: group[0])


def _sentence(
    pairs: list[tuple[ListedVector, ListedVector]], where: str, named: Callable[[int], str]
) -> str:
    one, other = (f"row {at.row} ({at.split}, {named(at.label)})" for at in pairs[0])
    are = "is" if len(pairs) == 1 else "are"
    return (
        f"{counted(len(pairs), 'vector')} {are} there more than once, {where}, such as {one} and "
        f"{other}; keep one of each"
    )
