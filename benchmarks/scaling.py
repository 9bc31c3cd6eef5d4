"""How time and memory grow with the size of the problem: log-log slopes and a plot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.goals import SLOPES
from benchmarks.loss import OURS
from benchmarks.measure import Peak, peak_memory
from benchmarks.results import Entry, Setting
from benchmarks.workloads import Shape

STEP = Shape(64, 10, 10_000, 128, 0.4, 0.0)
TINY = Shape(4, 2, 16, 8, 0.4, 0.0)
FLOOR_MB = 1.0  # growth below it is the allocator's, not ours


def retrieval_of(n: int, per_class: int, dim: int):
    """For class sizes: n rows in classes of `per_class`, scored by ours."""
    import torch

    from benchmarks import ours
    from benchmarks.evaluation import unit_set

    x, _ = unit_set(n, max(2, n // 6), dim)
    labels = torch.arange(n) % max(2, n // per_class)
    return lambda: ours.retrieval(x, labels)


def episodes_of(n: int, n_classes: int):
    """One episode of 32 classes, 4 images of each."""
    import torch

    from benchmarks import ours
    from benchmarks.batches import exhaust, labels_of

    sampler = ours.episodic_sampler(torch.from_numpy(labels_of(n, n_classes)), 500, 32, 4)
    return lambda: exhaust(sampler)


def sweeps(smoke: bool) -> list[tuple[str, tuple[str, ...], list[tuple[float, str, str, dict]]]]:
    """(axis, curve names, points (x, module, function, arguments)) for every sweep."""

    def pick(real: list[int], tiny: list[int]) -> list[int]:
        return tiny if smoke else real

    base = TINY if smoke else STEP
    estimator, wide = _estimator(), 16 if smoke else 512

    def step(**change: int) -> dict[str, Any]:
        return {"who": estimator, "shape": vars(replace(base, **change))}

    def points(values, module, function, make):
        return [(v, module, function, make(v)) for v in values]

    predicting = replace(base, C=base.C if smoke else 1000, B=4 if smoke else 32)
    return [
        ("C", ("step time vs C", "step memory beyond dW vs C"),
         points(pick([10_000, 30_000, 100_000, 300_000, 1_000_000], [16, 64]), "loss", "step",
                lambda v: step(C=v))),
        ("S", ("step time vs S",),
         points(pick([4, 8, 16, 32], [2, 4]), "loss", "step", lambda v: step(S=v))),
        ("d", ("step time vs d",),
         points(pick([128, 256, 512, 1024], [8, 16]), "loss", "step", lambda v: step(D=v))),
        ("n", ("retrieval time vs n", "retrieval memory vs n"),
         points(pick([10_000, 20_000, 40_000, 60_000], [32, 64]), "evaluation", "evaluate",
                lambda v: {"who": "ours", "n": v, "n_classes": v // 5, "dim": wide})),
        ("class size", ("retrieval time vs class size",),
         points(pick([4, 8, 16, 32, 64], [4, 8]), "scaling", "retrieval_of",
                lambda v: {"n": 64 if smoke else 10_000, "per_class": v, "dim": wide})),
        ("hyperbolic d", ("hyperbolic logits time vs d", "hyperbolic logits memory vs d"),
         points(pick([128, 256, 512, 1024], [8, 16]), "heads", "hyperbolic",
                lambda v: {"who": "ours", "B": 8 if smoke else 256, "C": 1000, "D": v})),
        ("N", ("episode time vs N",),
         points(pick([50_000, 200_000, 800_000], [2_000, 4_000]), "scaling", "episodes_of",
                lambda v: {"n": v, "n_classes": 100 if smoke else 1000})),
        ("episode C", ("episode time vs C",),
         points(pick([100, 1_000, 10_000], [50, 100]), "scaling", "episodes_of",
                lambda v: {"n": 2_000 if smoke else 400_000, "n_classes": v})),
        ("prediction d", ("prediction time vs d", "prediction memory vs d"),
         points(pick([128, 256, 512, 1024], [8, 16]), "prediction", "predict",
                lambda v: {"who": "ours", "shape": vars(replace(predicting, D=v))})),
    ]  # fmt: skip


def _estimator() -> str:
    from benchmarks.loss import step
    from benchmarks.results import NotAvailable

    try:
        step("ours antithetic", TINY)
    except NotAvailable:
        return OURS[0]
    return "ours antithetic"


def growing(axis: str, value: float, peak: Peak, curve: str, arguments: dict) -> float | None:
    """The ordinate of a curve: seconds, or MB beyond the outputs, at least the floor."""
    if "time" in curve:
        return peak.seconds
    if peak.extra_mb is None:
        return None
    shape = arguments.get("shape", {})
    own = shape["C"] * shape["D"] * 4 / 2**20 if "beyond dW" in curve else 0.0
    if "hyperbolic" in curve:  # the gradients of z, a and p are outputs
        own = (2 * arguments["C"] + arguments["B"]) * value * 4 / 2**20
    return max(peak.extra_mb - own, FLOOR_MB)


def slope(xs: list[float], ys: list[float]) -> float | None:
    """Least squares in the logarithms; None for fewer than two points."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0]) if len(xs) > 1 else None


