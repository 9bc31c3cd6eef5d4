"""Losses of the directional family beside their own matrix products and their published programs.

Every loss and its gradients at B = 256 rows, C = 1,000 classes, D = 512, S = 16 draws and 1,024
rows in a queue.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.directional_problems import LOSSES, Problem, Product
from benchmarks.measure import Case, no_garbage_collection
from benchmarks.results import Entry, Setting, peaks, versus

REAL, TINY = (256, 1000, 512, 16, 1024), (8, 11, 16, 2, 4)
WALL_ROUNDS, CALLS_PER_ROUND = 3, 5  # originals are slow; calls of 10 ms are not


def case(who: str, loss: str, sizes: list[int]) -> Case:
    """Loss and gradients of "ours" or "original", or "products"."""
    torch.manual_seed(0)
    problem = LOSSES[loss](*sizes)
    if who == "products":
        return products(problem.products)
    function = getattr(problem, who)
    return lambda: torch.autograd.grad(function(), problem.leaves, allow_unused=True)


def products(needed: list[Product]) -> Case:
    """The products alone, each table made and dropped."""
    parts = []
    for p in needed:
        x, w = torch.randn(p.tables, p.rows, p.dim), torch.randn(p.tables, p.columns, p.dim)
        parts.append((x.squeeze(0), w.squeeze(0), torch.randn(p.tables, p.rows, p.columns), p))

    def run() -> None:
        for x, w, grad, p in parts:
            outer = grad.squeeze(0)
            x @ w.mT
            if p.n_gradients > 0:
                outer @ w
            if p.n_gradients > 1:
                outer.mT @ x

    return run


def processor_times(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """Seconds of this thread on the processor, of single calls in turn: others' work is left out.

    What others do to the caches stays, so that the shortest calls are compared.
    """
    times: dict[str, list[float]] = {who: [] for who in cases}
    for number in range(1 + rounds):
        with no_garbage_collection():
            for who, call in cases.items():
                began = time.thread_time()
                call()
                if number:
                    times[who].append(time.thread_time() - began)
    return times


def of_loss(setting: Setting, loss: str) -> tuple[Entry, float | None]:
    """Times, and the memory beyond the gradients of the inputs in tables of logits."""
    sizes = list(setting.size(REAL, TINY))
    problem = LOSSES[loss](*sizes)
    entry = Entry(f"directional {loss}", f"loss and gradients, B,C,D,S,queue = {tuple(sizes)}")
    entry.notes.append("; ".join(map(described, problem.products)))
    names = ("ours", "original", "products") if problem.original else ("ours", "products")
    makers = {who: partial(case, who, loss, sizes) for who in names}
    versus(entry, replace(setting, rounds=min(setting.rounds, WALL_ROUNDS)), makers)
    cases = {who: makers[who]() for who in ("ours", "products")}
    times = processor_times(cases, setting.size(CALLS_PER_ROUND, 1) * setting.rounds)
    for who, seconds in times.items():
        entry.figures[who] |= {"shortest processor ms": 1e3 * min(seconds)}
    ratio = min(times["ours"]) / min(times["products"])
    entry.figures["ours"]["over products"] = ratio
    median = float(np.median(np.array(times["ours"]) / np.array(times["products"])))
    entry.figures["ours"]["median over products"] = median
    if loss in KEYS:
        entry.check(setting, f"L11 {loss}", ratio, "a case failed")
    return entry, memory(entry, setting, loss, problem)


def described(p: Product) -> str:
    """A product in words."""
    times = f"{p.tables} times " if p.tables > 1 else ""
    return f"products: {times}{1 + p.n_gradients} of {p.rows} x {p.dim} x {p.columns}"


def memory(entry: Entry, setting: Setting, loss: str, problem: Problem) -> float | None:
    """Peak beyond the gradients of the inputs, and of draws, in tables of logits."""
    if setting.smoke or setting.device != "cpu":
        return None
    cases = {w: {"who": w, "loss": loss, "sizes": list(REAL)} for w in ("ours", "original")}
    if problem.original is None:
        del cases["original"]
    # a whole call before: kernels are loaded above a certain size only
    found = peaks(entry, setting, "directional_losses", "case", cases, {})["ours"].extra_mb
    if found is None:
        return None
    numbers = sum(x.numel() for x in problem.leaves) + 2 * problem.draws
    tables = (found * 2**20 / 4 - numbers) / problem.table
    entry.figures["ours"]["tables beyond gradients"] = tables
    if problem.draws:
        entry.notes.append("memory: draws and their gradients count as gradients of inputs")
    return tables


KEYS = tuple(name for name in LOSSES if name != "a linear layer")


def main(setting: Setting) -> list[Entry]:
    """One entry per loss."""
    found = {loss: of_loss(setting, loss) for loss in LOSSES}
    entries = [entry for entry, _ in found.values()]
    known = {loss: tables for loss, (_, tables) in found.items() if loss in KEYS}
    for entry in entries[:1]:
        worst = max(known.values()) if all(t is not None for t in known.values()) else None
        why = "memory is measured on the processor, real size"
        entry.check(setting, "L11 memory", worst, why)
    return entries
