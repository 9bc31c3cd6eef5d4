"""The von Mises-Fisher loss as one differentiable function of embeddings and class weights.

Scott et al. 2021, https://arxiv.org/abs/2103.15718, equation 8: for an image's law vMF(mu, kappa),
embedding z = kappa mu, and classes w_j, an upper bound of the expected cross-entropy of beta z.w is

    mean over draws x of log sum_j C(|w_j|) / C(|w_j + beta x|) - beta A(|z|) A(|w_y|) cos(z, w_y).

The gradient is formed in the forward pass: reparameterised draws, implicitly in kappa (`gradient`),
through the sum over classes by `partition`, in closed form for the second term.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from vmf_embeddings import native
from vmf_embeddings.directional.bessel import expansion, ratio_and_change, widen
from vmf_embeddings.directional.gradient import angle_derivative
from vmf_embeddings.directional.partition import LogPartition, over_laws
from vmf_embeddings.directional.sampler import sample_angle

ESTIMATORS = ("antithetic", "iid")
SMALLEST_KAPPA = 1e-6  # an embedding of length 0 has no direction: it becomes a nearly uniform law


def softmax_bound(
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    n_samples: int,
    *,
    estimator: str = "antithetic",
    generator: torch.Generator | None = None,
) -> Tensor:
    """An unbiased draw of the loss, averaged over images, in nats.

    Extra memory is one gradient of the class weights and two blocks of logits, whatever the sizes.

    Args:
        embeddings: kappa times mu of the images [B, D], float32 or wider.
        class_weights: kappa times mu of the classes [C, D], same dtype.
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        n_samples: draws an image, S; even for antithetic pairs.
        estimator: "antithetic" (pairs mirrored at mu) or "iid". Loss and gradient have the same
            expectation; pairs cost half of the products and have far less variance.
        generator: source of randomness; None = the global one.

    Returns:
        Scalar, differentiable once in embeddings, class weights and beta.

    Raises:
        ValueError: unknown estimator, or an odd number of antithetic draws.

    >>> w = 1e-4 * torch.eye(4)
    >>> value = softmax_bound(w[:2], w, torch.tensor([0, 1]), torch.tensor(1e-3), 2)
    >>> round(value.item(), 4)  # log 4: laws that wide cannot be told apart
    1.3863
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
    paired = estimator == "antithetic"
    if paired and n_samples % 2:
        raise ValueError(f"antithetic draws come in pairs: {n_samples} is odd; use iid ones")
    draws = n_samples // 2 if paired else n_samples
    arguments = (embeddings, class_weights, beta, labels, draws, paired, generator)
    return _outside_graphs(_OverLaws)(*arguments)


def softmax_bound_of_draws(
    embeddings: Tensor, class_weights: Tensor, labels: Tensor, beta: Tensor, draws: Tensor
) -> Tensor:
    """The same loss over given draws, which may carry a gradient themselves.

    Args:
        embeddings: as in `softmax_bound`.
        class_weights: likewise.
        labels: likewise.
        beta: likewise.
        draws: unit vectors from the images' laws [B, S, D], same dtype.

    Returns:
        Scalar, in nats, differentiable once in all but the labels.

    >>> w = 1e-4 * torch.eye(4)
    >>> y, beta = torch.tensor([0, 1]), torch.tensor(1e-3)
    >>> round(softmax_bound_of_draws(w[:2], w, y, beta, torch.eye(4)[:2, None]).item(), 4)
    1.3863
    """
    return _outside_graphs(_OverDraws)(embeddings, class_weights, beta, draws, labels)


