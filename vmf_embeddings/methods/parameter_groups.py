"""Parameter groups of a method for an optimizer: weight decay and learning rates."""

import math
from typing import Any

from torch import Tensor, nn

DECAY_RULES = ("none", "reference", "all")


def parameter_groups(
    module: nn.Module,
    *,
    extra_groups: list[dict[str, Any]],
    undecayed: list[nn.Parameter],
    class_weights: list[Tensor],
    tau: Tensor | None,
    temp_learning_rate: float,
    class_weight_decay: str,
) -> list[dict[str, Any]]:
    """Splits the parameters of a module for an optimizer.

    Args:
        module: module whose trainable parameters are grouped.
        extra_groups: groups with their own learning rate, used unchanged.
        undecayed: parameters without weight decay, in addition to vectors and scalars.
        class_weights: parameters that `class_weight_decay` is about.
        tau: log temperature, if the module has one; its own group if it is learned.
        temp_learning_rate: learning rate of tau, >= 0.
        class_weight_decay: see `Method.param_groups`.

    Returns:
        Groups that hold every trainable parameter exactly once; empty groups are left out.

    Raises:
        ValueError: `class_weight_decay` is none of `DECAY_RULES`.
    """
    if class_weight_decay not in DECAY_RULES:
        raise ValueError(
            f"class_weight_decay must be one of {DECAY_RULES}, got {class_weight_decay!r}."
        )
    extra = [_trainable(group) for group in extra_groups]
    grouped = {id(p) for group in extra for p in group["params"]} | {id(tau)}
    parameters = [p for p in module.parameters() if p.requires_grad and id(p) not in grouped]
    no_decay = [] if class_weight_decay == "all" else [*undecayed, *_vectors(parameters)]
    if class_weight_decay == "none":
        no_decay += class_weights
    no_decay_ids = {id(p) for p in no_decay}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) not in no_decay_ids]},
        {"params": [p for p in parameters if id(p) in no_decay_ids], "weight_decay": 0.0},
        *extra,
    ]
    if isinstance(tau, nn.Parameter) and tau.requires_grad:
        constants = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        groups.append({"params": [tau], "lr": temp_learning_rate, **constants})
    _assert_partition(groups, module)
    return [group for group in groups if group["params"]]


def take_rate(group: dict[str, Any], learning_rate: float) -> float:
    """Learning rate of a group; takes the keys that say how it follows from that of the run.

    Args:
        group: a parameter group. Its `lr_factor` multiplies the learning rate, and `lr_at_most`
            is the largest value of the product; both are removed, and `lr_option` with them.
        learning_rate: of the run, >= 0.

    Example:
        >>> [take_rate({"lr_factor": 2000, "lr_at_most": 0.02}, rate) for rate in (1e-6, 1e-3)]
        [0.002, 0.02]
    """
    group.pop("lr_option", None)
    factor, at_most = group.pop("lr_factor", 1.0), group.pop("lr_at_most", math.inf)
    return min(learning_rate * factor, at_most)


def _vectors(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Biases, scales and BatchNorm parameters: tensors with fewer than two axes."""
    return [p for p in parameters if p.ndim < 2]


def _trainable(group: dict[str, Any]) -> dict[str, Any]:
    return group | {"params": [p for p in group["params"] if p.requires_grad]}


def _assert_partition(groups: list[dict[str, Any]], module: nn.Module) -> None:
    grouped = [p for group in groups for p in group["params"]]
    trainable = [p for p in module.parameters() if p.requires_grad]
    assert sorted(map(id, grouped)) == sorted(map(id, trainable))
