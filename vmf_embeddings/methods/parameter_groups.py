"""A method's parameters in groups for an optimizer: which decay, which learn at another rate."""

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
        module: whose trainable parameters are grouped.
        extra_groups: groups with learning rates of their own, taken as they are.
        undecayed: parameters that never decay, beside vectors and scalars.
        class_weights: what `class_weight_decay` is about.
        tau: log temperature, where the module has one; a group of its own if it is learned.
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
    own = [_trainable(group) for group in extra_groups]
    apart = {id(p) for group in own for p in group["params"]} | {id(tau)}
    parameters = [p for p in module.parameters() if p.requires_grad and id(p) not in apart]
    never = [] if class_weight_decay == "all" else undecayed + [p for p in parameters if p.ndim < 2]
    if class_weight_decay == "none":
        never = never + class_weights
    still = {id(p) for p in never}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) not in still]},
        {"params": [p for p in parameters if id(p) in still], "weight_decay": 0.0},
        *own,
    ]
    if isinstance(tau, nn.Parameter) and tau.requires_grad:
        constants = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        groups.append({"params": [tau], "lr": temp_learning_rate, **constants})
    _assert_partition(groups, module)
    return [group for group in groups if group["params"]]


def _trainable(group: dict[str, Any]) -> dict[str, Any]:
    return group | {"params": [p for p in group["params"] if p.requires_grad]}


def _assert_partition(groups: list[dict[str, Any]], module: nn.Module) -> None:
    grouped = [p for group in groups for p in group["params"]]
    trainable = [p for p in module.parameters() if p.requires_grad]
    assert sorted(map(id, grouped)) == sorted(map(id, trainable))
