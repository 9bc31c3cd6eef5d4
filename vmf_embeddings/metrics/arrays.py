"""What the metrics accept: NumPy arrays, tensors, or lists of numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

Array = Tensor | np.ndarray | Sequence
_BLOCK_ROWS = 4096


def as_float64(values: Array) -> Tensor:
    """The values as a float64 tensor on their own device, without gradient."""
    # torch reads a list of Python numbers as float32
    given = values if isinstance(values, Tensor) else np.asarray(values)
    return torch.as_tensor(given).detach().double()


def as_labels(values: Array) -> Tensor:
    """Integer class labels as an int64 tensor [N].

    Raises:
        ValueError: they are floats, complex numbers, or not one axis.
    """
    labels = torch.as_tensor(values)
    if labels.is_floating_point() or labels.is_complex() or labels.ndim != 1:
        raise ValueError(f"labels must be integers [N], got {labels.dtype} {list(labels.shape)}")
    return labels.long()


def as_codes(values: Array) -> Tensor:
    """Labels [N] of any sortable type, text too, as class numbers 0..C-1 in sorted order."""
    labels = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1))


def as_unit_rows(values: Array) -> Tensor:
    """Embeddings [N, D] as float64 rows of norm 1 on their own device; a zero row stays zero."""
    rows = torch.as_tensor(values).detach()
    unit = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
    # by blocks: a float64 copy of all rows would double the memory
    for target, part in zip(unit.split(_BLOCK_ROWS), rows.split(_BLOCK_ROWS), strict=True):
        target.copy_(normalize(part.double(), dim=-1))
    return unit
