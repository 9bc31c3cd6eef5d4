"""Memory that this process may still take: of the machine, and of its container."""

import os
from pathlib import Path

import psutil  # Accelerate depends on it

CONTAINER = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Free bytes of the machine, or of the container (cgroup v2) if that has fewer.

    Divided by the processes that torchrun started on this machine.
    """
    n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(psutil.virtual_memory().available, _left_in_container()) // n_processes


def _left_in_container() -> int:
    """Bytes between the container's limit and what it uses; 2^62 without a limit."""
    try:
        limit = int((CONTAINER / "memory.max").read_text())  # "max" is no number
        return max(0, limit - int((CONTAINER / "memory.current").read_text()))
    except (OSError, ValueError):
        return 2**62
