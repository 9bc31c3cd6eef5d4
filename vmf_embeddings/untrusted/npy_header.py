"""The header of an array in NumPy's format, read without trusting it."""

import math
import sys
import tokenize
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

# kinds of dtypes: plain numbers, text of a fixed length, bytes of a fixed length
NUMBERS, TEXTS, BYTES = "biuf", "U", "S"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# what evaluating a literal raises, beside ValueError
BAD_HEADER = (SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError)


class Header(NamedTuple):
    """What the header of an array claims; the data begin at byte `start`."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    start: int

    @property
    def order(self) -> Literal["C", "F"]:
        """Order of the values."""
        return "F" if self.fortran_order else "C"

    @property
    def size(self) -> int:
        """Bytes of header and data."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def check_header(stream: BinaryIO, name: str, kinds: str) -> Header:
    """Reads the header of an array at the beginning of a stream, and refuses what is not wanted.

    Args:
        stream: an `.npy`, or a member of an `.npz`.
        name: of the array, for messages.
        kinds: kinds of dtype that it may have, of `NUMBERS`, `TEXTS` and `BYTES`.

    Raises:
        ValueError: it has no such header.
    """
    version = npy.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"{name} has npy version {version}; 1.0 and 2.0 are read")
    try:
        shape, fortran_order, dtype = _READERS[version](stream)
    except BAD_HEADER as error:
        raise ValueError(f"{name} has no usable npy header") from error
    _check_dtype(dtype, name, kinds)
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"{name} claims the shape {shape}")
    return Header(shape, fortran_order, dtype, stream.tell())


def _check_dtype(dtype: np.dtype, name: str, kinds: str) -> None:
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds Python objects. Python objects are refused, for reading them could run "
            "code; write numbers or text instead, as np.asarray(values, dtype=str)"
        )
    if dtype.kind == "V" and dtype.itemsize == 2 and "f" in kinds:  # NumPy has no bfloat16
        raise ValueError(
            f"{name} has dtype {dtype}, perhaps bfloat16, which NumPy does not store; write it as "
            "float32"
        )
    if dtype.kind not in kinds:
        wanted = [w for w, of in (("numbers", NUMBERS), ("text", TEXTS)) if set(of) & set(kinds)]
        raise ValueError(f"{name} has dtype {str(dtype)[:40]}, not {' or '.join(wanted)}")
    if dtype.itemsize == 0:  # of these, no bytes would say that there are billions
        raise ValueError(f"{name} claims texts of no characters")


def check_characters(array: np.ndarray, name: str) -> None:
    """Refuses texts with numbers that stand for no character, which Python cannot hold."""
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).reshape(-1).view(f"{array.dtype.byteorder}u4")
        if codes.max() > sys.maxunicode:
            raise ValueError(f"{name!r} holds texts with numbers that stand for no character")
