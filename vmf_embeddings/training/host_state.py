"""What Python keeps beside the numbers in tensors: whatever of it changes, a CUDA graph repeats."""

import random
from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
NOT_WALKED = (type, FunctionType, MethodType, ModuleType)
REGISTRIES = ("_parameters", "_buffers", "_modules")  # of torch's modules; not part of a name


class _Same:
    """A tensor or array, equal to itself only; kept alive, so that its place is not used again."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def host_state(root: Any) -> dict[str, Any]:
    """All plain values, and which tensors there are, in an object and the objects inside it.

    Args:
        root: such as a module; attributes, lists and dictionaries are followed.

    Returns:
        Name of the place, such as `classifier.weight` -> its value; of a tensor, which object it is
        and whether it requires a gradient, not its numbers.

    >>> layer = torch.nn.Dropout(0.5)
    >>> before = host_state(layer)
    >>> layer.p = 0.25
    >>> changes(before, host_state(layer))
    ['p']
    """
    found: dict[str, Any] = {}
    _walk(root, "", found, set())
    return found


def _walk(value: Any, path: str, found: dict[str, Any], seen: set[int]) -> None:
    if isinstance(value, PLAIN):
        found[path] = value
    elif isinstance(value, Tensor):
        found[path] = (_Same(value), value.requires_grad)
    elif id(value) not in seen and not isinstance(value, NOT_WALKED):
        seen.add(id(value))
        for name, inner in _inside(value, path, found):
            _walk(inner, f"{path}.{name}" if path and name else path or str(name), found, seen)


def _inside(value: Any, path: str, found: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Name and value of what an object holds; a length is stored in `found`."""
    if isinstance(value, Mapping):
        found[f"{path} (length)"] = len(value)
        return list(value.items())
    if isinstance(value, list | tuple | set | frozenset):
        found[f"{path} (length)"] = len(value)
        return list(enumerate(value))
    if isinstance(value, np.ndarray) or not hasattr(value, "__dict__"):
        found[path] = _Same(value)
        return []
    return [("" if k in REGISTRIES else k, inner) for k, inner in vars(value).items()]


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the places whose value differs, sorted."""
    gone = object()
    names = before.keys() | after.keys()
    return sorted(n for n in names if before.get(n, gone) != after.get(n, gone))


def host_generators(device: torch.device) -> list[Any]:
    """States of the random generators of Python, NumPy and, where `device` is no CPU, torch's."""
    _, keys, *place = np.random.get_state()
    states = [random.getstate(), keys.tobytes(), place]
    if device.type != "cpu":
        states.append(torch.get_rng_state().numpy().tobytes())
    return states
