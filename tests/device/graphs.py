"""A CUDA graph on the CPU: the ATen calls of a step, recorded once and executed again as they were.

As on a device, recording executes nothing that lasts (memory and random generators are put back,
new tensors are filled with NaN), Python does not run at a replay, results are written where the
recorded ones are, and what the host knew, such as a number, stays as it was. A step that reads a
value of the device, or copies to it, cannot be recorded. Random calls draw again, from the same
generator. Not seen: kernels that CUDA cannot capture, streams, memory that a graph gives back.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.device.emulator import WAITS
from vmf_embeddings.untrusted.refused import Refused

ALLOCATES = frozenset("empty empty_like new_empty empty_strided new_empty_strided".split())

Run = Callable[[], Tensor]


class NotCapturable(RuntimeError):
    """The host reads from the device, or writes to it, while a graph is captured."""


class Recording:
    """The calls of one step.

    Args:
        execute: computes a call, now and at each replay.
    """

    def __init__(self, execute: Callable[..., Any]) -> None:
        self.execute = execute
        self.calls: list[Callable[[], None]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.made: dict[int, torch.UntypedStorage] = {}

    def __call__(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Executes a call and records it."""
        name = func._schema.name.split("::")[1]
        if name in WAITS:
            raise NotCapturable(f"the host waits for {name}")
        inputs = {_place(t) for t in self._tensors((args, kwargs))}
        out = self.execute(func, args, kwargs)
        fresh = [
            (i, t)
            for i, t in enumerate(tree_leaves(out))
            if isinstance(t, Tensor) and _place(t) not in inputs and _place(t) not in self.before
        ]
        self.made |= {_place(t): t.untyped_storage() for _, t in fresh}
        writes = func._schema.is_mutable or fresh
        if writes and name not in ALLOCATES:
            self.calls.append(lambda: _write(self.execute(func, args, kwargs), fresh))
        return out

    def _tensors(self, arguments: Any) -> Iterator[Tensor]:
        """Tensors among arguments; keeps what those from before this step hold."""
        for tensor in tree_leaves(arguments):
            if isinstance(tensor, Tensor):
                place, storage = _place(tensor), tensor.untyped_storage()
                if place not in self.made and place not in self.before:
                    self.before[place] = (storage, storage.clone())
                yield tensor

    def end(self) -> None:
        """Puts back what the step has written, and fills what it has made with NaN."""
        for storage, values in self.before.values():
            storage.copy_(values)
        for storage in self.made.values():
            storage.fill_(255)  # NaN as floating point, -1 as integer

    def replay(self) -> None:
        """Executes the calls again."""
        with torch._C._AutoDispatchBelowAutograd():
            for call in self.calls:
                call()


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _write(values: Any, fresh: list[tuple[int, Tensor]]) -> None:
    leaves = tree_leaves(values)
    for i, target in fresh:
        target.copy_(leaves[i])


class _Mode(TorchDispatchMode):
    """Gives every ATen call on the CPU to a function."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.call = call

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.call(func, args, kwargs or {})


class CpuGraphs:
    """A `Capturer` of steps on the CPU; counts what it was asked for."""

    def __init__(self) -> None:
        self.n_eager = self.n_captured = self.n_replayed = 0

    def warm_up(self, run: Run, *, strict: bool) -> Tensor:
        """See `Capturer`."""
        self.n_eager += 1
        if not strict:
            return run()
        try:
            with self.watching(self.refuse_reads):
                return run()
        except NotCapturable as error:
            raise Refused(str(error)) from error

    def capture(self, run: Run) -> Run:
        """See `Capturer`."""
        self.n_captured += 1
        recording, state = Recording(self.execute), self.generator_state()
        with self.watching(recording):
            loss = run()
        recording.end()
        self.set_generator_state(state)

        def replay() -> Tensor:
            self.n_replayed += 1
            recording.replay()
            return loss

        return replay

    def watching(self, call: Callable[..., Any]) -> contextlib.AbstractContextManager[Any]:
        """Inside, `call` executes what runs on the device."""
        return _Mode(call)

    def refuse_reads(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Executes a call, unless the host waits for it."""
        if func._schema.name.split("::")[1] in WAITS:
            raise NotCapturable(f"the host waits for {func._schema.name}")
        return self.execute(func, args, kwargs)

    def execute(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Computes a call."""
        return func(*args, **kwargs)

    def generator_state(self) -> Tensor:
        """State of the default generator of the device."""
        return torch.get_rng_state()

    def set_generator_state(self, state: Tensor) -> None:
        """Sets what `generator_state` returned."""
        torch.set_rng_state(state)
