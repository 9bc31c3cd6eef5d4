"""Compiling kernels with Numba, which is optional, and on a GPU with Triton.

A kernel is a function of NumPy arrays that gives the same results as a PyTorch implementation
beside it, faster on a CPU. Without Numba (`pip install vmf_embeddings[native]` brings it), or with
VMF_EMBEDDINGS_NATIVE=0 in the environment, the PyTorch code runs. On a GPU it always runs, unless
VMF_EMBEDDINGS_TRITON=1.
"""

import hashlib
import importlib.util
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

SWITCH = "VMF_EMBEDDINGS_NATIVE"
TRITON_SWITCH = "VMF_EMBEDDINGS_TRITON"
SMALL_WORK = 2**20  # values below which PyTorch is done before Numba is loaded
log = logging.getLogger(__name__)


def enabled(n_values: int = SMALL_WORK) -> bool:
    """Whether compiled kernels are used: Numba is installed and VMF_EMBEDDINGS_NATIVE is not 0.

    Args:
        n_values: how many values the work takes; less than `SMALL_WORK` is left to PyTorch unless
            VMF_EMBEDDINGS_NATIVE is 1.
    """
    wanted = os.environ.get(SWITCH, "")
    return wanted != "0" and (wanted == "1" or n_values >= SMALL_WORK) and _installed()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def triton_enabled() -> bool:
    """Whether kernels of Triton are used on a GPU: with VMF_EMBEDDINGS_TRITON=1, else never.

    They have not been measured on one: until then PyTorch's code is the default.

    Raises:
        ValueError: it is 1, and Triton is not installed.
    """
    if os.environ.get(TRITON_SWITCH) != "1":
        return False
    if importlib.util.find_spec("triton") is None:
        raise ValueError(
            f"{TRITON_SWITCH}=1 needs triton, which is not installed: pip install triton, or unset "
            f"{TRITON_SWITCH}"
        )
    return True


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """A decorator that compiles at the first call, caches on disk, and releases the GIL.

    Args:
        options: of `numba.njit`, such as `fastmath=True`.

    Raises:
        ImportError: Numba is not installed; check `enabled()` before importing a module of kernels.
    """
    import numba

    _log_compilation()
    decorate = numba.njit(cache=True, nogil=True, error_model="numpy", **options)

    def compile_later(function: Callable) -> Callable:
        kernel = decorate(function)
        _distrust_older_files(kernel, Path(function.__code__.co_filename).parent)
        return kernel

    return compile_later


def _distrust_older_files(kernel: Any, folder: Path) -> None:
    """Makes what is cached on disk of a kernel depend on all files of its folder.

    Numba compares the file of the kernel alone, and would go on with code of an older version of
    another one that was compiled into it.
    """
    file = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _contents(folder))


@cache
def _contents(folder: Path) -> str:
    sources = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@cache
def _log_once() -> None:
    log.info("compiling kernels: once on this machine, for up to a few minutes")


@cache
def _log_compilation() -> None:
    """Log one line at the first kernel that is not in the cache: compiling takes minutes."""
    from numba.core import event

    class CompilationListener(event.Listener):
        def on_start(self, event: Any) -> None:
            _log_once()

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", CompilationListener())
