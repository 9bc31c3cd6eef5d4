"""Timing of peers interleaved in one process, and peak memory of one call in a child process."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Case = Callable[[], Any]
SHORTEST = 0.02  # seconds per timed piece: shorter calls are repeated, or the clock would be timed
MARK = "peak-memory-result "
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ratio:
    """How many times as long the peer takes: median of per-round ratios, quartiles, extremes."""

    median: float
    quartiles: tuple[float, float]
    extremes: tuple[float, float]
    rounds: int


@dataclass
class Comparison:
    """Seconds per unit of every case and round."""

    seconds: dict[str, list[float]]
    failures: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, action: Callable[[str], None]) -> None:
        """Does it unless the case has failed before; a failure drops the case with its message."""
        if name in self.failures:
            return
        try:
            action(name)
        except Exception as error:  # whatever a peer library raises: the others go on
            lines = str(error).strip().splitlines() or ["no message"]
            self.failures[name] = f"{type(error).__name__}: {lines[0][:200]}"
            del self.seconds[name]

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def ratio(self, peer: str, ours: str) -> Ratio | None:
        """Time of `peer` over time of `ours`, > 1 where ours is faster; None if either failed."""
        if not (self.seconds.get(peer) and self.seconds.get(ours)):
            return None
        return spread(np.array(self.seconds[peer]) / np.array(self.seconds[ours]))

    def as_dict(self) -> dict[str, Any]:
        rows = {name: {"median_ms": 1e3 * self.median(name), "rounds": len(s),
                       "low_ms": 1e3 * min(s), "high_ms": 1e3 * max(s)}
                for name, s in self.seconds.items() if s}  # fmt: skip
        return rows | {name: {"failure": text} for name, text in self.failures.items()}


def spread(values: np.ndarray) -> Ratio:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    ends = (float(values.min()), float(values.max()))
    return Ratio(float(middle), (float(low), float(high)), ends, len(values))


def compare(
    cases: dict[str, Case],
    rounds: int,
    warmup: int = 1,
    *,
    units: dict[str, float] | None = None,
    device: str = "cpu",
    limit_s: float = 240.0,
    shortest: float = SHORTEST,
) -> Comparison:
    """Call every case once per round, in an order that turns by one each round.

    A case that raises drops out with its message. Calls shorter than `shortest` seconds are
    repeated within a round. The garbage collector runs between rounds only. After three rounds no
    new one begins once `limit_s` seconds have passed.

    Args:
        cases: name -> function of no arguments; what it returns is dropped.
        rounds: how many times each is timed.
        warmup: untimed calls of each before that.
        units: name -> units of work in one call (images, episodes); seconds are per unit.
        device: "cpu", or "cuda": timed by events on the current stream.
        limit_s: see above.
    """
    timer = _cuda_seconds if device.startswith("cuda") else _seconds
    result = Comparison({name: [] for name in cases})
    repeats: dict[str, int] = {}

    def untimed(name: str) -> None:
        taken = shortest
        for _ in range(warmup):
            taken = timer(cases[name], 1)
        if taken < 50 * shortest:  # first calls are slow: a slow one needs no second look
            taken = min(taken, timer(cases[name], 1)) if warmup else shortest
        repeats[name] = max(1, round(shortest / max(taken, 1e-7)))

    def timed(name: str) -> None:
        taken = timer(cases[name], repeats[name]) / (units or {}).get(name, 1.0)
        result.seconds[name].append(taken)

    for name in cases:
        result.attempt(name, untimed)
    for order in _turns(list(cases), rounds, limit_s):
        with no_garbage_collection():
            for name in order:
                result.attempt(name, timed)
    return result


def _turns(names: list[str], rounds: int, limit_s: float) -> Iterator[list[str]]:
    """The order of each round, every case first in its turn; see `compare` for the limit."""
    began = time.perf_counter()
    for turn in range(rounds):
        if turn >= 3 and time.perf_counter() - began > limit_s:
            return
        first = turn % max(1, len(names))
        yield names[first:] + names[:first]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collected before, switched off within."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _seconds(case: Case, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        case()
    return (time.perf_counter() - start) / repeats


def _cuda_seconds(case: Case, repeats: int) -> float:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        case()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


@dataclass(frozen=True)
class Peak:
    """What one call took in a process of its own.

    Args:
        extra_mb: highest resident set during the call minus that before it, 2^20 bytes.
        total_mb: highest resident set of the whole process during the call.
        seconds: shortest wall time of the call over `repeats`.
        failure: why there is no figure, e.g. that memory ran out.
    """

    extra_mb: float | None = None
    total_mb: float | None = None
    seconds: float | None = None
    failure: str | None = None


def peak_memory(
    module: str,
    function: str,
    case: dict[str, Any],
    *,
    warm: dict[str, Any] | None = None,
    repeats: int = 1,
    budget_gb: float = 10.0,
    timeout_s: float = 900.0,
) -> Peak:
    """VmHWM minus RSS before the call, in a spawned child process.

    `module.function(**case)` prepares the inputs and returns the function of no arguments that is
    measured. `warm` holds small arguments for a first call, which loads what is loaded lazily.
    Allocations beyond `budget_gb` fail in the child instead of troubling the machine.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    order = {"module": module, "function": function, "case": case, "warm": warm,
             "repeats": repeats, "budget_gb": budget_gb}  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(order)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return Peak(failure=f"took more than {timeout_s:.0f} s")
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return Peak(**json.loads(line.removeprefix(MARK)))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Peak(failure=f"the process ended with {done.returncode}: {last[:200]}")


def _status(key: str) -> float:
    """A size of /proc/self/status in MB, of 2^20 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {key}")


def _limit(budget_gb: float) -> None:
    import resource

    allowed = int(_status("VmData") * 2**20 + budget_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, resource.RLIM_INFINITY))


def child(order: dict[str, Any]) -> Peak:
    """Runs in the child: prepare, forget the peak so far, call, read the peak."""
    import importlib

    import torch

    torch.set_num_threads(1)
    prepare = getattr(importlib.import_module(order["module"]), order["function"])
    if order["warm"] is not None:
        prepare(**order["warm"])()
    _limit(order["budget_gb"])
    try:
        step = prepare(**order["case"])
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # peak := present size
        before = _status("VmRSS")
        taken = [_seconds(step, 1) for _ in range(order["repeats"])]
    except (MemoryError, RuntimeError) as error:
        return Peak(failure=f"{type(error).__name__}: {str(error).splitlines()[-1][:200]}")
    peak = _status("VmHWM")
    return Peak(peak - before, peak, min(taken))


if __name__ == "__main__":
    from dataclasses import asdict

    print(MARK + json.dumps(asdict(child(json.loads(sys.argv[1])))))
