"""The switches for a GPU that none has shown to be faster yet: CUDA graphs, and Triton's loss.

Each is held against the same work without it: first how far the results are apart, then the time.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks import loss, ours
from benchmarks.measure import Case
from benchmarks.results import Entry, NotAvailable, Setting, made, versus
from benchmarks.workloads import Shape, shape_of
from vmf_embeddings.native import TRITON_SWITCH

NO_GPU = "needs a GPU"


def epoch(captured: bool, n_batches: int, device: str) -> Case:
    """Batches of 130 images of digits through the loop's own epoch; losses [n_batches]."""
    if captured and not device.startswith("cuda"):
        raise NotAvailable(NO_GPU)
    rng, n = np.random.default_rng(0), 130 * n_batches
    images = rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    trainer = {"cuda_graph": captured, "cpu": device == "cpu"}
    sampler = ours.random_sampler(n, 130)
    labels = np.arange(n) % 10
    return ours.training_epoch(
        "n_digit_mnist", images, labels, sampler, trainer, True, embedding_dim=3
    )


def loss_step(with_triton: bool, shape: Shape, device: str) -> Case:
    """Draws, loss and gradients of the antithetic estimator."""
    if with_triton and not device.startswith("cuda"):
        raise NotAvailable(NO_GPU)
    if with_triton and find_spec("triton") is None:
        raise NotAvailable("triton is not installed")
    step = loss.step("ours antithetic", shape, device)

    def run() -> Any:
        os.environ[TRITON_SWITCH] = str(int(with_triton))
        try:
            return step()
        finally:
            del os.environ[TRITON_SWITCH]

    return run


def apart(plain: Case, switched: Case) -> float:
    """Largest difference of what two cases return from one seed, relative to the largest number."""
    found = []
    for case in (plain, switched):
        torch.manual_seed(0)
        found.append([t for t in case() if isinstance(t, torch.Tensor)])
    pairs = zip(*found, strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def compared(
    entry: Entry, setting: Setting, make: Callable[[bool], Case], name: str, n_units: float = 1.0
) -> Entry:
    """Fills an entry with times of both, and notes how far they are apart."""
    makers = {"ours": partial(make, False), name: partial(make, True)}
    cases, missing = made(makers)
    if not missing:
        difference = apart(*cases.values())
        entry.notes.append(f"{name}: apart by {difference:.1e} of the largest number")
    makers = {k: lambda case=case: case for k, case in cases.items()}
    versus(entry, setting, makers, units=dict.fromkeys(makers, n_units))
    entry.figures |= {k: {"failure": reason} for k, reason in missing.items()}
    return entry


def main(setting: Setting) -> list[Entry]:
    """One entry for graphs, one per shape for Triton."""
    n = setting.size(250, 2)
    graphs = Entry("CUDA graph", f"{n} steps with 130 images of digits, batches and all")
    found = [compared(graphs, setting, lambda on: epoch(on, n, setting.device),
                      "ours cuda_graph", float(n))]  # fmt: skip
    for name in ("CIFAR100", "Cars", "SOP", "iNat"):
        shape = shape_of(name, setting.smoke)
        entry = Entry(f"Triton {name}", f"draws, loss, gradients, B,S,C,D = {shape}")
        make = partial(loss_step, shape=shape, device=setting.device)
        found.append(compared(entry, setting, make, "ours Triton"))
    return found