def _outside_graphs(function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """Its `apply`, for which `torch.compile` leaves its graph: blocks and kernels make none."""
    compiling = torch.compiler.is_compiling()
    return torch.compiler.disable(function.apply) if compiling else function.apply


class _OverLaws(torch.autograd.Function):
    """Inputs z [B, D], class weights [C, D], beta []; labels [B] and how to draw."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        embeddings: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        labels: Tensor,
        draws: int,
        paired: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        dim = embeddings.shape[1]
        kappa = torch.linalg.vector_norm(embeddings, dim=-1).clamp_min(SMALLEST_KAPPA)
        mu = embeddings / kappa[:, None]
        angle = sample_angle(kappa, dim, draws, gradient=False, generator=generator)
        partition, grad_mu, grad_angle, *grads = over_laws(
            mu, angle, class_weights, beta, paired, generator
        )
        grad_kappa = (grad_angle * angle_derivative(angle, kappa, dim)).sum(0)
        grad_kappa -= (grad_mu * mu).sum(-1) / kappa  # mu is z / kappa
        grad_embeddings = torch.addcmul(grad_mu / kappa[:, None], grad_kappa[:, None], mu)
        grads = (grad_embeddings, *grads)
        value = partition - _aligned(embeddings, class_weights, labels, beta, grads)
        ctx.save_for_backward(*grads)
        return value.to(embeddings.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled(grad, ctx.saved_tensors), None, None, None, None


class _OverDraws(torch.autograd.Function):
    """Inputs z [B, D], class weights [C, D], beta [], draws [B, S, D]; labels [B]."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        embeddings: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        draws: Tensor,
        labels: Tensor,
    ) -> Tensor:
        flat = draws.reshape(-1, draws.shape[-1])
        partition = LogPartition(class_weights, beta, False, 1.0 / len(flat))
        grad_draws = torch.empty_like(flat)
        for rows in partition.blocks(len(flat), 1):
            partition.add_draws(flat[rows], out=grad_draws[rows])
        grads = (torch.zeros_like(embeddings), *partition.gradients())
        value = partition.value - _aligned(embeddings, class_weights, labels, beta, grads)
        ctx.save_for_backward(*grads, grad_draws.view_as(draws))
        return value.to(embeddings.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled(grad, ctx.saved_tensors), None


def _scaled(grad: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradients times that of the loss; where that is 1 they need not be copied."""
    if grad.device.type == "cpu" and bool(grad == 1):
        return tensors
    return tuple(grad * tensor for tensor in tensors)


def _aligned(
    z: Tensor, class_weights: Tensor, labels: Tensor, beta: Tensor, grads: tuple[Tensor, ...]
) -> Tensor:
    """Mean over images of beta A(|z|) A(|w_y|) cos(z, w_y); its gradient is taken from `grads`.

    With R(q) = A(kappa) / kappa, q = kappa^2, it is beta R(|z|^2) R(|w|^2) z.w: products only.
    """
    grad_z, grad_weights, grad_beta = grads[:3]
    plain = z.device.type == "cpu" and z.dtype == class_weights.dtype == torch.float32
    if plain and native.enabled():
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
    w, plan = class_weights[labels], expansion(z.shape[-1])
    inner = widen(torch.stack([(z * z).sum(-1), (w * w).sum(-1), (z * w).sum(-1)]))
    (ratio_z, ratio_w), (change_z, change_w) = ratio_and_change(inner[:2], plan)
    share, both = widen(beta) / len(z), ratio_z * ratio_w
    twice = 2 * share * inner[2]
    columns = (share * both, twice * change_z * ratio_w, twice * change_w * ratio_z)
    to_both, to_z, to_w = (column.to(z.dtype)[:, None] for column in columns)
    grad_z.sub_(to_both * w).sub_(to_z * z)
    grad_weights.index_add_(0, labels, to_both * z + to_w * w, alpha=-1)
    return (both * inner[2]).mean()


def _subtract_compiled(
    z: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    grad_z: Tensor,
    grad_weights: Tensor,
) -> float:
    from vmf_embeddings.directional.kernels.alignment import subtract_aligned

    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_weights):
        raise IndexError(f"labels must lie in 0..{len(class_weights) - 1}")
    plan = expansion(z.shape[-1])
    series = np.array([plan.slope, plan.curvature])
    inputs = (t.detach().contiguous().numpy() for t in (z, class_weights, labels.long()))
    outputs = (grad_z.numpy(), grad_weights.numpy())
    share = beta.item() / len(z)
    total = subtract_aligned(*inputs, share, plan.order, np.array(plan.steps), series, *outputs)
    return total / len(z)
