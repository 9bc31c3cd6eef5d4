"""Second term of the von Mises-Fisher loss, in closed form, with its gradient.

Scott et al. 2021, https://arxiv.org/abs/2103.15718, equation 8: the mean over images of
beta A(|z|) A(|w_y|) cos(z, w_y). With R(q) = A(kappa) / kappa, q = kappa^2, it is
beta R(z.z) R(w.w) z.w for w = w_y, and

    d/dz = beta (R(z.z) R(w.w) w + 2 R'(z.z) R(w.w) z.w z), likewise for w.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.directional.bessel import expansion, ratio_and_slope, widen
from vmf_embeddings.directional.three_dimensions import ratio_and_slope_three


class AlignmentTerms(NamedTuple):
    """What the second term consists of, for B images.

    Attributes:
        weights: class weights of the labels, w [B, D].
        inner: z.w in float64 [B].
        kappa: |z| in float64 [B].
        ratio: R(z.z) and R(w.w) in float64 [2, B].
        slope: their derivatives R' [2, B].
    """

    weights: Tensor
    inner: Tensor
    kappa: Tensor
    ratio: Tensor
    slope: Tensor


def alignment_terms(
    z: Tensor, kappa: Tensor, class_weights: Tensor, labels: Tensor
) -> AlignmentTerms | None:
    """See `AlignmentTerms`; None where compiled code computes the second term.

    Args:
        z: embeddings, kappa times mu [B, D].
        kappa: their norms [B].
        class_weights: the same for the classes [C, D].
        labels: class of every image [B], 0..C-1.
    """
    if _compiles(z, class_weights):
        return None
    w = class_weights[labels]
    inner = (z * w).sum(-1, dtype=widen(z[:0]).dtype)
    lengths = widen(torch.stack([kappa, torch.linalg.vector_norm(w, dim=-1)]))
    squares, dim = lengths.square(), z.shape[-1]
    three = dim == 3
    both = ratio_and_slope_three(squares) if three else ratio_and_slope(squares, expansion(dim))
    return AlignmentTerms(w, inner, lengths[0], *both)


def subtract_alignment(
    z: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    grads: tuple[Tensor, ...],
    terms: AlignmentTerms | None = None,
) -> Tensor:
    """The mean over images of beta A(|z|) A(|w_y|) cos(z, w_y), in nats, [].

    Its gradient is subtracted in place from `grads`, those of z, class weights and beta.

    Args:
        z: embeddings, kappa times mu [B, D].
        class_weights: the same for the classes [C, D].
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, [].
        grads: three tensors of the shapes of z, class weights and beta; others are not read.
        terms: `alignment_terms` where they are known.

    Raises:
        IndexError: a label outside 0..C-1.
    """
    grad_z, grad_weights, grad_beta = grads[:3]
    beta = widen(beta)
    if _compiles(z, class_weights):
        mean = _subtract_compiled(z, class_weights, labels, beta, grad_z, grad_weights)
    else:
        if terms is None:
            terms = alignment_terms(z, torch.linalg.vector_norm(z, dim=-1), class_weights, labels)
        mean = _subtract(z, labels, beta, terms, grad_z, grad_weights)
    grad_beta -= mean
    return beta * mean


def _compiles(z: Tensor, class_weights: Tensor) -> bool:
    is_cpu_float32 = z.device.type == "cpu" and z.dtype == class_weights.dtype == torch.float32
    return is_cpu_float32 and native.enabled()


def _subtract(
    z: Tensor,
    labels: Tensor,
    beta: Tensor,
    terms: AlignmentTerms,
    grad_z: Tensor,
    grad_weights: Tensor,
) -> Tensor:
    """Mean of R(z.z) R(w.w) z.w []; subtracts beta times its gradient, see the head of the file."""
    w, inner, _, ratio, slope = terms
    product = ratio.prod(0)
    radial = slope * ratio.flip(0) * (2 * inner)
    columns = (torch.cat([product[None], radial]) * (beta / len(z))).to(z.dtype)
    cross, radial_z, radial_w = columns[..., None]
    grad_z.addcmul_(cross, w, value=-1).addcmul_(radial_z, z, value=-1)
    grad_weights.index_add_(0, labels, (cross * z).addcmul_(radial_w, w), alpha=-1)
    return (product * inner).mean()


def _subtract_compiled(
    z: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    grad_z: Tensor,
    grad_weights: Tensor,
) -> float:
    """`_subtract` by compiled code.

    Raises:
        IndexError: a label outside 0..C-1, which compiled code would not notice.
    """
    from vmf_embeddings.directional.kernels import alignment as kernel

    check_labels(labels, len(class_weights))
    plan = expansion(z.shape[-1])
    series = np.array([plan.slope, plan.curvature])
    inputs = (t.detach().contiguous().numpy() for t in (z, class_weights, labels.long()))
    outputs = (grad_z.numpy(), grad_weights.numpy())
    weight = beta.item() / len(z)
    steps = np.array(plan.steps)
    total = kernel.subtract_alignment(*inputs, weight, plan.order, steps, series, *outputs)
    return total / len(z)


def check_labels(labels: Tensor, n_classes: int) -> None:
    """Raises IndexError unless all labels lie in 0..C-1: compiled code would not notice."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        low, high = int(labels.min()), int(labels.max())
        raise IndexError(
            f"labels must lie in 0..{n_classes - 1}, the rows of class_weights; got {low}..{high}"
        )
