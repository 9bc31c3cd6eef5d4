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

import torch
from torch import Tensor
from torch.nn import functional

from vmf_embeddings import native
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.partition_tile import Partition, TorchPartition
from vmf_embeddings.directional.tangent import random_tangents_

BLOCK = 2**22  # logits a block: 16 MB in float32


class LogPartition:
    """The mean log partition and its gradients, of which every block of images adds its part."""

    def __init__(self, weights: Tensor, beta: Tensor, paired: bool, share: float) -> None:
        """Nothing is added yet.

        Args:
            weights: kappa times mu of the classes [C, D].
            beta: inverse temperature, scalar.
            paired: whether each angle and direction v stands for a pair of draws, v and -v.
            share: what one draw counts, 1 / (B S).
        """
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
        height = max(1, BLOCK // (draws * len(self.weights)))
        return [slice(top, top + height) for top in range(0, length, height)]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Those of the class weights [C, D] and of beta [] in float64, once all is added."""
        pull = 2 * self.partition.through.to(self.weights.dtype)
        grad = self.grad_weights.addcmul_(self.weights, pull[:, None])[: self.n_classes]
        return grad, self.partition.grad_beta

    def add_laws(
        self, mu: Tensor, angle: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Adds draws cos(angle) mu + sin(angle) v of a block of images, v uniform.

        Args:
            mu: [n, D].
            angle: [S, n].
            generator: of the directions v.

        Returns:
            Gradients of mu [n, D] and of the angles [S, n].
        """
        points = torch.empty(1 + len(angle), *mu.shape, dtype=mu.dtype, device=mu.device)
        points[0] = mu
        lean = random_tangents_(points[1:], mu, generator)
        table = self._products(points)
        turn, parts, grad_angle = self.partition.block(table, angle, lean)
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
        return (points.flatten(0, -2) @ self.weights.T).view(*points.shape[:-1], -1)

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
        from vmf_embeddings.directional.partition_compiled import CompiledPartition

        return CompiledPartition(weights, beta, kernel, paired, share)
    return TorchPartition(weights, beta, kernel, paired, share)


def _compiles(kernel: Kernel) -> bool:
    """Whether machine code knows the normaliser: dim 3, and those float32 is enough for."""
    return kernel.plan is None or not kernel.plan.steps
