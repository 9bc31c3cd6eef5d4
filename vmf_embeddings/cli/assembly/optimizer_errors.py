"""Errors of an optimizer about its values, with the keys that set them."""

import math
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from vmf_embeddings.cli.assembly.refused import Refused

# words of torch's messages, as in "Invalid learning rate: -1" -> argument
_ARGUMENTS = {
    "learning rate": "lr",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "beta": "betas",
    "epsilon": "eps",
}


def checked_optimizer(make_optimizer: Callable[..., Any], node: DictConfig) -> None:
    """Calls an optimizer's constructor once, so that its values are checked before work starts.

    Args:
        make_optimizer: from parameter groups to the optimizer.
        node: of the optimizer, `{name, params: {…}}`.

    Raises:
        Refused: a value is out of range, or not finite; names the key that sets it.
    """
    import torch

    try:
        optimizer = make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    except ValueError as error:
        raise _with_key(error, node) from error
    except TypeError as error:  # Python's words, without a key
        texts = [k for k, v in node.get("params", node).items() if isinstance(v, str | dict)]
        keys = [f"{_key(node, k)}={node.get('params', node)[k]!r}" for k in texts[:6]
                if k not in ("_target_", "name")]  # fmt: skip
        unknown = "unexpected keyword argument" in str(error)
        text = "expected numbers, true, false or null" if keys and not unknown else str(error)
        raise Refused(f"{', '.join(keys) or 'optimizer.params'}: {text}") from error
    for argument, value in optimizer.param_groups[0].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Refused(f"{_key(node, argument)}={value}: expected a finite number")


def _with_key(error: ValueError, node: DictConfig) -> Refused:
    """An error about a value, with the key to change in front; others as they were."""
    message = str(error)
    found = [argument for words, argument in _ARGUMENTS.items() if words in message]
    if not message.startswith("Invalid") or not found:
        return Refused(message)
    value = node.get("params", node).get(found[0])
    return Refused(f"{_key(node, found[0])}={value} is out of range ({message})")


def _key(node: DictConfig, argument: str) -> str:
    """The key to type for an argument: the one that it refers to, as `mode.learning_rate`."""
    params = node.get("params", node)
    raw = params._get_node(argument)._value() if argument in params else None
    refers = isinstance(raw, str) and raw.startswith("${") and raw.endswith("}")
    return raw[2:-1] if refers else f"optimizer.params.{argument}"
