"""Sizes in a received configuration, compared with the weights beside it."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

GROUPS = ("arch", "method", "head", "loss", "criterion", "miner")
ALWAYS_ALLOWED = 100_000_000  # numbers, 400 MB in float32: small weights may belong to larger nets
BUILT_PER_STORED = 2  # numbers in building, for each one stored: heads are built more than once
LEAST_COUNTED = 10_000  # numbers that each tensor counts as: a million small layers take long too
LARGEST_SHOWN = 10**30


def refuse_sizes_beyond_weights(
    nodes: Mapping[str, Any], checkpoint: Mapping[str, Any], source: str
) -> None:
    """Refuses widths that no network with these weights can have.

    A width w costs at least w numbers, and two that follow one another in a list of widths v w, for
    such a list builds layers from one to the next. Without this check 1 KB of configuration could
    ask for terabytes.

    Args:
        nodes: group -> option of the stored configuration.
        checkpoint: the state that holds `method_state_dict`, or 2021's `arch_state_dict`.
        source: where both come from, for messages.

    Raises:
        Refused: naming the parameter.
    """
    n_numbers = _numbers_in(checkpoint)
    most = max(n_numbers, ALWAYS_ALLOWED)
    for group in GROUPS:
        for place, cost in _costs(nodes.get(group), group):
            if cost > most:
                raise Refused(
                    f"{printable(source)}: {printable(place)[:120]} asks for a network of at "
                    f"least {min(cost, LARGEST_SHOWN):.3g} numbers, and the checkpoint holds "
                    f"{n_numbers}"
                )


@contextlib.contextmanager
def building_from(checkpoint: Mapping[str, Any], source: str) -> Iterator[None]:
    """Inside, networks much larger than the weights of a checkpoint are refused.

    Single widths say little of what a network takes: two of them are multiplied, and hundreds of
    parts are added up. So tensors are counted as they are asked for, before memory is taken.

    Args:
        checkpoint: the state that the network will be loaded from.
        source: where it comes from, for messages.

    Raises:
        Refused: more is asked for than `BUILT_PER_STORED` times the numbers in the checkpoint, or
            than that many times `ALWAYS_ALLOWED`.
    """
    n_numbers = _numbers_in(checkpoint)
    with _Budget(BUILT_PER_STORED * max(n_numbers, ALWAYS_ALLOWED), n_numbers, source):
        yield


class _Budget(TorchDispatchMode):
    """Counts the numbers of new tensors, those that are not computed from others."""

    def __init__(self, most: int, n_stored: int, source: str) -> None:
        super().__init__()
        self.left, self.n_stored, self.source = most, n_stored, source

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # true would import torch's compiler, which takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the operation, once its result was found to be small enough."""
        asked = _numbers_asked_for(func, args, kwargs or {})
        if asked is not None:
            self.left -= max(asked, LEAST_COUNTED)
        if self.left < 0:
            raise Refused(
                f"{printable(self.source)}: its configuration describes a network much larger than "
                f"its weights: {min(asked or 0, LARGEST_SHOWN):.3g} numbers for one of many parts, "
                f"and the checkpoint holds {self.n_stored}"
            )
        return func(*args, **(kwargs or {}))


def _numbers_asked_for(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The size of a tensor that an operation makes of no other; None for other operations."""
    if func.overloadpacket.__name__.startswith("new_"):
        sizes = args[1] if len(args) > 1 else kwargs.get("size", ())
        return math.prod(sizes)
    takes_tensors = any("Tensor" in str(argument.type) for argument in func._schema.arguments)
    if takes_tensors or not any(one.name == "device" for one in func._schema.arguments):
        return None
    elsewhere = {"device": torch.device("meta"), "pin_memory": False, "generator": None}
    known = {one.name for one in func._schema.arguments}
    given = kwargs | {key: value for key, value in elsewhere.items() if key in known}
    result = func(*args, **given)
    return result.numel() if isinstance(result, Tensor) else None


def _numbers_in(checkpoint: Mapping[str, Any]) -> int:
    """The numbers that its weights hold; tensors that share memory count once."""
    weights = checkpoint.get("method_state_dict") or checkpoint.get("arch_state_dict") or {}
    of_storage: dict[int, int] = {}
    for tensor in weights.values():
        if isinstance(tensor, Tensor):
            storage = tensor.untyped_storage()
            of_storage[storage._cdata] = storage.nbytes() // tensor.element_size()
    return sum(of_storage.values())


def _costs(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """Every whole number of an option by its place, with what it costs at least as a width."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _costs(inside, f"{place}.{key}")
    elif isinstance(value, list):
        widths = [abs(one) for one in value if _is_whole(one)]
        yield place, sum(one * other for one, other in itertools.pairwise(widths))
        for inside in value:
            yield from _costs(inside, place)
    elif _is_whole(value):
        yield place, abs(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
