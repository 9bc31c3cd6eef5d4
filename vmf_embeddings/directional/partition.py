"""Mean log partition function over von Mises-Fisher draws, with all of its gradients.

First term of the vMF loss (Scott et al. 2021, https://arxiv.org/abs/2103.15718, equation 8). For an
image distributed as vMF(mu, kappa), draws z and classes with weights w_c (kappa times mean
direction, [D]) it is the mean over draws of

    f(z) = log sum_c exp l_c(z),    l_c(z) = log C(|w_c|) - log C(|w_c + beta z|).

Draws are z = cos(theta) mu + sin(theta) v, v a unit vector of the tangent space at mu, so
z.w = cos(theta) mu.w + sin(theta) v.w. Antithetic pairs use v and -v with the same theta: the dot
products serve both, which halves the matrix products, and the variance is far lower.

Derivatives (a = cos(theta), s = sin(theta), m one draw's weight in the mean, p_c = softmax of l_c):

    g_c = dF/d(z.w_c) = m p_c beta A(kappa_c') / kappa_c',   kappa_c' = |w_c + beta z|
    E_c, O_c = g_c(+v) + g_c(-v), g_c(+v) - g_c(-v)          (both g_c(+v) without pairs)
    dF/dtheta   = a sum_c O_c v.w_c - s sum_c E_c mu.w_c
    dF/dw_c     = sum over draws (a E_c mu + s O_c v) + 2 w_c dF/d|w_c|^2
    dF/d|w_c|^2 = sum over draws m p_c (A(kappa_c') / kappa_c' - A(|w_c|) / |w_c|) / 2
    dF/dmu      = sum over draws and c (a E_c w_c + s O_c (dv/dmu)^T w_c), dv/dmu as in `tangent`

Everything that needs all D dimensions is a sum over draws before it meets the class weights, hence
two matrix products with all draws instead of three. Value and gradients of a block are formed while
its logits are in memory: of the [B, S, C] logits only one block exists at any time.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vmf_embeddings.directional.partition_code import partition_of
from vmf_embeddings.directional.tangent import random_tangents_

CPU_BLOCK = 2**22  # logits in a block: 16 MB in float32
DEVICE_BLOCK = 2**24
MIN_BATCH_CHUNK = 16  # where a block holds the logits of fewer images, classes are split instead


class LogPartitionGrads(NamedTuple):
    """The mean log partition in nats [] and its gradients.

    Attributes:
        value: [].
        grad_mu: [B, D].
        grad_angle: [S, B].
        grad_weights: of the class weights [C, D].
        grad_beta: [].
    """

    value: Tensor
    grad_mu: Tensor
    grad_angle: Tensor
    grad_weights: Tensor
    grad_beta: Tensor


def log_partition(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    antithetic: bool,
    generator: torch.Generator | None,
    combine: Callable[[Tensor], Tensor] | None = None,
    log_weights: Tensor | None = None,
) -> LogPartitionGrads:
    """Mean over images and draws of log sum_c C(|w_c|) / C(|w_c + beta z|), with all gradients.

    Draws are z = cos(angle) mu + sin(angle) v, v uniform on the unit sphere orthogonal to mu.

    Args:
        mu: unit mean directions of the images [B, D].
        angle: angles between the draws and mu [S, B].
        class_weights: concentration times mean direction of the classes [C, D].
        beta: inverse temperature, > 0, [].
        antithetic: also use -v for every v.
        generator: source of randomness for v; None = the global one.
        combine: where these classes are a part of all: from the log sums over them, float64
            [1 or 2, S, B], to those over all classes. The value is then that of all classes, the
            gradients of mu, angle and beta are the summands of these.
        log_weights: added to the logits of these classes, only with `combine` [C]; None = nothing.

    Returns:
        The value in nats and its gradients with respect to the four tensors.
    """
    draw_weight = 1.0 / (angle.numel() * (1 + antithetic))
    arguments = (mu, angle, class_weights, beta, antithetic, draw_weight, generator)
    if combine is not None:
        return _chunk_over_classes(*arguments, combine, log_weights)
    height = block_size(mu) // ((1 + len(angle)) * len(class_weights))
    fits = height >= min(len(mu), MIN_BATCH_CHUNK)
    chunked = _chunk_over_batch if fits else _chunk_over_classes
    return chunked(*arguments)


def block_size(like: Tensor) -> int:
    """The most logits that a block may have on the device of `like`."""
    return CPU_BLOCK if like.device.type == "cpu" else DEVICE_BLOCK


def _chunk_over_batch(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    antithetic: bool,
    draw_weight: float,
    generator: torch.Generator | None,
) -> LogPartitionGrads:
    """Blocks of images, each with all classes: one pass."""
    partition = LogPartitionSum(class_weights, beta, antithetic, draw_weight)
    parts = []
    for rows in partition.blocks(len(mu), 1 + len(angle)):
        points, mu_component_ratio = _mean_and_tangents(mu[rows], len(angle), generator)
        parts.append(partition.add_distributions(points, angle[:, rows], mu_component_ratio))
    of_rows = zip(*parts, strict=True)
    grads = (p[0] if len(p) == 1 else torch.cat(p, dim) for dim, p in enumerate(of_rows))
    return LogPartitionGrads(partition.value, *grads, *partition.gradients())


def _chunk_over_classes(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    antithetic: bool,
    draw_weight: float,
    generator: torch.Generator | None,
    combine: Callable[[Tensor], Tensor] | None = None,
    log_weights: Tensor | None = None,
) -> LogPartitionGrads:
    """Blocks of classes, each with all images: a pass for the sums over classes, one for gradients.

    The probabilities in the gradient need the sum over all classes first.
    """
    points, mu_component_ratio = _mean_and_tangents(mu, len(angle), generator)
    width = max(1, block_size(mu) // points[..., 0].numel())
    blocks = class_weights.split(width)
    added = [None] * len(blocks) if log_weights is None else log_weights.split(width)
    log_sums = buffer = None
    for block, of_classes in zip(blocks, added, strict=True):
        partition = LogPartitionSum(block, beta, antithetic, draw_weight, buffer, of_classes)
        of_block, buffer = partition.log_sums(points, angle), partition.logits_buffer
        log_sums = of_block if log_sums is None else torch.logaddexp(log_sums, of_block)
    if combine is not None:
        log_sums = combine(log_sums)
    grad_mu, grad_angle = torch.zeros_like(mu), torch.zeros_like(angle)
    grad_weights, grad_beta = torch.empty_like(class_weights), 0.0
    for block, of_classes, out in zip(blocks, added, grad_weights.split(width), strict=True):
        partition = LogPartitionSum(block, beta, antithetic, draw_weight, buffer, of_classes)
        to_mu, to_angle = partition.add_distributions(points, angle, mu_component_ratio, log_sums)
        grad_mu += to_mu
        grad_angle += to_angle
        to_weights, to_beta = partition.gradients()
        out.copy_(to_weights)
        grad_beta = grad_beta + to_beta
    value = draw_weight * log_sums.sum()
    return LogPartitionGrads(value, grad_mu, grad_angle, grad_weights, grad_beta)


def _mean_and_tangents(
    mu: Tensor, n_draws: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Mu and S uniform tangent directions [1 + S, n, D], and the ratio r of the latter [S, n]."""
    points = torch.empty(1 + n_draws, *mu.shape, dtype=mu.dtype, device=mu.device)
    points[0] = mu
    return points, random_tangents_(points[1:], mu, generator)


