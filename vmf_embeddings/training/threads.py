"""Number of CPU threads of a process: the cores it may use, divided among the processes."""

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
LIMIT = Path("/sys/fs/cgroup/cpu.max")
EXPLICIT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def thread_count(wanted: int | None) -> int | None:
    """Number of threads to set for this process; None if the environment determines it.

    A single process gets all usable cores; under torchrun, each process of a machine gets an equal
    part. OMP_NUM_THREADS and MKL_NUM_THREADS take precedence, except for the OMP_NUM_THREADS=1 that
    torchrun sets if the user has not set it.

    Args:
        wanted: `trainer.threads`, >= 1, is returned; None computes the number.
    """
    if wanted is not None:
        return wanted
    if any(os.environ.get(name) for name in EXPLICIT) and not _set_by_torchrun():
        return None
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def usable_cores() -> int:
    """Physical cores that this process may use: by its CPU affinity and its container's limit."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    cores = len({_siblings(cpu) for cpu in allowed}) or os.cpu_count() or 1
    return max(1, min(cores, _container_limit()))


def _siblings(cpu: int) -> str:
    """The hardware threads on the same core as a logical CPU, as Linux lists them."""
    try:
        return (TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _container_limit() -> int:
    """CPU time that the control group (cgroup v2) allows, in cores; 2^31 without a limit."""
    try:
        quota, period = LIMIT.read_text().split()
    except (OSError, ValueError):
        return 2**31
    return 2**31 if quota == "max" else int(quota) // int(period)


def _set_by_torchrun() -> bool:
    """Whether torchrun set OMP_NUM_THREADS=1: torchrun, the parent process, does not have it."""
    alone = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1
    if alone or os.environ.get("OMP_NUM_THREADS") != "1":
        return False
    try:
        given = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return True
    return b"OMP_NUM_THREADS=" not in given
