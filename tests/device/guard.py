"""Compiles and loads guard.cpp, after which a CPU build of torch knows one CUDA device.

torch asks for its CUDA hooks once, while it is imported. So this must come first, in a process of
its own, and imports nothing of torch.
"""

import ctypes
import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")
CACHE = Path(__file__).parents[2] / ".pytest_cache" / "emulated_cuda"


def load() -> None:
    """Loads the compiled guard; needs g++ the first time.

    Raises:
        ImportError: torch is imported already.
    """
    if "torch" in sys.modules:
        raise ImportError("load the guard before torch: its CUDA hooks are chosen at its import")
    ctypes.CDLL(str(_compiled()), ctypes.RTLD_GLOBAL)


def _compiled() -> Path:
    """The shared library, made once for every version of torch."""
    root = Path(find_spec("torch").submodule_search_locations[0])  # torch is not imported
    key = hashlib.sha256(SOURCE.read_bytes() + f"{version('torch')} {root}".encode()).hexdigest()
    target = CACHE / f"guard_{key[:12]}.so"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}")
        command = ["g++", "-O1", "-shared", "-fPIC", "-std=c++20", str(SOURCE), "-o", str(part)]
        command += [f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include"]
        command += [f"-L{root}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{root}/lib"]
        subprocess.run(command, check=True)
        os.replace(part, target)
    return target
