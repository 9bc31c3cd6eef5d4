"""What a step on a device costs the host: launches, waits and copies, each with its place."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# places are named by the files of these folders, the innermost one on the stack
WATCHED = (f"{ROOT}/vmf_embeddings/", f"{ROOT}/tests/")
NOT_PLACES = (f"{ROOT}/tests/device/emulator.py", f"{ROOT}/tests/device/recorder.py")
BIG = 4096  # numbers of a tensor from which work in float64 is counted


@dataclass
class Counts:
    """Of one step.

    Attributes:
        ops: calls that launch kernels.
        waits: kind of call and its place -> how often the host must wait for the device.
        copies: likewise, blocking copies from the host.
        async_copies: copies from the host that do not block.
        float64: calls with a tensor of more than BIG numbers in float64.
        launches: place -> calls that launch kernels.
    """

    ops: int = 0
    waits: Counter = field(default_factory=Counter)
    copies: Counter = field(default_factory=Counter)
    async_copies: int = 0
    float64: int = 0
    launches: Counter = field(default_factory=Counter)

    def as_dict(self) -> dict:
        """For JSON, without `launches`."""
        counts = {"waits": dict(self.waits), "copies": dict(self.copies)}
        return {
            "ops": self.ops,
            "async_copies": self.async_copies,
            "float64": self.float64,
        } | counts


class Recorder:
    """Counts while `counting`; calls outside, such as those of a first step, are ignored."""

    def __init__(self) -> None:
        self.counts, self.active = Counts(), False

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counts]:
        """Counts from 0 what happens inside."""
        self.counts, self.active = Counts(), True
        try:
            yield self.counts
        finally:
            self.active = False

    @contextlib.contextmanager
    def launches_ignored(self) -> Iterator[None]:
        """Inside, waits and copies are still counted, launches are not."""
        ops, launches = self.counts.ops, self.counts.launches.copy()
        yield
        self.counts.ops, self.counts.launches = ops, launches

    def wait(self, kind: str) -> None:
        """The host waits for the device."""
        if self.active:
            self.counts.waits[f"{kind} at {place()}"] += 1

    def copy(self, kind: str, *, blocking: bool = True) -> None:
        """The host copies to the device."""
        if self.active and blocking:
            self.counts.copies[f"{kind} at {place()}"] += 1
        elif self.active:
            self.counts.async_copies += 1

    def launch(self) -> None:
        """A kernel is launched."""
        if self.active:
            self.counts.ops += 1
            self.counts.launches[place()] += 1

    def wide(self) -> None:
        """A large tensor is worked on in float64."""
        self.counts.float64 += self.active


def place() -> str:
    """File and line of the innermost call in a watched file; `autograd` where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(WATCHED) and name not in NOT_PLACES:
            return f"{name[len(str(ROOT)) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "autograd"
