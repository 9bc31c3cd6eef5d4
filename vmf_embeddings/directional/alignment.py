"""Second term of the von Mises-Fisher loss, in closed form, with its gradient.

Scott et al. 2021, https://arxiv.org/abs/2103.15718, equation 8: the mean over images of
beta A(|z|) A(|w_y|) cos(z, w_y). With R(q) = A(kappa) / kappa, q = kappa^2, it is
beta R(z.z) R(w.w) z.w for w = w_y, and

    d/dz = beta (R(z.z) R(w.w) w + 2 R'(z.z) R(w.w) z.w z), likewise for w.
"""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.directional.bessel import expansion, ratio_and_slope, widen


def subtract_alignment(
    z: Tensor, class_weights: Tensor, labels: Tensor, beta: Tensor, grads: tuple[Tensor, ...]
) -> Tensor:
    """The mean over images of beta A(|z|) A(|w_y|) cos(z, w_y), in nats, [].

    Its gradient is subtracted in place from `grads`, those of z, class weights and beta.

    Args:
        z: embeddings, kappa times mu [B, D].
        class_weights: the same for the classes [C, D].
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, [].
        grads: three tensors of the shapes of z, class weights and beta; others are not read.

    Raises:
        IndexError: a label outside 0..C-1.
    """
    grad_z, grad_weights, grad_beta = grads[:3]
    is_cpu_float32 = z.device.type == "cpu" and z.dtype == class_weights.dtype == torch.float32
    if is_cpu_float32 and native.enabled():
        mean = _subtract_compiled(z, class_weights, labels, beta, grad_z, grad_weights)
    else:
        mean = _subtract(z, class_weights, labels, beta, grad_z, grad_weights)
    grad_beta -= mean
    return widen(beta) * mean


def _subtract(
    z: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    grad_z: Tensor,
    grad_weights: Tensor,
) -> Tensor:
    """Mean of R(z.z) R(w.w) z.w []; subtracts beta times its gradient, see the head of the file."""
    w, plan = class_weights[labels], expansion(z.shape[-1])
    inner = widen(torch.stack([(z * z).sum(-1), (w * w).sum(-1), (z * w).sum(-1)]))
    (ratio_z, ratio_w), (slope_z, slope_w) = ratio_and_slope(inner[:2], plan)
    weight, ratios = widen(beta) / len(z), ratio_z * ratio_w
    twice = 2 * weight * inner[2]
    columns = (weight * ratios, twice * slope_z * ratio_w, twice * slope_w * ratio_z)
    cross, radial_z, radial_w = (column.to(z.dtype)[:, None] for column in columns)
    grad_z.sub_(cross * w).sub_(radial_z * z)
    grad_weights.index_add_(0, labels, cross * z + radial_w * w, alpha=-1)
    return (ratios * inner[2]).mean()


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

    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_weights):
        low, high = int(labels.min()), int(labels.max())
        raise IndexError(
            f"labels must lie in 0..{len(class_weights) - 1}, the rows of class_weights; "
            f"got {low}..{high}"
        )
    plan = expansion(z.shape[-1])
    series = np.array([plan.slope, plan.curvature])
    inputs = (t.detach().contiguous().numpy() for t in (z, class_weights, labels.long()))
    outputs = (grad_z.numpy(), grad_weights.numpy())
    weight = beta.item() / len(z)
    steps = np.array(plan.steps)
    total = kernel.subtract_alignment(*inputs, weight, plan.order, steps, series, *outputs)
    return total / len(z)
