"""Checkpoints of earlier versions and of 2021, read into the methods of today."""

from typing import Any

from torch import Tensor, nn


def rename_class_parameters(
    method: nn.Module, state: dict[str, Any], prefix: str, *rest: Any
) -> None:
    """Renames keys of older checkpoints, in which `class_parameters` was called `head`."""
    for name in ("weight", "tau"):
        old = f"{prefix}head.{name}"
        if old in state and getattr(method, "class_parameters", None) is not None:
            state[f"{prefix}class_parameters.{name}"] = state.pop(old)


def copy_reference(target: Tensor, state: dict[str, Tensor], name: str) -> None:
    """Copies `state[name]` into `target`; the shapes may differ by axes of size 1.

    Raises:
        ValueError: there is no such tensor, or it has another size.
    """
    if name not in state:
        raise ValueError(f"The checkpoint has no {name}; it was written by another method.")
    if state[name].numel() != target.numel():
        raise ValueError(
            f"{name} is {list(state[name].shape)} in the checkpoint, here {list(target.shape)}."
        )
    target.data.copy_(state[name].reshape(target.shape))
