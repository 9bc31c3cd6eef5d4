"""Spectral decay rho: divergence of the normalised singular values from the uniform distribution.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", https://arxiv.org/abs/2002.08473, section 5; Roth, Vinyals, Akata 2022,
https://arxiv.org/abs/2203.08547, section 4. The code of these papers (REV and NIR below)
interprets negative modes and mode 0 differently.
"""

from typing import Literal

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64


def singular_values(embeddings: Array) -> Tensor:
    """All min(N, D) singular values of the embedding matrix (not centred), largest first.

    Args:
        embeddings: [N, D], N and D >= 1, finite.

    Returns:
        [min(N, D)] float64 on the embeddings' device, >= 0.

    Raises:
        ValueError: not a matrix, or values that are not finite.

    >>> singular_values([[3.0, 0.0], [0.0, 4.0]])
    tensor([4., 3.], dtype=torch.float64)
    """
    rows = as_float64(embeddings)
    if rows.ndim != 2 or rows.numel() == 0 or not torch.isfinite(rows).all():
        raise ValueError(f"a spectrum needs finite embeddings [N, D], got {list(rows.shape)}")
    return torch.linalg.svdvals(rows)


def rho_spectrum(values: Tensor, mode: int = 1, reading: Literal["NIR", "REV"] = "NIR") -> float:
    """KL divergence of the uniform distribution and the normalised singular values, in nats.

    The |mode| - 1 largest values are dropped and the others, s, are divided by their sum. Small
    rho = many directions are used. 0 where all values are equal, and where only one remains.

    Args:
        values: [n] singular values, largest first.
        mode: m; 1 takes all values, 2 drops the largest. |m| - 1 < n.
        reading: whose code defines modes < 1. "NIR": the sign is ignored, and mode 0 gives 0.
            "REV": a negative mode gives the reverse divergence KL(s || uniform); mode 0 is an
            error, because it stands for the whole spectrum there (`log_spectrum`).

    Returns:
        KL(uniform || s) >= 0; infinite where a value is 0. KL(s || uniform) is at most log n.

    Raises:
        ValueError: no value remains, the reading is unknown, or mode 0 with "REV".

    >>> rho_spectrum(torch.tensor([1.0, 1.0, 1.0]))
    0.0
    >>> round(rho_spectrum(torch.tensor([5.0, 3.0, 1.0]), mode=2), 4)
    0.1438
    """
    if reading not in ("NIR", "REV"):
        raise ValueError(f"reading={reading!r} is unknown; known: NIR, REV")
    if mode == 0 and reading == "REV":
        raise ValueError("mode 0 is the whole spectrum, no number: use log_spectrum")
    # at mode 0 the code of NIR slices from -1: one value remains, and its divergence is 0
    kept = values.double()[abs(mode) - 1 :]
    if len(kept) == 0:
        raise ValueError(f"mode {mode} drops all of the {len(values)} singular values")
    log_p = (kept / kept.sum()).log()
    log_uniform = -torch.log(kept.new_tensor(float(len(kept))))
    if reading == "REV" and mode < 0:
        terms = torch.special.xlogy(log_p.exp(), log_p.exp())
        return max(0.0, float(terms.sum() - log_uniform))
    return max(0.0, float(log_uniform - log_p.mean()))


def log_spectrum(values: Tensor) -> Tensor:
    """log(value / sum of values) of singular values [n]; mode 0 in the code of REV.

    >>> log_spectrum(torch.tensor([3.0, 1.0])).exp()
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    return (values.double() / values.double().sum()).log()
