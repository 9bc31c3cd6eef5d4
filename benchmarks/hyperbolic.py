"""Distances and nearest neighbours in the Poincare ball (D1)."""

from functools import partial

import torch

from benchmarks import ours, reference_2021
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, peaks, quotient, versus, why_not

CURVATURE = 0.1
BOTH = ("2021", "ours")


def points(n: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Points of the ball [n, dim], some way from the border, and labels [n]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64) / dim**0.5
    labels = torch.randint(max(2, n // 10), (n,), generator=generator)
    return ours.to_ball(x, CURVATURE).to(dtype), labels


def distances(who: str, n: int, dim: int, device: str = "cpu") -> Case:
    """All pairs."""
    x = points(n, dim)[0].to(device)
    if who == "2021":
        return lambda: reference_2021.poincare_distances(x, CURVATURE)
    return lambda: ours.hyperbolic_distances(x, CURVATURE)


def neighbours(who: str, n: int, dim: int, device: str = "cpu") -> Case:
    """Recall@1."""
    x, labels = (t.to(device) for t in points(n, dim))
    function = reference_2021.hyperbolic_recall if who == "2021" else ours.hyperbolic_recall
    return lambda: function(x, labels, CURVATURE)


def main(setting: Setting) -> list[Entry]:
    """Time, memory, and the difference of float32 distances from float64 ones."""
    n, dim = setting.size((3000, 512), (40, 16))
    entries = []
    for make, key in ((distances, "D1 distances"), (neighbours, "D1 neighbours")):
        entry = Entry(f"hyperbolic {make.__name__}", f"n={n}, d={dim}, c={CURVATURE}")
        makers = {who: partial(make, who, n, dim, setting.device) for who in BOTH}
        result = versus(entry, setting, makers)
        entry.check(setting, key, result.ratio("2021", "ours"), why_not(entry, *BOTH))
        entries.append(entry)
    share = None
    if not setting.smoke and setting.device == "cpu":
        cases = {who: {"who": who, "n": n, "dim": dim} for who in BOTH}
        found = peaks(entries[0], setting, "hyperbolic", "distances", cases, {"n": 40, "dim": 16})
        share = quotient(found["ours"], found["2021"])
    entries[0].check(setting, "D1 memory", share, "memory is measured on the processor, real size")
    few = setting.size(500, 20)
    x = points(few, dim, torch.float64)[0]
    exact = ours.hyperbolic_distances(x, CURVATURE)
    rough = ours.hyperbolic_distances(x.float(), CURVATURE).double()
    off = ~torch.eye(few, dtype=torch.bool)
    largest = float(((rough - exact).abs() / exact)[off].max())
    entries[0].check(setting, "D1 difference", largest)
    return entries
