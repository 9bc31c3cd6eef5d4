"""Time times gradient variance (L7): what an estimator costs for the same noise in dW and dz."""

import numpy as np
import torch
from torch import Tensor

from benchmarks import loss
from benchmarks.measure import compare
from benchmarks.results import Entry, NotAvailable, Setting
from benchmarks.workloads import Shape, shape_of

ESTIMATORS = ("2021", "ours iid", "ours antithetic")


def trace_of_covariance(case, n_seeds: int) -> dict[str, float]:
    """Sum over coordinates of the variance of dz and dW over seeds, by Welford's recursion."""
    means: list[Tensor] = []
    squares: list[Tensor] = []
    for seed in range(n_seeds):
        torch.manual_seed(seed)
        gradients = [g.double() for g in case()[:2]]
        if not means:
            means, squares = gradients, [torch.zeros_like(g) for g in gradients]
            continue
        for mean, square, gradient in zip(means, squares, gradients, strict=True):
            difference = gradient - mean
            mean += difference / (seed + 1)
            square += difference * (gradient - mean)
    dz, dw = (float(s.sum()) / (n_seeds - 1) for s in squares)
    return {"dz": dz, "dW": dw}


def cells(name: str, shape: Shape, trained: bool, setting: Setting) -> tuple[Entry, list[float]]:
    """One state of one shape: an entry, and the gains of the antithetic estimator."""
    state = "trained" if trained else "start"
    n_seeds = setting.size(100, 3)
    entry = Entry(f"variance {name} {state}", f"{n_seeds} seeds, B,S,C,D = {shape}")
    cases = {}
    for who in ESTIMATORS:
        try:
            cases[who] = loss.step(who, shape, setting.device, trained)
        except NotAvailable as reason:
            entry.figures[who] = {"failure": str(reason)}
    times = compare(
        cases, setting.rounds, setting.warmup, device=setting.device, shortest=setting.shortest
    )
    entry.figures.update(times.as_dict())
    noise = {who: trace_of_covariance(case, n_seeds) for who, case in cases.items()}
    gains = []
    for who, traces in noise.items():
        for gradient, trace in traces.items():
            ratio = times.ratio("2021", who)
            gain = noise["2021"][gradient] / max(trace, 1e-300) * ratio.median
            entry.figures[who][f"variance_{gradient}"] = trace
            entry.figures[who][f"gain_{gradient}"] = gain
            if who == "ours antithetic":
                gains.append(gain)
    return entry, gains


def main(setting: Setting) -> list[Entry]:
    """Three shapes, two states, two gradients: twelve cells."""
    entries, gains = [], []
    for name in ("SOP", "Cars", "CIFAR100"):
        for trained in (False, True):
            entry, found = cells(name, shape_of(name, setting.smoke), trained, setting)
            entries.append(entry)
            gains += found
    reason = "antithetic pairs did not run; gains of iid stand in the figures"
    worst, middle = (float(f(gains)) if gains else None for f in (np.min, np.median))
    entries[-1].check(setting, "L7 worst cell", worst, reason)
    entries[-1].check(setting, "L7 median cell", middle, reason)
    return entries
