"""Optimizers whose torch constructor refuses what a sweep over its arguments would ask for."""

from collections.abc import Iterable
from typing import Any

import torch


def sgd(
    params: Iterable[Any],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    fused: bool | None,
) -> torch.optim.SGD:
    """Stochastic gradient descent, in Nesterov's form where there is momentum, as in 2021.

    Args:
        params: parameters, or groups of them with values of their own.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        nesterov: whether to look ahead; without effect where `momentum` is 0.
        weight_decay: >= 0.
        fused: True = one pass over each tensor; False = one per term; None = as torch sees fit.

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
        fused=fused,
    )


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads what a checkpoint holds, and keeps today's way of working: fused or not, memory layout.

    A fused step walks through parameter and momentum side by side in memory: where one has its
    channels last and the other has not, it would silently pair wrong numbers.

    Args:
        optimizer: as the run's configuration builds it today.
        state: its `state_dict` when the checkpoint was written.
    """
    groups = [
        {**then, "fused": now["fused"]}
        for then, now in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value is not None and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
