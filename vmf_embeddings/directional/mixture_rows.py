"""Rows that a mixture takes: arrays of NumPy or tensors, checked, as unit vectors."""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import check_dim
from vmf_embeddings.directional.estimation import Array

BLOCK_ROWS = 2**14


def like(given: Array, result: Tensor) -> Array:
    """The result as an array of NumPy if `given` is one."""
    return result if isinstance(given, Tensor) else result.cpu().numpy()


def unit_rows(x: Array, least: int = 1) -> Tensor:
    """Rows over their lengths, in float32 or float64; the rows themselves where they are units.

    Args:
        x: [N, D], D >= 2.
        least: smallest N.

    Raises:
        ValueError: the shape is another, or a row has length 0 or is not finite.
    """
    rows = torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x)
    if rows.dim() != 2 or len(rows) < least:
        raise ValueError(
            f"x: expected rows [N, D] with N of at least {least}, got {list(rows.shape)}"
        )
    check_dim(rows.shape[1])
    rows = rows if rows.dtype == torch.float64 else rows.to(torch.float32)
    lengths = torch.cat(
        [torch.linalg.vector_norm(part, dim=1) for part in rows.split(BLOCK_ROWS)]
        or [rows.new_empty(0)]
    )
    if not bool(((lengths > 0) & lengths.isfinite()).all()):
        row = int((~((lengths > 0) & lengths.isfinite())).nonzero()[0])
        raise ValueError(
            f"x: expected finite rows that have a direction, got length {lengths[row].item():g} in "
            f"row {row}"
        )
    rounding = 8 * torch.finfo(rows.dtype).eps
    if bool(((lengths - 1).abs() <= rounding).all()):
        return rows
    return rows / lengths[:, None]


def checked_weights(weights: Array | None, rows: Tensor) -> Tensor | None:
    """Weights [N] in the dtype of `rows`.

    Raises:
        ValueError: the shape is another, one is negative or not finite, or all are 0.
    """
    if weights is None:
        return None
    given = torch.as_tensor(weights).to(rows)
    if given.shape != rows.shape[:1]:
        raise ValueError(
            f"sample_weight: expected one for each row, [{len(rows)}], got {list(given.shape)}"
        )
    if not bool(((given >= 0) & given.isfinite()).all()) or not bool((given > 0).any()):
        raise ValueError("sample_weight: expected finite numbers >= 0 that are not all 0")
    return given
