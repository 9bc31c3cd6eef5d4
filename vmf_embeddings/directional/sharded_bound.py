"""First term of the von Mises-Fisher loss over classes that are divided among processes.

The mean over draws z of log sum_j C(|w_j|) / C(|w_j + beta z|), see `bound` and `partition`. The
sum over the classes of all processes is known when each has sent the log of its own, one number per
draw; every derivative is then a sum over classes, of which each process has its part.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.bound import MIN_KAPPA, angles_of
from vmf_embeddings.directional.gradient import angle_derivative
from vmf_embeddings.directional.partition import log_partition
from vmf_embeddings.directional.sampler import sample_angle
from vmf_embeddings.once_differentiable import once_differentiable


def sharded_log_partition(
    embeddings: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    n_samples: int,
    *,
    estimator: str,
    combine: Callable[[Tensor], Tensor],
    log_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean log partition over the classes of all processes, in nats.

    Args:
        embeddings: concentration times mean direction of the images [B, D].
        class_weights: the same for this process's classes [C_r, D].
        beta: inverse temperature, > 0, [].
        n_samples: draws per image, S; even for antithetic pairs. All processes draw the same.
        estimator: "antithetic" or "iid", see `softmax_bound`.
        combine: from the log sums over this process's classes, float64 [1 or 2, n, B], to those
            over all classes.
        log_weights: added to the logits of the classes [C_r]; None = nothing.
        generator: source of randomness, in the same state in every process; None = the global one.

    Returns:
        Scalar, the same in every process. The gradient of the class weights is complete, those of
        embeddings and beta are this process's summands.

    Raises:
        ValueError: unknown estimator, or an odd number of antithetic draws.

    >>> w = 1e-4 * torch.eye(4)
    >>> value = sharded_log_partition(
    ...     w[:2], w, torch.tensor(1e-3), 2, estimator="iid", combine=lambda log_sums: log_sums
    ... )
    >>> round(value.item(), 4)  # log 4, by a process that has all four classes
    1.3863
    """
    n_angles, antithetic = angles_of(estimator, n_samples)
    apply = _ShardedLogPartition.apply
    if torch.compiler.is_compiling():
        apply = torch.compiler.disable(apply)
    options = (n_angles, antithetic, combine, log_weights, generator)
    return apply(embeddings, class_weights, beta, *options)


class _ShardedLogPartition(torch.autograd.Function):
    """`sharded_log_partition`; the forward pass keeps the gradients, the backward scales them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        embeddings: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        n_angles: int,
        antithetic: bool,
        combine: Callable[[Tensor], Tensor],
        log_weights: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        dim = embeddings.shape[1]
        kappa = torch.linalg.vector_norm(embeddings, dim=-1).clamp_min(MIN_KAPPA)
        mu = embeddings / kappa[:, None]
        angle = sample_angle(kappa, dim, n_angles, gradient=False, generator=generator)
        value, grad_mu, grad_angle, *grads = log_partition(
            mu, angle, class_weights, beta, antithetic, generator, combine, log_weights
        )
        # d/dz with mu = z / kappa and kappa = |z|, see the head of `bound`
        grad_kappa = (grad_angle * angle_derivative(angle, kappa, dim)).sum(0)
        grad_kappa -= (grad_mu * mu).sum(-1) / kappa
        grad_embeddings = torch.addcmul(grad_mu / kappa[:, None], grad_kappa[:, None], mu)
        ctx.save_for_backward(grad_embeddings, *grads)
        return value.to(embeddings.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, weights, beta = (grad * kept for kept in ctx.saved_tensors)
        return embeddings, weights, beta.to(grad.dtype), None, None, None, None, None
