"""The same work on one thread, on two and on all cores of the machine (T1-T3)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch

from benchmarks import evaluation, loss, peers, sampler
from benchmarks.measure import Case
from benchmarks.results import Entry, Maker, Setting, versus, why_not
from benchmarks.workloads import shape_of

STEPS = ("iNat", "SOP", "CIFAR100", "MNIST")
PEER = "PML faiss"


def counts() -> tuple[int, ...]:
    """1, 2 and the number of this process's cores."""
    return tuple(sorted({1, 2, len(os.sched_getaffinity(0))}))


@contextmanager
def number_of_threads(n: int) -> Iterator[None]:
    """Inside, PyTorch, faiss and their libraries of linear algebra have n threads."""
    before, limits = torch.get_num_threads(), peers.needed("threadpoolctl").threadpool_limits
    with limits(n):
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def on(n: int, make: Maker) -> Case:
    """The case on n threads."""
    case = make()

    def run() -> None:
        with number_of_threads(n):
            case()

    return run


def compared(setting: Setting, key: str, entry: Entry, makers: dict[str, Maker]) -> Entry:
    """Times every case on each number of threads; ours on two is held against ours on one."""
    made_once = {who: cache(make) for who, make in makers.items()}
    on_threads = {
        f"{who}, {n} threads": partial(on, n, make)
        for who, make in made_once.items()
        for n in counts()
    }
    result = versus(entry, setting, on_threads)
    names = "ours, 1 threads", "ours, 2 threads"
    entry.check(setting, key, result.ratio(*names), why_not(entry, *names))
    return entry


def main(setting: Setting) -> list[Entry]:
    """Steps, draws, retrieval."""
    entries = []
    for name in STEPS:
        shape = shape_of(name, setting.smoke)
        entry = Entry(f"step {name}", f"draws, loss, gradients, B,S,C,D = {shape}")
        names = {"ours": "ours antithetic", "2021": "2021"}
        makers = {who: partial(loss.step, names[who], shape) for who in names}
        entries.append(compared(setting, f"T1 {name}", entry, makers))
    n, dim = setting.size((60_000, 128), (40, 8))
    entry = Entry(f"draws {n} x {dim}", f"{n} laws, dimension {dim}, kappa 60")
    makers = {who: partial(sampler.draws, who, n, dim, 60.0) for who in ("ours", "2021")}
    entries.append(compared(setting, "T2", entry, makers))
    n, n_classes, dim = setting.size((20_000, 3_742, 512), (60, 12, 16))
    entry = Entry(f"retrieval {n}", f"R@1 and MAP@R, n={n}, {n_classes} classes, d={dim}")
    makers = {who: partial(evaluation.evaluate, who, n, n_classes, dim) for who in ("ours", PEER)}
    return [*entries, compared(setting, "T3", entry, makers)]
