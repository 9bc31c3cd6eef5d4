"""Logits of ProCo, log expectations over von Mises-Fisher distributions of classes, and the loss.

Du et al. 2024, equation 14, https://arxiv.org/abs/2403.06726. The normaliser is exact here; the
truncated recurrence of the published code is kept to compare with it.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional import log_normalizer_difference
from vmf_embeddings.methods.elk_cross_entropy import elk_cross_entropy
from vmf_embeddings.methods.proco_statistics import ClassDistributions
from vmf_embeddings.once_differentiable import once_differentiable


def contrast_logits(rows: Tensor, classes: ClassDistributions, temperature: float) -> Tensor:
    """Log E exp(x . v / temperature) over draws x of each class: log C(kappa) - log C(|q|).

    q = kappa mu + v / temperature. For kappa -> infinity it is mu . v / temperature, for kappa = 0
    the same number for all classes. The gradient with respect to v has the factor A(|q|) / |q|.

    Args:
        rows: v of norm 1, [N, D].
        classes: distributions of the C classes, without gradient.
        temperature: > 0.

    Returns:
        [N, C], >= 0, in nats.

    Example:
        >>> classes = ClassDistributions(torch.eye(3), torch.tensor([1e6, 10.0, 0.0]).double())
        >>> contrast_logits(torch.eye(3)[:1], classes, 0.1)
        tensor([[10.0000,  3.7956,  7.0043]])
    """
    beta = 1 / temperature
    kappa = classes.kappa.to(rows.dtype)
    means = ((2 * beta) * kappa[:, None] * classes.mu).to(rows)
    delta = torch.addmm(rows.new_full((1,), beta**2), rows, means.T)  # |q|^2 - kappa^2
    return log_normalizer_difference(kappa.square(), delta, rows.shape[1])


def contrast_loss(
    rows: Tensor,
    labels: Tensor,
    classes: ClassDistributions,
    temperature: float,
    log_prior: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of `contrast_logits` plus log_prior, without a matrix of logits.

    The logits are log expected likelihoods of the classes and a distribution with parameter
    v / temperature, up to a constant: those of `elk_cross_entropy`.

    Args:
        rows: v of norm 1, [N, D]. Their gradient is that of the log expectation, defined for v of
            any norm.
        labels: classes [N].
        classes: distributions of the C classes, without gradient.
        temperature: > 0.
        log_prior: [C]; None = nothing.

    Returns:
        Scalar in nats.

    Example:
        >>> classes = ClassDistributions(torch.eye(3), torch.tensor([1e6, 10.0, 0.0]).double())
        >>> contrast_loss(torch.eye(3)[:1], torch.tensor([0]), classes, 0.1)
        tensor(0.0507)
    """
    prior = None if log_prior is None else log_prior.to(rows)
    mu, kappa = classes.mu.to(rows), classes.kappa.to(rows)
    return elk_cross_entropy(rows / temperature, mu, labels, rows.new_ones(()), prior, kappa)


def published_logits(rows: Tensor, classes: ClassDistributions, temperature: float) -> Tensor:
    """`contrast_logits` by the recurrence of the published code, in float64; see `published_log_i`.

    Its gradient uses the ratio of that recurrence, at most 1.

    Args:
        rows: v of norm 1, [N, D].
        classes: distributions of the C classes.
        temperature: > 0.

    Returns:
        [N, C].

    Example:
        >>> classes = ClassDistributions(torch.eye(16)[:2], torch.tensor([50.0, 50.0]).double())
        >>> published_logits(torch.eye(16)[:1], classes, 0.1)
        tensor([[8.6780, 0.8495]])
    """
    own = classes.kappa[:, None] * classes.mu
    lengths = torch.linalg.vector_norm(own + rows[:, None] / temperature, dim=2)
    dim = rows.shape[1]
    start = published_log_i(classes.kappa.double(), dim)[0]
    return (_PublishedLogI.apply(lengths.double(), dim) - start).to(rows.dtype)


def published_log_i(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """log(I_m(kappa) / kappa^(D/2-1)) and I_{m+1} / I_m by Miller's recurrence from 2 m downwards.

    m is the whole part of D/2 - 1: for odd D the order is wrong by 1/2. From 2 m on the recurrence
    is too short for kappa above about D^2 / 20; the ratio can then exceed 1.

    Args:
        kappa: > 0, any shape, in float64.
        dim: D >= 4.

    Returns:
        Both of the shape of `kappa`.

    Example:
        >>> [round(x.item(), 4) for x in published_log_i(torch.tensor(50.0).double(), 16)]
        [19.2069, 0.9235]
    """
    order = int(dim / 2 - 1)
    ratio, total, above = torch.zeros_like(kappa), torch.zeros_like(kappa), None
    for i in range(2 * order, 0, -1):
        ratio = (2 * i / kappa + ratio).reciprocal()  # I_i / I_{i-1}
        if i == order + 1:
            above = ratio
        if i <= order:
            total = total + ratio.log()
    log_i = total + torch.special.i0e(kappa).log() + kappa
    return log_i - (dim / 2 - 1) * (kappa + 1e-20).log(), above


class _PublishedLogI(torch.autograd.Function):
    """`published_log_i` with its ratio, clipped at 1, as derivative."""

    @staticmethod
    def forward(ctx: FunctionCtx, kappa: Tensor, dim: int) -> Tensor:
        value, ratio = published_log_i(kappa, dim)
        ctx.save_for_backward(ratio)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (ratio,) = ctx.saved_tensors
        return grad * ratio.clamp_max(1), None