def main(setting: Setting) -> list[Entry]:
    """One entry per sweep; slopes stand in the figures beside what is allowed."""
    if setting.device != "cpu":
        return [Entry("scaling", "a measurement of the processor: run it with --device cpu")]
    entries = []
    chosen = sweeps(setting.smoke)
    for axis, curves, points in chosen[1:2] if setting.smoke else chosen:
        entry = Entry(f"scaling with {axis}", f"{axis} = {[x for x, *_ in points]}")
        peaks = [
            peak_memory(f"benchmarks.{module}", function, arguments, warm=arguments
                        if axis in ("N", "episode C") else None, repeats=setting.size(3, 1))
            for _, module, function, arguments in points
        ]  # fmt: skip
        for curve in curves:
            entry.figures[curve] = figure(axis, curve, points, peaks)
        failures = [f"{axis}={x[0]}: {p.failure}" for x, p in zip(points, peaks, strict=True)
                    if p.failure]  # fmt: skip
        entry.notes += failures
        entries.append(entry)
    return entries


def figure(axis: str, curve: str, points: list, peaks: list[Peak]) -> dict[str, Any]:
    """Points of one curve that were measured, slope, allowance, verdict."""
    pairs = [
        (x, growing(axis, x, p, curve, a)) for (x, *_, a), p in zip(points, peaks, strict=True)
    ]
    xs, ys = [x for x, y in pairs if y is not None], [y for _, y in pairs if y is not None]
    found = slope(xs, ys)
    # two runs of the same thing differ by some percent: a flat curve's slope is not exactly 0
    verdict = "not measurable" if found is None else (
        "met" if round(found, 1) <= SLOPES[curve] else "missed")  # fmt: skip
    return {"x": xs, "y": ys, "slope": found, "allowed": SLOPES[curve], "verdict": verdict}


def plot(entries: list[dict[str, Any]], path: Path) -> None:
    """All curves relative to their first point, time on the left, memory on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained")
    for entry in entries:
        for curve, data in entry["figures"].items():
            if len(data.get("x", ())) < 2:
                continue
            axis = axes[int("memory" in curve)]
            x, y = np.array(data["x"]) / data["x"][0], np.array(data["y"]) / data["y"][0]
            axis.plot(x, y, "o-", markersize=4, linewidth=1.5,
                      label=f"{curve}: {data['slope']:.2f} (≤ {data['allowed']:g})")  # fmt: skip
    for axis, title in zip(axes, ("time", "memory"), strict=True):
        axis.set(xscale="log", yscale="log", title=f"{title}: log-log slope (allowed)",
                 xlabel="size, relative to the smallest", ylabel=f"{title}, relative")  # fmt: skip
        axis.grid(True, which="major", alpha=0.3)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter("")
        if axis.lines:  # below the picture, where it covers no curve
            axis.legend(
                fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12)
            )
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
