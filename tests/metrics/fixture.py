"""Embeddings made from sines, and laws' ingredients, for the tests of metric learning's scores."""

import numpy as np
import torch
from torch import Tensor


def sines() -> tuple[np.ndarray, np.ndarray]:
    """1200 unit rows in 8 dimensions and their 60 classes; the numbers for them are known."""
    i, j = np.arange(1200)[:, None], np.arange(8)[None]
    y = i % 60
    rows = np.cos(1.3 * y + 2.1 * j * (1 + 0.37 * y)) + 0.8 * np.sin(12.9898 * (i + 1) * (j + 1))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), y.squeeze(1)


def clustered(
    n: int = 90, n_classes: int = 6, dim: int = 5, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Noisy rows round a centre for each class, float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return centres[labels] + 0.4 * noise, labels


def rotation(dim: int, seed: int = 1) -> Tensor:
    """An orthogonal matrix [dim, dim], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
