"""The von Mises-Fisher loss as one differentiable function of embeddings and class weights.

Scott et al. 2021, https://arxiv.org/abs/2103.15718, equation 8. An image with embedding
z = kappa mu is distributed as vMF(mu, kappa); w_j = kappa_j mu_j are the weights of the classes. An
upper bound of the expected cross-entropy with logits beta z.w is

    mean over draws x of log sum_j C(|w_j|) / C(|w_j + beta x|) - beta A(|z|) A(|w_y|) cos(z, w_y).

Value and gradient are computed together in the forward pass. First term: `partition`, for draws
x = cos(theta) mu + sin(theta) v, gives the gradients g_mu and g_theta; dtheta/dkappa is that of the
implicit reparameterisation (`gradient`). With mu = z / kappa and kappa = |z|,

    d/dz = g_mu / kappa + (sum over draws g_theta dtheta/dkappa - g_mu.mu / kappa) mu.

The second term is in `alignment`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.alignment import alignment_terms, subtract_alignment
from vmf_embeddings.directional.gradient import angle_derivative
from vmf_embeddings.directional.partition import LogPartitionSum, log_partition
from vmf_embeddings.directional.sampler import sample_angle
from vmf_embeddings.once_differentiable import once_differentiable

ESTIMATORS = ("antithetic", "iid")
MIN_KAPPA = 1e-6  # an embedding of norm 0 has no direction: its distribution is nearly uniform


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
    """Unbiased Monte Carlo estimate of the vMF loss, averaged over images, in nats.

    Besides its result it needs memory for one gradient of the class weights and two blocks of
    logits, whatever B, S and C are.

    Args:
        embeddings: concentration times mean direction of the images [B, D], float32 or float64.
        class_weights: the same for the classes [C, D], same dtype.
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, [].
        n_samples: draws per image, S; even for antithetic pairs.
        estimator: "antithetic" (pairs of draws mirrored at mu) or "iid". Loss and gradient have
            the same expectation; pairs need half of the matrix products and have far less variance.
        generator: source of randomness; None = the global one.

    Returns:
        Scalar, differentiable once in embeddings, class weights and beta.

    Raises:
        ValueError: unknown estimator, or an odd number of antithetic draws.

    >>> w = 1e-4 * torch.eye(4)
    >>> value = softmax_bound(w[:2], w, torch.tensor([0, 1]), torch.tensor(1e-3), 2)
    >>> round(value.item(), 4)  # log 4: at kappa of 1e-4 no class can be told apart
    1.3863
    """
    n_angles, antithetic = angles_of(estimator, n_samples)
    arguments = (embeddings, class_weights, beta, labels, n_angles, antithetic)
    if torch.compiler.is_compiling() and generator is None:
        return _sampled_bound_op(*arguments)[0]
    return _apply_outside_graph(_SampledBound)(*arguments, generator)


def softmax_bound_of_draws(
    embeddings: Tensor, class_weights: Tensor, labels: Tensor, beta: Tensor, draws: Tensor
) -> Tensor:
    """The loss of `softmax_bound` with given draws, to which gradients flow.

    Args:
        embeddings: concentration times mean direction of the images [B, D]; gradients reach them
            from the second term alone, so let the draws depend on them too.
        class_weights: concentration times mean direction of the classes [C, D].
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, [].
        draws: unit vectors from the images' distributions [B, S, D], same dtype.

    Returns:
        Scalar, in nats, differentiable once in all but the labels.

    >>> w = 1e-4 * torch.eye(4)
    >>> y, beta = torch.tensor([0, 1]), torch.tensor(1e-3)
    >>> round(softmax_bound_of_draws(w[:2], w, y, beta, torch.eye(4)[:2, None]).item(), 4)
    1.3863
    """
    return _apply_outside_graph(_BoundOfDraws)(embeddings, class_weights, beta, draws, labels)


def _apply_outside_graph(function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """`function.apply`; under `torch.compile` excluded from the graph, which blocks would break."""
    compiling = torch.compiler.is_compiling()
    return torch.compiler.disable(function.apply) if compiling else function.apply


def angles_of(estimator: str, n_samples: int) -> tuple[int, bool]:
    """How many angles S draws need, and whether each serves an antithetic pair.

    Raises:
        ValueError: the estimator is unknown, or pairs cannot make up an odd number.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
    antithetic = estimator == "antithetic"
    if antithetic and n_samples % 2:
        raise ValueError(f"antithetic draws come in pairs: {n_samples} is odd; use iid ones")
    return (n_samples // 2 if antithetic else n_samples), antithetic


class _SampledBound(torch.autograd.Function):
    """`softmax_bound`; the forward pass keeps the gradients, the backward pass scales them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        embeddings: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        labels: Tensor,
        n_angles: int,
        antithetic: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        value, *grads = _value_and_gradients(
            embeddings, class_weights, beta, labels, n_angles, antithetic, generator
        )
        ctx.save_for_backward(*grads)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled(grad, ctx.saved_tensors), None, None, None, None


def _value_and_gradients(
    embeddings: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    labels: Tensor,
    n_angles: int,
    antithetic: bool,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss [], and its gradients with respect to embeddings, class weights and beta."""
    dim = embeddings.shape[1]
    kappa = torch.linalg.vector_norm(embeddings, dim=-1).clamp_min_(MIN_KAPPA)
    mu = embeddings / kappa[:, None]
    angle = sample_angle(kappa, dim, n_angles, gradient=False, generator=generator)
    partition, grad_mu, grad_angle, *grads = log_partition(
        mu, angle, class_weights, beta, antithetic, generator
    )
    terms = alignment_terms(embeddings, kappa, class_weights, labels)
    mean = None if terms is None or dim == 3 else terms.kappa * terms.ratio[0]
    grad_kappa = (grad_angle * angle_derivative(angle, kappa, dim, mean)).sum(0)
    grad_mu /= kappa[:, None]  # mu = z / kappa
    grad_kappa -= (grad_mu * mu).sum(-1)
    grads = (grad_mu.addcmul_(grad_kappa[:, None], mu), *grads)
    value = partition - subtract_alignment(embeddings, class_weights, labels, beta, grads, terms)
    return value.to(embeddings.dtype), *grads


@torch.library.custom_op(
    "vmf_embeddings::softmax_bound",
    mutates_args=(),
    tags=(torch.Tag.nondeterministic_seeded,),  # two calls are two draws
)
def _sampled_bound_op(
    embeddings: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    labels: Tensor,
    n_angles: int,
    antithetic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`_value_and_gradients` as one node of the graphs of `torch.compile`, by the global generator.

    Dynamo would unroll its blocks and the exact fractions of the expansions.
    """
    inputs = (embeddings, class_weights, beta, labels, n_angles, antithetic)
    value, *grads = _value_and_gradients(*inputs, None)
    return value, *(grad.to(t.dtype) for grad, t in zip(grads, inputs[:3], strict=True))


@_sampled_bound_op.register_fake
def _(
    embeddings: Tensor, class_weights: Tensor, beta: Tensor, *rest: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = (torch.empty_like(t) for t in (embeddings, class_weights, beta))
    return embeddings.new_empty(()), *shapes


def _keep_gradients(ctx: FunctionCtx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: FunctionCtx, grad: Tensor, *of_gradients: Tensor) -> tuple:
    return *(grad * kept for kept in ctx.saved_tensors), None, None, None


_sampled_bound_op.register_autograd(_scale_gradients, setup_context=_keep_gradients)


class _BoundOfDraws(torch.autograd.Function):
    """`softmax_bound_of_draws`; gradients are kept by the forward pass, as in `_SampledBound`."""

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
        partition = LogPartitionSum(class_weights, beta, False, 1.0 / len(flat))
        grad_draws = torch.empty_like(flat)
        for rows in partition.blocks(len(flat), 1):
            partition.add_draws(flat[rows], out=grad_draws[rows])
        grads = (torch.zeros_like(embeddings), *partition.gradients())
        value = partition.value - subtract_alignment(embeddings, class_weights, labels, beta, grads)
        ctx.save_for_backward(*grads, grad_draws.view_as(draws))
        return value.to(embeddings.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled(grad, ctx.saved_tensors), None


def _scaled(grad: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The kept gradients times that of the loss; not copied where that is 1 (`loss.backward()`)."""
    if grad.device.type == "cpu" and bool(grad == 1):
        return tensors
    return tuple(torch._foreach_mul([t.to(grad.dtype) for t in tensors], grad))
