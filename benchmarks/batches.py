"""Episodes of indices (P1): an index of images by class against a scan per class."""

from collections import deque

import numpy as np
import torch

from benchmarks import ours, reference_2021
from benchmarks.results import Entry, Setting, versus

SETS = {"SOP": (59_551, 11_318, 32, 2), "iNat18": (437_513, 8_142, 32, 4),
        "ImageNet": (1_281_167, 1_000, 32, 8)}  # fmt: skip


def exhaust(batches) -> None:
    """Run through at the speed of C."""
    deque(batches, maxlen=0)


def labels_of(n: int, n_classes: int) -> np.ndarray:
    """Every class at least twice, the rest by chance, shuffled."""
    rng = np.random.default_rng(0)
    rest = rng.integers(0, n_classes, max(0, n - 2 * n_classes))
    return rng.permutation(np.concatenate([np.tile(np.arange(n_classes), 2), rest]))


def main(setting: Setting) -> list[Entry]:
    """Seconds per episode at three sizes, and the time to build the index."""
    entries = []
    for name, real in SETS.items():
        n, n_classes, per_episode, n_samples = setting.size(real, (200, 20, 4, 2))
        labels = labels_of(n, n_classes)
        sampler = ours.episodic_sampler(torch.from_numpy(labels), 500, per_episode, n_samples)
        scanned = setting.size(20, 2)
        entry = Entry(
            f"episodes {name}", f"{n} images, {n_classes} classes, {per_episode} x {n_samples}"
        )
        makers = {
            "2021": lambda labels=labels, k=per_episode, s=n_samples, e=scanned: (
                lambda: exhaust(reference_2021.episodes(labels, e, k, s))
            ),
            "ours": lambda sampler=sampler: lambda: exhaust(sampler),
        }
        result = versus(entry, setting, makers, units={"2021": scanned, "ours": 500})
        entry.check(setting, f"P1 {name}", result.ratio("2021", "ours"))
        entries.append(entry)
    # the last set is the largest: what its index costs beside the sort that any index needs
    built = Entry("index build", entries[-1].workload)
    tensor = torch.from_numpy(labels)
    makers = {
        "argsort": lambda: lambda: np.argsort(labels, kind="stable"),
        "ours": lambda: lambda: ours.episodic_sampler(tensor, 500, 4, 2),
    }
    result = versus(built, setting, makers)
    built.check(setting, "P1 build", result.ratio("ours", "argsort"))
    return [*entries, built]
