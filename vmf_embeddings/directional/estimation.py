"""Maximum-likelihood estimation of von Mises-Fisher distributions from unit vectors.

With S = sum_n w_n x_n and R = |S| / sum_n w_n, the mean resultant length, the estimates are
mu = S / |S| and kappa = A_D^-1(R): Mardia and Jupp 2000, Directional Statistics, section 10.3.1
(https://doi.org/10.1002/9780470316979). Banerjee et al. 2005
(https://jmlr.org/papers/v6/banerjee05a.html) approximate A_D^-1, with errors of kappa of up to 9 %
in low dimensions; here it is exact.
"""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import (
    check_dim,
    mean_cosine,
    mean_cosine_inverse,
    widen,
)

Array = Tensor | np.ndarray
BLOCK_ROWS = 2**14
# 1 - R of data that count as one point: rounding of unit vectors alone gives less spread
LEAST_SPREAD = {torch.float64: 1e-6, torch.float32: 1e-4}


def default_kappa_max(dim: int, dtype: torch.dtype) -> float:
    """The largest concentration that is estimated: that of R = 1 - 1e-6, or 1 - 1e-4 in float32.

    In float32 a cosine is known to 1e-7, and kappa times that is the error of a log density.
    """
    return (dim - 1) / (2 * LEAST_SPREAD.get(dtype, 1e-4))


def fit_von_mises_fisher(
    x: Array,
    weights: Array | None = None,
    *,
    labels: Array | None = None,
    n_classes: int | None = None,
    shared_kappa: bool = False,
    bias_correction: bool = False,
    kappa_max: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean directions and concentrations of largest likelihood.

    Rows count by their directions; rows of length 0 have none and are left out. One row, or rows
    that are equal, have no finite estimate: kappa is then `kappa_max`. Rows whose sum is 0 get
    kappa = 0, and the first axis as an arbitrary direction.

    Args:
        x: [.., N, D] vectors of any length, D >= 2; with `labels` [N, D].
        weights: [.., N], >= 0; a row of weight 2 counts as two equal rows. None = 1 for each.
        labels: int [N] in 0..C-1: one distribution for each class.
        n_classes: C; None = the largest label + 1.
        shared_kappa: all classes get one concentration, A_D^-1(sum_c |S_c| / sum w); needs labels.
        bias_correction: estimate kappa from R^2 less its bias, (n R^2 - 1) / (n - 1), or 0 where
            that is negative; n is the sum of the weights. R overestimates the mean cosine where n
            is small: n uniform rows give R of about n^-0.5. kappa is 0 for n <= 1.
        kappa_max: largest concentration; None = (D - 1) / 2e-6 for float64, (D - 1) / 2e-4 else.

    Returns:
        mu [.., D] or [C, D], unit vectors, and kappa [..] or [C], >= 0, in the dtype of `x`;
        computed in float64 and differentiable with respect to `x` and `weights`.

    Raises:
        ValueError: a weight is negative, a value is not finite, shapes differ, or a distribution
            has no row with a direction and a positive weight.

    >>> mu, kappa = fit_von_mises_fisher(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]))
    >>> mu, round(kappa.item(), 4)
    (tensor([1., 0.]), 2.2388)
    """
    x = torch.as_tensor(x)
    dim = x.shape[-1] if x.dim() else 0
    check_dim(dim)
    weights = _checked_weights(x, weights)
    if labels is None and shared_kappa:
        raise ValueError("shared_kappa=True needs labels, whose classes share the concentration")
    if labels is None:
        sums, totals = _sums(x, weights)
    else:
        sums, totals = _sums_of_classes(x, weights, torch.as_tensor(labels), n_classes)
    if not bool((totals > 0).all()):
        empty = (totals <= 0).reshape(-1).nonzero().flatten().tolist()
        raise ValueError(
            "expected a row with a direction and a positive weight for every distribution, got "
            f"none for {empty[:10]} (counted from 0)"
        )
    if not bool(sums.isfinite().all()):
        raise ValueError("x and weights must be finite, got values that are NaN or infinite")
    kappa_max = default_kappa_max(dim, x.dtype) if kappa_max is None else kappa_max
    mu, lengths = directions(sums)
    if shared_kappa:
        n_free = totals.shape[0]
        kappa = concentration(lengths.sum(), totals.sum(), dim, kappa_max)
        if bias_correction:
            pairs = (lengths.square() - totals).sum(), (totals * (totals - 1)).sum()
            kappa = _inverse(_corrected(*pairs), dim, kappa_max)
        kappa = kappa.expand(n_free)
    elif bias_correction:
        # (n R^2 - 1) / (n - 1) = (|S|^2 - n) / (n (n - 1))
        pairs = lengths.square() - totals, totals * (totals - 1)
        kappa = _inverse(_corrected(*pairs), dim, kappa_max)
    else:
        kappa = concentration(lengths, totals, dim, kappa_max)
    return mu.to(x.dtype), kappa.to(x.dtype)


def directions(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of vectors, and their lengths; a vector 0 gets the first axis.

    Args:
        sums: [.., D].

    Returns:
        Unit vectors [.., D] and lengths [..].
    """
    lengths = torch.linalg.vector_norm(sums, dim=-1)
    is_zero = lengths == 0
    axis = torch.eye(1, sums.shape[-1], dtype=sums.dtype, device=sums.device)[0]
    safe = torch.where(is_zero, 1.0, lengths)[..., None]
    return torch.where(is_zero[..., None], axis, sums / safe), lengths


