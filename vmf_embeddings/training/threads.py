"""How many threads a process of the run may use: its share of the cores it may run on."""

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
LIMIT = Path("/sys/fs/cgroup/cpu.max")
EXPLICIT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def thread_count(wanted: int | None) -> int | None:
    """Threads of this process; None where the environment has said it already.

    A process alone takes every core it may run on, each of several under `torchrun` its share.
    OMP_NUM_THREADS wins over both, unless it is the 1 that torchrun sets where nobody set it.

    Args:
        wanted: `trainer.threads`, >= 1; None leaves the choice to this function.
    """
    if wanted is not None:
        return wanted
    if any(os.environ.get(name) for name in EXPLICIT) and not _set_by_torchrun():
        return None
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def usable_cores() -> int:
    """Physical cores that this process may run on: its affinity, within its container's limit."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    cores = len({_siblings(cpu) for cpu in allowed}) or os.cpu_count() or 1
    return max(1, min(cores, _container_limit()))


def _siblings(cpu: int) -> str:
    """The hardware threads of a processor's core, as the system lists them."""
    try:
        return (TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _container_limit() -> int:
    """Cores' worth of time that the control group grants."""
    try:
        quota, period = LIMIT.read_text().split()
    except (OSError, ValueError):
        return 2**31
    return 2**31 if quota == "max" else int(quota) // int(period)


def _set_by_torchrun() -> bool:
    """Whether OMP_NUM_THREADS is torchrun's own 1: torchrun, our parent, started without one."""
    alone = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1
    if alone or os.environ.get("OMP_NUM_THREADS") != "1":
        return False
    try:
        given = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return True
    return b"OMP_NUM_THREADS=" not in given
