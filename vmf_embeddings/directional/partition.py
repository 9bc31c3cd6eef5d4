"""The log partition of von Mises-Fisher classes over draws, with its gradient formed on the way.

For an image's law vMF(mu, kappa) and classes w_j, the mean over draws z of
log sum_j C(|w_j|) / C(|w_j + beta z|) is the first term of the vMF loss (Scott et al. 2021,
https://arxiv.org/abs/2103.15718, equation 8). Draws are z = cos(theta) mu + sin(theta) v with v in
the tangent space, so that z.w = cos(theta) mu.w + sin(theta) v.w, and everything that the gradient
needs from D dimensions is a sum over draws before it meets the class weights: two matrix products
of all draws instead of three. Antithetic pairs, v and -v at one theta, share them both: half of the
products again, and far less variance, at the same expectation.

Value and gradient of a block of images are formed together while its logits are at hand; of the
[B, S, C] logits only one block exists at any time.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vmf_embeddings import native
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.partition_tile import Partition, TorchPartition
from vmf_embeddings.directional.tangent import random_tangents_

CPU_BLOCK = 2**22  # logits a block: 16 MB in float32
DEVICE_BLOCK = 2**24
LEAST_IMAGES = 16  # a block; where so few have too many logits, classes are split instead


class Result(NamedTuple):
    """The mean log partition in nats, and its gradients."""

    value: Tensor
    grad_mu: Tensor
    grad_angle: Tensor
    grad_weights: Tensor
    grad_beta: Tensor


def over_laws(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    paired: bool,
    generator: torch.Generator | None,
) -> Result:
    """Over draws cos(angle) mu + sin(angle) v, v uniform in the tangent space.

    Args:
        mu: unit mean directions of the images' laws [B, D].
        angle: of their draws [S, B].
        class_weights: kappa times mu of the classes [C, D].
        beta: inverse temperature, > 0, scalar.
        paired: whether every draw counts with the one that has -v.
        generator: of the directions v.

    Returns:
        Gradients have the shapes of what they belong to.
    """
    share = 1.0 / (angle.numel() * (1 + paired))
    height = block_size(mu) // ((1 + len(angle)) * len(class_weights))
    split = _by_images if height >= min(len(mu), LEAST_IMAGES) else _by_classes
    return split(mu, angle, class_weights, beta, paired, share, generator)


def block_size(like: Tensor) -> int:
    """How many logits a block may have on the device of a tensor."""
    return CPU_BLOCK if like.device.type == "cpu" else DEVICE_BLOCK


def _by_images(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    paired: bool,
    share: float,
    generator: torch.Generator | None,
) -> Result:
    """Blocks of images, each with all classes: two products of draws and class weights."""
    partition = LogPartition(class_weights, beta, paired, share)
    grad_mu, grad_angle = torch.empty_like(mu), torch.empty_like(angle)
    for rows in partition.blocks(len(mu), 1 + len(angle)):
        points, lean = _points(mu[rows], len(angle), generator)
        found = partition.add_laws(points, angle[:, rows], lean)
        grad_mu[rows], grad_angle[:, rows] = found
    return Result(partition.value, grad_mu, grad_angle, *partition.gradients())


def _by_classes(
    mu: Tensor,
    angle: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    paired: bool,
    share: float,
    generator: torch.Generator | None,
) -> Result:
    """Blocks of classes, each with all images: twice, as the first time no draw's sum is known."""
    points, lean = _points(mu, len(angle), generator)
    width = max(1, block_size(mu) // points[..., 0].numel())
    blocks = class_weights.split(width)
    logs = spare = None
    for block in blocks:
        partition = LogPartition(block, beta, paired, share, spare)
        found, spare = partition.logs(points, angle), partition.spare
        logs = found if logs is None else torch.logaddexp(logs, found)
    grad_mu, grad_angle = torch.zeros_like(mu), torch.zeros_like(angle)
    grad_weights, grad_beta = torch.empty_like(class_weights), 0.0
    for block, out in zip(blocks, grad_weights.split(width), strict=True):
        partition = LogPartition(block, beta, paired, share, spare)
        to_mu, to_angle = partition.add_laws(points, angle, lean, logs)
        grad_mu += to_mu
        grad_angle += to_angle
        to_weights, to_beta = partition.gradients()
        out.copy_(to_weights)
        grad_beta = grad_beta + to_beta
    return Result(share * logs.sum(), grad_mu, grad_angle, grad_weights, grad_beta)


def _points(mu: Tensor, draws: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Mean directions and uniform tangent ones [1 + S, n, D], and the lean of these [S, n]."""
    points = torch.empty(1 + draws, *mu.shape, dtype=mu.dtype, device=mu.device)
    points[0] = mu
    return points, random_tangents_(points[1:], mu, generator)


class LogPartition:
    """The mean log partition and its gradients, of which every block of images adds its part."""

    def __init__(
        self,
        weights: Tensor,
        beta: Tensor,
        paired: bool,
        share: float,
        spare: Tensor | None = None,
    ) -> None:
        """Nothing is added yet.

        Args:
            weights: kappa times mu of the classes [C, D].
            beta: inverse temperature, scalar.
            paired: whether each angle and direction v stands for a pair of draws, v and -v.
            share: what one draw counts, 1 / (B S).
            spare: memory for a block of logits, if there is any; see `spare` afterwards.
        """
        self.spare = weights.new_empty(0) if spare is None else spare
        self.n_classes = len(weights)
        self.partition = _partition(weights, beta, paired, share)
        surplus = self.partition.columns - len(weights)
        self.weights = functional.pad(weights, (0, 0, 0, surplus)) if surplus else weights
        self.grad_weights: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """Mean log partition so far, in nats, scalar."""
        return self.partition.value

    def blocks(self, length: int, draws: int) -> list[slice]:
        """Slices of range(length) so that `draws` rows of logits for each fill a block."""
        height = max(1, block_size(self.weights) // (draws * len(self.weights)))
        return [slice(top, top + height) for top in range(0, length, height)]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Those of the class weights [C, D] and of beta [] in float64, once all is added."""
        pull = 2 * self.partition.through.to(self.weights.dtype)
        grad = self.grad_weights.addcmul_(self.weights, pull[:, None])[: self.n_classes]
        return grad, self.partition.grad_beta

    def logs(self, points: Tensor, angle: Tensor) -> Tensor:
        """Log partition of every draw over these classes [1 or 2, S, n]; see `add_laws`."""
        return self.partition.logs(self._products(points), angle)

    def add_laws(
        self, points: Tensor, angle: Tensor, lean: Tensor, logs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Adds a block of images.

        Args:
            points: mu and the directions v of its draws [1 + S, n, D].
            angle: [S, n].
            lean: of the directions [S, n].
            logs: log partitions, where these classes are not all there are; then `value` stays.

        Returns:
            Gradients of mu [n, D] and of the angles [S, n].
        """
        table = self._products(points)
        turn, parts, grad_angle = self.partition.block(table, angle, lean, logs)
        self._gather(table, points)
        grad_mu = turn @ self.weights
        for factor, point in zip(parts, points, strict=True):
            grad_mu.addcmul_(factor[:, None], point)
        return grad_mu, grad_angle

    def add_draws(self, draws: Tensor, *, out: Tensor) -> None:
        """Adds given draws [n, D], whose gradients [n, D] overwrite `out`."""
        table = self._products(draws)
        self.partition.draws(table)
        self._gather(table, draws)
        torch.mm(table, self.weights, out=out)

    def _products(self, points: Tensor) -> Tensor:
        rows, n_columns = points.flatten(0, -2), len(self.weights)
        if self.spare.numel() < len(rows) * n_columns:
            self.spare = points.new_empty(len(rows) * n_columns)
        table = self.spare[: len(rows) * n_columns].view(len(rows), n_columns)
        return torch.mm(rows, self.weights.T, out=table).view(*points.shape[:-1], n_columns)

    def _gather(self, through: Tensor, points: Tensor) -> None:
        flat, points = through.flatten(0, -2), points.flatten(0, -2)
        if self.grad_weights is None:
            self.grad_weights = flat.T @ points
        else:
            self.grad_weights.addmm_(flat.T, points)


def _partition(weights: Tensor, beta: Tensor, paired: bool, share: float) -> Partition:
    """Machine code where it can be had and knows the normaliser, else PyTorch."""
    kernel = normalizer_kernel(weights.shape[-1], weights.dtype)
    plain = weights.device.type == "cpu" and weights.dtype == torch.float32
    if plain and native.enabled() and _compiles(kernel):
        from vmf_embeddings.directional.kernels.partition_compiled import CompiledPartition

        return CompiledPartition(weights, beta, kernel, paired, share)
    return TorchPartition(weights, beta, kernel, paired, share)


def _compiles(kernel: Kernel) -> bool:
    """Whether machine code knows the normaliser: dim 3, and those float32 is enough for."""
    return kernel.plan is None or not kernel.plan.steps
