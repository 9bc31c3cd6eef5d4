"""A method's parameters in groups for an optimizer: which decay, which learn at another rate."""

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from vmf_embeddings.methods.base import Method

DECAY_RULES = ("none", "reference", "all")


def parameter_groups(
    method: "Method", temp_learning_rate: float, class_weight_decay: str
) -> list[dict[str, Any]]:
    """The groups that `Method.param_groups` promises: a partition, the empty ones left out."""
    if class_weight_decay not in DECAY_RULES:
        raise ValueError(
            f"class_weight_decay must be one of {DECAY_RULES}, got {class_weight_decay!r}."
        )
    tau = None if method.head is None else method.head.tau
    own = [_trainable(group) for group in method.learning_rates()]
    apart = {id(p) for group in own for p in group["params"]} | {id(tau)}
    parameters = [p for p in method.parameters() if p.requires_grad and id(p) not in apart]
    still = _undecayed(method, parameters, class_weight_decay)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) not in still]},
        {"params": [p for p in parameters if id(p) in still], "weight_decay": 0.0},
        *own,
    ]
    if isinstance(tau, nn.Parameter) and tau.requires_grad:
        constants = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        groups.append({"params": [tau], "lr": temp_learning_rate, **constants})
    _assert_partition(groups, method)
    return [group for group in groups if group["params"]]


def _trainable(group: dict[str, Any]) -> dict[str, Any]:
    return group | {"params": [p for p in group["params"] if p.requires_grad]}


def _undecayed(
    method: "Method", parameters: list[nn.Parameter], class_weight_decay: str
) -> set[int]:
    """Which parameters never decay, by their ids."""
    if class_weight_decay == "all":
        return set()
    still = [*method.undecayed_parameters(), *(p for p in parameters if p.ndim <= 1)]
    if class_weight_decay == "none":
        still += method.all_class_weights()
    return {id(p) for p in still}


def _assert_partition(groups: list[dict[str, Any]], module: nn.Module) -> None:
    grouped = [p for group in groups for p in group["params"]]
    trainable = [p for p in module.parameters() if p.requires_grad]
    assert sorted(map(id, grouped)) == sorted(map(id, trainable))
