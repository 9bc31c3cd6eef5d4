"""The optional compiler: whether Numba may compile a kernel here, and how it does.

A kernel is a plain function over NumPy arrays that stands beside the PyTorch code it replaces and
answers alike. Without Numba (`pip install vmf_embeddings[native]` brings it), or with
VMF_EMBEDDINGS_NATIVE=0 in the environment, the PyTorch code runs.
"""

import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

SWITCH = "VMF_EMBEDDINGS_NATIVE"
log = logging.getLogger(__name__)


def enabled() -> bool:
    """Whether kernels may be compiled: Numba is installed and nobody switched it off."""
    return os.environ.get(SWITCH, "1") != "0" and _installed()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """A decorator: machine code at the first call, kept on disk, run without Python's lock.

    Args:
        options: of `numba.njit`, such as `fastmath=True`.

    Raises:
        ImportError: Numba is not installed; ask `enabled()` before importing a kernel's file.
    """
    import numba

    _announce()
    return numba.njit(cache=True, nogil=True, error_model="numpy", **options)


@cache
def _say_once() -> None:
    log.info("compiling kernels: once on this machine, for up to a few minutes")


@cache
def _announce() -> None:
    """Have the log say why nothing seems to happen at the first kernel that is not on disk."""
    from numba.core import event

    class Announcement(event.Listener):
        def on_start(self, event: Any) -> None:
            _say_once()

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())


def in_threads(work: Callable[[int, int], Any], n_rows: int, least: int = 1) -> list[Any]:
    """Calls work(first, end) over shares of range(n_rows), one a thread that torch may use.

    Args:
        work: releases Python's lock, as kernels do.
        n_rows: how many rows there are to share.
        least: rows below which another thread does not pay.

    Returns:
        What the calls returned, in the order of the rows.
    """
    n_shares = max(1, min(torch.get_num_threads(), n_rows // max(1, least)))
    edges = [n_rows * i // n_shares for i in range(n_shares + 1)]
    if n_shares == 1:
        return [work(0, n_rows)]
    with ThreadPoolExecutor(n_shares) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))
