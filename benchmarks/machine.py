"""What the figures were measured on."""

import datetime
import os
import platform
import sys
from pathlib import Path
from typing import Any


def describe(device: str = "cpu") -> dict[str, Any]:
    """Processor, memory, versions, threads, load; the GPU where one was used."""
    import numpy as np
    import torch

    facts: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(_memory_gb(), 1),
        "threads": torch.get_num_threads(),
        "load_at_start": [round(x, 2) for x in os.getloadavg()],
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name()
        facts["cuda"] = torch.version.cuda
    return facts | {name: version(name) for name in PEERS}


PEERS = ("torchvision", "accelerate", "hydra-core", "scikit-learn", "faiss-cpu", "scipy",
         "pytorch-metric-learning", "torchmetrics", "numba", "triton",
         "cut-cross-entropy", "liger-kernel")  # fmt: skip


def version(package: str) -> str:
    """Version of an installed package, or "not installed"."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
