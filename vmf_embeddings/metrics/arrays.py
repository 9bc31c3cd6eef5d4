"""What the metrics accept: NumPy arrays, tensors, or lists of numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Array = Tensor | np.ndarray | Sequence


def as_float64(values: Array) -> Tensor:
    """The values as a float64 tensor on their own device, without gradient."""
    return torch.as_tensor(values).detach().double()


def as_labels(values: Array) -> Tensor:
    """Class labels as an int64 tensor [N]; make text and other numbers integer first."""
    labels = torch.as_tensor(values)
    if labels.is_floating_point() or labels.is_complex() or labels.ndim != 1:
        raise ValueError(f"labels must be integers [N], got {labels.dtype} {list(labels.shape)}")
    return labels.long()
