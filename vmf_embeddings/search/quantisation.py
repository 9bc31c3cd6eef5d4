"""Embeddings in one byte or one bit per dimension, and back.

Scalar and binary quantisation as in sentence-transformers (`quantize_embeddings`,
https://sbert.net/examples/applications/embedding-quantization/README.html), with values clipped to
the range of their dimension, codes rounded half to even, and a constant dimension coded 0.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_STEPS = 255
_OFFSETS = {"int8": 128, "uint8": 0}
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Ranges:
    """The interval of each dimension that one byte covers.

    Attributes:
        low: [D] float64, the value of the lowest code.
        high: [D] float64, the value of the highest code, >= `low`.
    """

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        fit = self.low.ndim == 1 and self.low.shape == self.high.shape
        if not fit or not np.isfinite([self.low, self.high]).all() or (self.low > self.high).any():
            raise ValueError(
                f"ranges: expected finite low <= high, [D] each, got {list(self.low.shape)} and "
                f"{list(self.high.shape)}"
            )

    @classmethod
    def of(cls, rows: ArrayLike) -> "Ranges":
        """Smallest and largest value of each dimension of calibration rows [N, D], N >= 1."""
        values = _rows(rows)
        if not len(values):
            raise ValueError("ranges: expected at least one calibration row, got none")
        return cls(values.min(0).astype(np.float64), values.max(0).astype(np.float64))

    @property
    def step(self) -> np.ndarray:
        """Difference of two consecutive codes' values [D]; 0 where the dimension is constant."""
        return (self.high - self.low) / _STEPS


def quantise(
    rows: ArrayLike, precision: Precision | str, ranges: Ranges | None = None
) -> np.ndarray:
    """Embeddings in a smaller number format.

    Args:
        rows: [N, D], as they are compared: unit rows for the cosine.
        precision: "float32"; "int8" and "uint8", a byte per dimension (the same codes, from -128
            and from 0); "binary" and "ubinary", a bit per dimension: whether the value is > 0, the
            first dimension in the highest bit, the last byte filled up with 0 ("binary" is
            "ubinary" - 128).
        ranges: of the dimensions, for bytes; None = those of `rows` themselves.

    Returns:
        [N, D] float32, int8 or uint8; [N, ceil(D / 8)] int8 ("binary") or uint8 ("ubinary").

    Raises:
        ValueError: the precision is unknown, values are not finite, or shapes do not fit.

    Example:
        >>> quantise([[0.0, 2.0], [1.0, -2.0]], "uint8").tolist()
        [[0, 255], [255, 0]]
        >>> quantise([[0.5, -0.5, 0.0, 0.1]], "ubinary").tolist()  # bits 1001 0000
        [[144]]
    """
    check_precision(precision)
    values = _rows(rows)
    if precision == "float32":
        return values.astype(np.float32)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(values > 0, axis=1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    ranges = Ranges.of(values) if ranges is None else ranges
    _check_ranges(ranges, values.shape[1])
    codes = np.empty(values.shape, np.dtype(precision))
    step = np.where(ranges.step > 0, ranges.step, np.inf)  # a constant dimension gets code 0
    for first in range(0, len(values), _BLOCK_ROWS):
        block = values[first : first + _BLOCK_ROWS]
        scaled = np.rint((block - ranges.low) / step)  # rint rounds half to even
        codes[first : first + _BLOCK_ROWS] = scaled.clip(0, _STEPS) - _OFFSETS[precision]
    return codes


def dequantise(codes: np.ndarray, ranges: Ranges) -> np.ndarray:
    """The values that bytes stand for: code * step + low, with codes from 0.

    Args:
        codes: int8 or uint8 [N, D] of `quantise`.
        ranges: those they were made with.

    Returns:
        [N, D] float64; within step / 2 of the original value where that lies in the range.

    Example:
        >>> ranges = Ranges.of([[0.0], [255.0]])
        >>> dequantise(quantise([[7.4], [300.0]], "int8", ranges), ranges).tolist()
        [[7.0], [255.0]]
    """
    if codes.dtype.name not in _OFFSETS or codes.ndim != 2:
        raise ValueError(
            f"codes: expected int8 or uint8 [N, D], got {list(codes.shape)} of {codes.dtype}"
        )
    _check_ranges(ranges, codes.shape[1])
    return (codes.astype(np.float64) + _OFFSETS[codes.dtype.name]) * ranges.step + ranges.low


def signs(bits: np.ndarray, dim: int) -> np.ndarray:
    """The vectors of -1 and 1 that packed bits stand for.

    Their inner product is D - 2 h, for Hamming distance h: both order rows alike.

    Args:
        bits: uint8 ("ubinary") or int8 ("binary") [N, ceil(D / 8)] of `quantise`.
        dim: D.

    Returns:
        float32 [N, D].

    Example:
        >>> signs(quantise([[0.5, -0.5, 0.0]], "binary"), 3).tolist()
        [[1.0, -1.0, -1.0]]
    """
    return 2 * np.unpackbits(unsigned(bits), axis=1, count=dim).astype(np.float32) - 1


def unsigned(bits: np.ndarray) -> np.ndarray:
    """Packed bits as uint8, whether they are "binary" (int8) or "ubinary" (uint8)."""
    if bits.dtype == np.int8:
        return (bits.astype(np.int16) + 128).astype(np.uint8)
    if bits.dtype != np.uint8:
        raise ValueError(f"bits: expected int8 or uint8, got {bits.dtype}")
    return bits


def bytes_per_row(dim: int, precision: Precision | str) -> int:
    """Bytes that one embedding of D dimensions takes.

    Example:
        >>> [bytes_per_row(100, p) for p in ("float32", "int8", "binary")]
        [400, 100, 13]
    """
    check_precision(precision)
    if precision == "float32":
        return 4 * dim
    return dim if precision in _OFFSETS else -(-dim // 8)


def check_precision(precision: str) -> None:
    """Refuses an unknown precision.

    Raises:
        ValueError: with the known ones.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is unknown; known: {', '.join(PRECISIONS)}")


def _rows(rows: ArrayLike) -> np.ndarray:
    values = np.asarray(rows)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(f"rows: expected numbers [N, D], got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError("rows: values must be finite, got NaN or infinite ones")
    return values


def _check_ranges(ranges: Ranges, dim: int) -> None:
    if len(ranges.low) != dim:
        raise ValueError(f"ranges: expected {dim} dimensions, got {len(ranges.low)}")