def concentration(lengths: Tensor, totals: Tensor, dim: int, kappa_max: float) -> Tensor:
    """The concentration A_D^-1(|S| / n), and at most `kappa_max`.

    Args:
        lengths: |S| [..], float64, of sums of unit vectors.
        totals: n [..], > 0, their number or sum of weights.
        dim: D.
        kappa_max: > 0.

    Returns:
        [..].
    """
    return _inverse(lengths / totals, dim, kappa_max)


def _inverse(resultant: Tensor, dim: int, kappa_max: float) -> Tensor:
    largest = mean_cosine(resultant.new_tensor(kappa_max), dim)
    kappa = mean_cosine_inverse(torch.minimum(resultant, largest), dim)
    return torch.where(resultant < largest, kappa, kappa_max).clamp_max(kappa_max)


def _corrected(excess: Tensor, pairs: Tensor) -> Tensor:
    """sqrt(excess / pairs), the length of the mean without its bias; 0 where it is not positive."""
    is_known = (excess > 0) & (pairs > 0)
    ratio = torch.where(is_known, excess, 1.0) / torch.where(is_known, pairs, 1.0)
    return torch.where(is_known, ratio.sqrt(), 0.0)


def _checked_weights(x: Tensor, weights: Array | None) -> Tensor:
    """Weights [.., N] in float64.

    Raises:
        ValueError: see `fit_von_mises_fisher`.
    """
    if x.dim() < 2:
        raise ValueError(f"x: expected vectors [.., N, D], got {list(x.shape)}: pass x[None]")
    if weights is None:
        return torch.ones((), dtype=torch.float64, device=x.device).expand(x.shape[:-1])
    weights = torch.as_tensor(weights, device=x.device)
    if weights.shape != x.shape[:-1]:
        raise ValueError(
            f"weights: expected one for each row, {list(x.shape[:-1])}, got {list(weights.shape)}"
        )
    if not bool((weights >= 0).all()):
        raise ValueError(f"weights: expected numbers >= 0, got {weights.min().item():g}")
    return weights.to(torch.float64)


def _units(x: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of rows [.., D] in float64, 0 for rows 0, and whether a row has one [..]."""
    wide = widen(x)
    lengths = torch.linalg.vector_norm(wide, dim=-1)
    known = lengths != 0
    return wide / torch.where(known, lengths, 1.0)[..., None], known


def _sums(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of weighted unit rows [.., D] and of the weights of rows with a direction [..]."""
    sums, totals = 0.0, 0.0
    step = max(1, BLOCK_ROWS // max(1, x[..., 0, 0].numel())) if x.numel() else 1
    for first in range(0, x.shape[-2], step):
        block = slice(first, first + step)
        unit, known = _units(x[..., block, :])
        own = weights[..., block] * known
        sums = sums + (own[..., None] * unit).sum(-2)
        totals = totals + own.sum(-1)
    if isinstance(sums, float):
        raise ValueError(f"x: expected at least one row, got {list(x.shape)}")
    return sums, totals


def _sums_of_classes(
    x: Tensor, weights: Tensor, labels: Tensor, n_classes: int | None
) -> tuple[Tensor, Tensor]:
    """`_sums` of the rows of every class: [C, D] and [C]."""
    if x.dim() != 2 or labels.shape != x.shape[:1]:
        raise ValueError(
            f"expected x [N, D] and labels [N], got {list(x.shape)} and {list(labels.shape)}"
        )
    labels = labels.long().to(x.device)
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    if not bool(((labels >= 0) & (labels < n_classes)).all()):
        raise ValueError(f"labels: expected numbers in 0..{n_classes - 1}")
    sums = torch.zeros(n_classes, x.shape[1], dtype=torch.float64, device=x.device)
    totals = sums.new_zeros(n_classes)
    for first in range(0, len(x), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        unit, known = _units(x[block])
        own = weights[block] * known
        sums = sums.index_add(0, labels[block], own[:, None] * unit)
        totals = totals.index_add(0, labels[block], own)
    return sums, totals
