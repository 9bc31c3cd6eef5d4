"""Inputs that several families share: vMF training states, retrieval sets, labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of a vMF step, confidence at the start and log temperature."""

    B: int
    S: int
    C: int
    D: int
    confidence: float
    tau: float

    def __str__(self) -> str:
        return (
            f"({self.B},{self.S},{self.C},{self.D}) tau {self.tau:g} confidence {self.confidence:g}"
        )


SHAPES = {
    "iNat": Shape(256, 10, 8142, 512, 0.7, -2.773),
    "SOP": Shape(64, 10, 9620, 512, 0.7, -2.773),
    "Cars": Shape(128, 10, 83, 512, 0.7, -2.773),
    "CIFAR100": Shape(256, 10, 100, 128, 0.4, 0.0),
    "MNIST": Shape(130, 10, 10, 3, 0.4, 0.0),
    "C=1e5": Shape(64, 10, 100_000, 128, 0.4, 0.0),
    "C=1e6": Shape(64, 10, 1_000_000, 128, 0.4, 0.0),
}
TINY = Shape(8, 4, 11, 16, 0.4, -1.0)
TINY_3D = Shape(8, 4, 11, 3, 0.4, 0.0)


def shape_of(name: str, smoke: bool) -> Shape:
    """One of `SHAPES`, or a tiny one."""
    if smoke:
        return TINY_3D if name == "MNIST" else TINY
    return SHAPES[name]


@dataclass(frozen=True)
class State:
    """Embeddings z [B, D], class weights [C, D], labels [B], log temperature; leaves with grad."""

    z: Tensor
    weights: Tensor
    labels: Tensor
    tau: Tensor


def vmf_state(shape: Shape, *, device: str = "cpu", trained: bool = False, seed: int = 0) -> State:
    """A random state: the start of a training, or one where z = 0.95 of its class plus noise."""
    rng = torch.Generator().manual_seed(seed)
    std = shape.confidence / (1 - shape.confidence**2) * (shape.D - 1) / shape.D**0.5
    weights = torch.randn(shape.C, shape.D, generator=rng) * std
    labels = torch.randint(shape.C, (shape.B,), generator=rng)
    z = torch.randn(shape.B, shape.D, generator=rng) * std
    if trained:
        z = 0.95 * weights[labels] + 0.3 * z
    leaves = [x.to(device).requires_grad_() for x in (z, weights, torch.tensor(float(shape.tau)))]
    return State(leaves[0], leaves[1], labels.to(device), leaves[2])


def product_like_labels(n: int, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Classes of 2 to 12 rows, n rows in all (a little fewer where the counts do not allow it)."""
    share = min(1.0, max(0.0, (n / n_classes - 2) / 10))
    labels = np.repeat(np.arange(n_classes), 2 + rng.binomial(10, share, n_classes))
    missing = n - len(labels)
    if missing > 0:
        labels = np.append(labels, rng.choice(n_classes, missing))
    return rng.permutation(labels)[:n]


def retrieval_set(
    n: int, n_classes: int, dim: int, *, noise: float = 1.5, kappa: float = 700.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """vMF embeddings kappa mu [n, dim] around class centres, and their labels [n]."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(product_like_labels(n, n_classes, rng))
    generator = torch.Generator().manual_seed(seed)
    centres = functional.normalize(torch.randn(n_classes, dim, generator=generator), dim=-1)
    around = torch.randn(n, dim, generator=generator) * (noise / dim**0.5)
    mu = functional.normalize(centres[labels] + around, dim=-1)
    return kappa * mu, labels


def balanced_labels(n: int, n_classes: int, seed: int = 0) -> np.ndarray:
    """n labels, every class about equally large, shuffled."""
    return np.random.default_rng(seed).permutation(np.arange(n) % n_classes)
