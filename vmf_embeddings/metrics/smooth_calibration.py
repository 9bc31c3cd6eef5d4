"""The smooth calibration error: no bins, consistent, one natural width.

Blasiok & Nakkiran 2023, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing",
https://arxiv.org/abs/2309.12236. With a Gaussian K_s of width s, reflected at 0 and 1,

    smECE_s = int_0^1 |mean_i K_s(t, p_i) (y_i - p_i)| dt,

which falls with s; smECE is where it equals s.
"""

import math

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64

_CELLS = 4000  # of [0, 1]; every row is divided between the middles of two
_NARROWEST = 1e-6


def smooth_calibration_error(confidence: Array, correct: Array) -> float:
    """The smooth calibration error, in [0, 1]; within 1e-4.

    Args:
        confidence: [N] predicted probabilities, in [0, 1]; N >= 1.
        correct: [N] whether the prediction is correct.

    >>> round(smooth_calibration_error([0.75] * 4, [1, 1, 1, 0]), 12)
    0.0
    """
    from scipy.optimize import brentq

    waves = _waves(confidence, correct)
    if _at(waves, _NARROWEST) <= _NARROWEST:
        return 0.0
    if _at(waves, 1.0) >= 1:
        return 1.0
    return _at(waves, brentq(lambda width: _at(waves, width) - width, _NARROWEST, 1, xtol=1e-8))


def smooth_calibration_error_at(confidence: Array, correct: Array, width: float) -> float:
    """smECE_s for one width s > 0; at large ones it is the absolute gap.

    Args:
        confidence: [N] predicted probabilities, in [0, 1]; N >= 1.
        correct: [N] whether the prediction is correct.
        width: s.

    >>> round(smooth_calibration_error_at([0.8, 0.8], [1, 1], 10.0), 6)
    0.2
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}")
    return _at(_waves(confidence, correct), width)


def _waves(confidence: Array, correct: Array) -> Tensor:
    """Fourier coefficients of mean_i (y_i - p_i) at p_i, reflected at 0 and 1: of period 2."""
    p, y = as_float64(confidence), as_float64(correct)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(
            "confidence and correct must both be [N] with N >= 1, "
            f"got {list(p.shape)} and {list(y.shape)}"
        )
    residual = (y - p) / len(p)
    place = p.clamp(0, 1) * _CELLS - 0.5
    below = place.floor()
    above_share = place - below
    mass = torch.zeros(_CELLS, dtype=torch.float64)
    for cell, share in ((below, 1 - above_share), (below + 1, above_share)):
        # a middle beyond an end is its own mirror image, the cell at that end
        mass.index_add_(0, cell.long().clamp(0, _CELLS - 1), residual * share)
    return torch.fft.rfft(torch.cat([mass, mass.flip(0)]))


def _at(waves: Tensor, width: float) -> float:
    # a Gaussian of width s, of period 2, has the coefficients exp(-(pi m s)^2 / 2)
    m = torch.arange(len(waves), dtype=torch.float64)
    smooth = torch.fft.irfft(waves * torch.exp(-((math.pi * width * m) ** 2) / 2), 2 * _CELLS)
    return float(smooth[:_CELLS].abs().sum())
