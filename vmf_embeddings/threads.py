"""Work divided among the threads that PyTorch's own operations run on.

A thread of OpenMP, on which PyTorch's operations run, waits for its next work by spinning for some
milliseconds. Threads of another pool would share the processor with those that spin, and a step of
a few milliseconds would take three times as long with two threads as with one. So the
work is given to OpenMP's threads themselves: `GOMP_parallel`, which GNU's and LLVM's runtimes
export, is looked up in the very runtime that PyTorch is linked with. Where there is none (Windows,
macOS) the threads of a pool do it, which is made once.

Inside such work, an operation of PyTorch runs on its own thread alone.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
MOST_THREADS = 256
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_threads(work: Callable[[int, int], Any], n_rows: int, least: int = 1) -> list[Any]:
    """Calls work(first, end) on consecutive parts of range(n_rows), one part per thread.

    Args:
        work: releases the GIL, as kernels do.
        n_rows: number of rows.
        least: fewest rows for which another thread is worthwhile.

    Returns:
        Results of the calls, in the order of the rows; at most `torch.get_num_threads()` of them.
    """
    n_parts = max(1, min(torch.get_num_threads(), n_rows // max(1, least)))
    edges = [n_rows * i // n_parts for i in range(n_parts + 1)]
    parts = list(zip(edges[:-1], edges[1:], strict=True))
    return each(lambda part: work(*part), parts)


def each(work: Callable[[Item], Any], items: Iterable[Item]) -> list[Any]:
    """Calls work(item) for every item, on up to `torch.get_num_threads()` threads.

    A thread that is done takes the next item. Gradients are off.

    Args:
        work: releases the GIL for most of its time, as kernels and PyTorch's operations do.
        items: any number of them.

    Returns:
        Results of the calls, in the order of the items.

    Raises:
        BaseException: the first that a call raised; items that were not begun are then left out.
    """
    items = list(items)
    results: list[Any] = [None] * len(items)
    queue = enumerate(items)
    failures: list[BaseException] = []

    def take_items() -> None:
        # the GIL is held while an item is taken; an interrupt of the user arrives here, too
        try:
            with torch.no_grad():
                for number, item in queue:
                    if failures:
                        return
                    results[number] = work(item)
        except BaseException as error:
            failures.append(error)

    n_threads = min(torch.get_num_threads(), len(items))
    if n_threads <= 1:
        take_items()
    else:
        _on_threads(take_items, n_threads)
    if failures:
        raise failures[0]
    return results


def _on_threads(body: Callable[[], None], n_threads: int) -> None:
    """Calls body() on this thread and at most `n_threads` - 1 others, and waits for all."""
    parallel = _openmp()
    if parallel is not None:
        parallel(_Body(lambda _: body()), None, n_threads, 0)
        return
    others = [_pool().submit(body) for _ in range(n_threads - 1)]
    body()
    for other in others:  # those that have not begun are not needed: nothing is left to do
        if not other.cancel():
            other.result()


@cache
def _openmp() -> Callable[..., None] | None:
    """`GOMP_parallel` of the OpenMP runtime that PyTorch uses, or None where it has none."""
    if not (sys.platform.startswith("linux") and torch.backends.openmp.is_available()):
        return None
    try:  # a symbol is searched for in a library and in what it is linked with
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        parallel = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_THREADS, "vmf_embeddings")  # starts them when it needs them


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
