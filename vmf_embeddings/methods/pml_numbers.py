"""Plain numbers that objects of pytorch-metric-learning change in training, for checkpoints.

`CrossBatchMemory` keeps its queue in buffers, but the queue's position in plain attributes, which a
state dict does not contain. Every number that is no longer what the constructor set belongs to the
state.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

Number = bool | int | float
KEY = "plain_numbers."  # of a number in a state dict, before the path of its attribute
LARGEST = 2**53  # whole numbers up to here are exact in float64


class PlainNumbers:
    """The numbers among the attributes of some modules and of the modules in them.

    Args:
        parts: modules by name, as their constructors left them.
    """

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        self.parts = parts
        self.initial = {path: value for path, _, _, value in self._numbers()}

    def _numbers(self) -> Iterator[tuple[str, nn.Module, str, Number]]:
        for part, root in self.parts.items():
            for name, module in root.named_modules(prefix=part):
                for attribute, value in vars(module).items():
                    private = attribute.startswith("_") or attribute == "training"
                    if isinstance(value, Number) and not private:
                        yield f"{name}.{attribute}", module, attribute, value

    def state(self) -> dict[str, Tensor]:
        """Path -> float64 [] of every number that differs from what the constructor set.

        Attributes that appear later hold results of a step, such as a number of triplets.
        """
        return {
            path: torch.tensor(float(value), dtype=torch.float64)
            for path, _, _, value in self._numbers()
            if value != self.initial.get(path, value)
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Sets the numbers of a state; all others become those of the constructor.

        Raises:
            Refused: the state names a number that these modules do not have, or of another type.
        """
        places = {path: (module, name) for path, module, name, _ in self._numbers()}
        values = {path: _checked(path, state[path], self.initial.get(path)) for path in state}
        for path, (module, name) in places.items():
            if path in self.initial:
                setattr(module, name, values.get(path, self.initial[path]))


def warn_of_older_memory(state: Mapping[str, Any], has_numbers: bool) -> None:
    """Logs that a memory of earlier batches begins empty if a checkpoint lacks its position."""
    memories = [x for name, x in state.items() if name.endswith(".embedding_memory")]
    if not has_numbers and any(bool((x != 0).any()) for x in memories):
        log.warning(
            "this checkpoint does not say how much of the loss's memory is in use: a training that "
            "goes on from it begins with an empty memory"
        )


def _checked(path: str, value: Any, initial: Number | None) -> Number:
    """A stored number as the type of the constructor's.

    Raises:
        Refused: there is no such number, or it has another type.
    """
    if initial is None or not isinstance(value, Tensor) or value.numel() != 1:
        raise Refused(f"the loss has no number {path!r} that a checkpoint could set")
    number = float(value)
    whole = number == int(number) if abs(number) < LARGEST else False
    allowed = {bool: number in (0.0, 1.0), int: whole and number >= 0, float: True}
    if not allowed[type(initial)]:
        raise Refused(f"the stored {path!r} is {number}, expected a {type(initial).__name__}")
    return type(initial)(number)