class LogPartitionSum:
    """The mean log partition and its gradients, added up over blocks of images or draws."""

    def __init__(
        self,
        weights: Tensor,
        beta: Tensor,
        antithetic: bool,
        draw_weight: float,
        logits_buffer: Tensor | None = None,
        log_weights: Tensor | None = None,
    ) -> None:
        """Starts with all sums at zero.

        Args:
            weights: concentration times mean direction of the classes [C, D].
            beta: inverse temperature, [].
            antithetic: whether each angle and direction v stands for two draws, with v and -v.
            draw_weight: weight of one draw in the mean, 1 / number of draws.
            logits_buffer: memory to reuse for a block of logits; the attribute of the same name
                holds it afterwards, enlarged if it was too small.
            log_weights: added to the logits of the classes [C]; None = nothing.
        """
        self.logits_buffer = weights.new_empty(0) if logits_buffer is None else logits_buffer
        self.n_classes = len(weights)
        self.partition = partition_of(weights, beta, antithetic, draw_weight, log_weights)
        n_padding = self.partition.columns - len(weights)
        self.weights = functional.pad(weights, (0, 0, 0, n_padding)) if n_padding else weights
        self.grad_weights: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """Weighted sum of the log partitions added so far, in nats, []."""
        return self.partition.value

    def blocks(self, length: int, n_rows: int) -> list[slice]:
        """Slices of range(length) that fill a block with `n_rows` rows of logits per element."""
        height = max(1, block_size(self.weights) // (n_rows * len(self.weights)))
        return [slice(top, top + height) for top in range(0, length, height)]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients of the class weights [C, D] and of beta [] (float64), after the last block.

        May be called once: the first overwrites the sum.
        """
        # d|w|^2 / dw = 2 w
        radial = self.partition.grad_squared_norm.to(self.weights.dtype)
        grad = self.grad_weights.addcmul_(self.weights, radial[:, None], value=2)
        grad = grad[: self.n_classes]
        return grad, self.partition.grad_beta

    def log_sums(self, points: Tensor, angle: Tensor) -> Tensor:
        """Log partition of every draw over these classes [1 or 2, S, n], see `Partition.log_sums`.

        Arguments are those of `add_distributions`.
        """
        return self.partition.log_sums(self._dots(points), angle)

    def add_distributions(
        self,
        points: Tensor,
        angle: Tensor,
        mu_component_ratio: Tensor,
        log_sums: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Adds the draws of a block of images.

        Args:
            points: mu and the tangent directions v of the draws [1 + S, n, D].
            angle: angles between the draws and mu [S, n].
            mu_component_ratio: of the tangent directions, see `tangent` [S, n].
            log_sums: log partitions over all classes, where these classes are only a part of them;
                `value` then stays as it is.

        Returns:
            Gradients of mu [n, D] and of the angles [S, n].
        """
        dots = self._dots(points)
        class_coeff, point_coeff, grad_angle = self.partition.block(
            dots, angle, mu_component_ratio, log_sums
        )
        self._add_weight_gradient(dots, points)
        grad_mu = class_coeff @ self.weights
        if points.device.type != "cpu":
            of_points = point_coeff.T[:, None], points.transpose(0, 1)  # image by image
            return torch.baddbmm(grad_mu[:, None], *of_points).squeeze(1), grad_angle
        for factor, point in zip(point_coeff, points, strict=True):
            grad_mu.addcmul_(factor[:, None], point)
        return grad_mu, grad_angle

    def add_draws(self, draws: Tensor, *, out: Tensor) -> None:
        """Adds given draws [n, D]; overwrites `out` [n, D] by the gradient with respect to them."""
        dots = self._dots(draws)
        self.partition.draws(dots)
        self._add_weight_gradient(dots, draws)
        torch.mm(dots, self.weights, out=out)

    def _dots(self, points: Tensor) -> Tensor:
        """Dot products of points [.., D] with all classes [.., C], in the buffer."""
        rows, n_columns = points.flatten(0, -2), len(self.weights)
        if self.logits_buffer.numel() < len(rows) * n_columns:
            self.logits_buffer = points.new_empty(len(rows) * n_columns)
        dots = self.logits_buffer[: len(rows) * n_columns].view(len(rows), n_columns)
        return torch.mm(rows, self.weights.T, out=dots).view(*points.shape[:-1], n_columns)

    def _add_weight_gradient(self, grad_dots: Tensor, points: Tensor) -> None:
        """Adds grad_dots^T points [C, D], the gradient through the dot products."""
        grad_dots, points = grad_dots.flatten(0, -2), points.flatten(0, -2)
        if self.grad_weights is None:
            self.grad_weights = grad_dots.T @ points
        else:
            self.grad_weights.addmm_(grad_dots.T, points)
