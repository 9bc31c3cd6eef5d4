"""Arrays that stay in their files: mapped into memory, writeable, and never written back.

Pages are read when they are first used. A page that is written to becomes a private copy, so that
torch may share such an array without harm to the file. Whoever shortens a file that is in use ends
the process that reads it: files are replaced under another name, as this package does.
"""

import ctypes
import math
import mmap
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

LARGE = 16 * 2**20  # bytes; smaller arrays are read, which compares checksums and closes the file
_PRIVATE = mmap.MAP_PRIVATE
# without it, Linux refuses to map more than the memory of the machine for writing
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_FIXED = 0x10
_WRITEABLE = mmap.PROT_READ | mmap.PROT_WRITE


class Place(NamedTuple):
    """Where the values of an array lie: in an open file, from byte `start` on, `size` bytes."""

    stream: BinaryIO
    start: int
    size: int


def map_array(
    place: Place,
    dtype: np.dtype,
    shape: tuple[int, ...],
    order: Literal["C", "F"] = "C",
) -> np.ndarray:
    """An array that lies in one piece in a file, copy-on-write; its size was checked before.

    Args:
        place: where; `size` is that of the array, above 0.
        dtype: of its values.
        shape: of the array.
        order: of its values.
    """
    before = place.start % mmap.ALLOCATIONGRANULARITY
    region = mmap.mmap(
        place.stream.fileno(), before + place.size, flags=_PRIVATE | _NORESERVE, prot=_WRITEABLE,
        offset=place.start - before,
    )  # fmt: skip
    return np.ndarray(shape, dtype, buffer=region, offset=before, order=order)


def map_rows(
    places: Callable[[], Iterator[Place]], dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """An array whose rows lie in several files, one after another, as one array, copy-on-write.

    Files whose values begin at a page and fill whole pages (the last need not) are mapped side by
    side. Others, as on machines with larger pages, are read into memory.

    Args:
        places: gives the parts in order, each with its file open until the next is asked for;
            together they have the size of the array. Called several times.
        dtype: of the values.
        shape: of the whole array.
    """
    starts_and_sizes = [(place.start, place.size) for place in places()]
    if len(starts_and_sizes) == 1:
        (array,) = (map_array(place, dtype, shape) for place in places())
        return array
    inner = [size for _, size in starts_and_sizes[:-1]]
    if any(n % mmap.PAGESIZE for n in (*inner, *(start for start, _ in starts_and_sizes))):
        return read_rows(places, dtype, shape)
    total = math.prod(shape) * dtype.itemsize
    region = mmap.mmap(-1, total, flags=_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE, prot=_WRITEABLE)
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    system.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64)
    address = ctypes.addressof(ctypes.c_char.from_buffer(region))
    flags = _PRIVATE | _FIXED | _NORESERVE
    for place in places():  # each replaces a part of the region, which closes them all together
        descriptor = place.stream.fileno()
        found = system.mmap(address, place.size, _WRITEABLE, flags, descriptor, place.start)
        if found != address:
            raise OSError(ctypes.get_errno(), "a part of an array cannot be mapped into memory")
        address += place.size
    return np.ndarray(shape, dtype, buffer=region)


def read_rows(
    places: Callable[[], Iterator[Place]], dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """As `map_rows`, read into memory."""
    array = np.empty(shape, dtype)
    content = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
    done = 0
    for place in places():
        place.stream.seek(place.start)
        n_read = place.stream.readinto(content[done : done + place.size])  # type: ignore[attr-defined]
        if n_read != place.size:
            raise ValueError(f"{place.size - (n_read or 0):,} bytes of an array are missing")
        done += place.size
    return array


def lies_in_file(array: np.ndarray) -> bool:
    """Whether the values of an array are those of a file that is mapped into memory."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)
