"""Several tests at once: p-values adjusted so that any false finding is rare."""

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64


def holm(p_values: Array) -> Tensor:
    """p-values adjusted for their number (Holm 1979): at most alpha of all families has an error.

    The i-th smallest of m is multiplied by m - i + 1, made no smaller than those before it, and cut
    at 1. No assumption on how the tests depend on one another.

    Args:
        p_values: [m] in [0, 1].

    Returns:
        Float64 [m], in the order given; reject where it is at most alpha.

    >>> holm([0.01, 0.04, 0.03])
    tensor([0.0300, 0.0600, 0.0600], dtype=torch.float64)
    """
    given = as_float64(p_values)
    if given.ndim != 1 or not bool(((given >= 0) & (given <= 1)).all()):
        raise ValueError(f"p_values must be [m] in [0, 1], got {list(given.shape)}")
    order = given.argsort()
    factors = torch.arange(len(given), 0, -1, dtype=torch.float64)
    adjusted = torch.empty_like(given)
    if len(given):
        adjusted[order] = (given[order] * factors).cummax(0).values.clamp_max(1)
    return adjusted
