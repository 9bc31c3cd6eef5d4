"""Peak memory of the vMF step at every shape (L8); other families report their own."""

from typing import Any

from benchmarks.loss import OURS
from benchmarks.results import Entry, Setting, peaks
from benchmarks.workloads import SHAPES, TINY, Shape


def main(setting: Setting) -> list[Entry]:
    """One entry per shape; the check is for the leanest of ours."""
    if setting.device != "cpu":
        entry = Entry("memory", "a goal of the processor; the GPU's stands in its own report")
        entry.check(setting, "L8 iNat", None, entry.workload)
        return [entry]
    entries, beyond = [], []
    names = ("CIFAR100",) if setting.smoke else ("iNat", "SOP", "Cars", "CIFAR100", "C=1e5")
    for name in names:
        shape = setting.size(SHAPES[name], TINY)
        entry, best = of_shape(setting, name, shape)
        entries.append(entry)
        if best is not None:
            beyond.append(best - shape.C * shape.D * 4 / 2**20)
        if f"L8 {name}" in ("L8 iNat", "L8 C=1e5"):
            entry.check(setting, f"L8 {name}", best, "no figure")
    worst = max(beyond) if len(beyond) == len(names) else None
    entries[-1].check(setting, "L8 beyond dW", worst, "no figure at some shape")
    return entries


def of_shape(setting: Setting, name: str, shape: Shape) -> tuple[Entry, float | None]:
    """Peaks of all, and the lowest of ours in MB."""
    entry = Entry(f"memory of a step {name}", f"B,S,C,D = {shape}")
    who_all = setting.size(("2021", *OURS), ("ours iid",))
    cases: dict[str, dict[str, Any]] = {w: {"who": w, "shape": vars(shape)} for w in who_all}
    found = peaks(entry, setting, "loss", "step", cases, {"shape": vars(TINY)})
    mine = [p.extra_mb for who, p in found.items() if who in OURS and p.extra_mb is not None]
    entry.notes.append(f"dW alone is {shape.C * shape.D * 4 / 2**20:.1f} MB")
    return entry, min(mine) if mine else None
