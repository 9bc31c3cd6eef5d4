"""Optimizers whose torch constructor refuses what a sweep over its arguments would ask for."""

from collections.abc import Iterable
from typing import Any

import torch


def sgd(
    params: Iterable[Any], *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> torch.optim.SGD:
    """Stochastic gradient descent, in Nesterov's form where there is momentum, as in 2021.

    Args:
        params: parameters, or groups of them with values of their own.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        nesterov: whether to look ahead; without effect where `momentum` is 0.
        weight_decay: >= 0.

    Returns:
        The optimizer.

    Raises:
        ValueError: if a value is out of its range.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"mode.momentum must be in [0, 1), got {momentum}")
    return torch.optim.SGD(
        params,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov and 0.0 < momentum < 1.0,
    )
