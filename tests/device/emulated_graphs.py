"""`graphs.py` on the emulated device: only what runs there is recorded, and it draws for itself."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tests.device import emulator
from tests.device.graphs import CpuGraphs, NotCapturable

_state: list[Tensor] = []  # of the device's default generator


def execute(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Computes a call; random numbers come from the device's generator, not the host's."""
    if torch.Tag.nondeterministic_seeded not in func.tags or not _state:
        return func(*args, **kwargs)
    host = torch.get_rng_state()
    torch.set_rng_state(_state[0])
    try:
        return func(*args, **kwargs)
    finally:
        _state[0] = torch.get_rng_state()
        torch.set_rng_state(host)


@contextlib.contextmanager
def device_generator(seed: int) -> Iterator[None]:
    """Inside, the device has a default generator of its own, seeded."""
    _state[:] = [torch.Generator().manual_seed(seed).get_state()]
    before, emulator.executor = emulator.executor, execute
    try:
        yield
    finally:
        emulator.executor = before
        _state.clear()


class DeviceGraphs(CpuGraphs):
    """A `Capturer` on the emulated device: work of the host is not part of a graph."""

    def execute(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """See `execute`."""
        return execute(func, args, kwargs)

    def generator_state(self) -> Tensor:
        """State of the device's generator."""
        return _state[0].clone()

    def set_generator_state(self, state: Tensor) -> None:
        """Sets it."""
        _state[0] = state

    @contextlib.contextmanager
    def watching(self, call: Callable[..., Any]) -> Iterator[None]:
        """Inside, `call` executes what runs on the device; waits and copies there are refused."""
        recorder = emulator.recorder
        before, emulator.executor, emulator.freezes = emulator.executor, call, True
        recorder.wait = recorder.copy = _refuse
        try:
            yield
        finally:
            emulator.executor, emulator.freezes = before, False
            del recorder.wait, recorder.copy


def _refuse(kind: str, *, blocking: bool = True) -> None:
    raise NotCapturable(f"the host waits or copies in a captured step: {kind}")
