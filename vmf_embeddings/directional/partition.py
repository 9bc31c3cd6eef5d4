"""The log partition of von Mises-Fisher classes over draws, with its gradient formed on the way.

For an image's law vMF(mu, kappa) and classes w_j, the mean over draws z of
log sum_j C(|w_j|) / C(|w_j + beta z|) is the first term of the vMF loss (Scott et al. 2021,
https://arxiv.org/abs/2103.15718, equation 8). Draws are z = cos(theta) mu + sin(theta) v with v in
the tangent space, so that z.w = cos(theta) mu.w + sin(theta) v.w, and everything that the gradient
needs from D dimensions is a sum over draws before it meets the class weights: two matrix products
of all draws instead of three. Antithetic pairs, v and -v at one theta, share them both: half of the
products again, and far less variance, at the same expectation.

Loss and gradient of a block of images are formed together while its logits are at hand; of the
[B, S, C] logits only one block exists at any time.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from vmf_embeddings import native
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.normals import standard_normals_
from vmf_embeddings.directional.partition_tile import Partition, TorchPartition
from vmf_embeddings.directional.sampler import sample_angle

ESTIMATORS = ("antithetic", "iid")
BLOCK = 2**23  # logits a block: 32 MB in float32
SMALL_DIM = 16  # below, one projection may leave a visible part of mu: project twice


def mean_log_partition(
    mu: Tensor,
    kappa: Tensor,
    class_weights: Tensor,
    beta: Tensor,
    n_samples: int,
    *,
    estimator: str = "antithetic",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean over images and draws of log sum_j C(|w_j|) / C(|w_j + beta z|), in nats.

    Extra memory is one gradient of the class weights and two blocks of 32 MB, whatever the sizes.

    Args:
        mu: unit mean directions of the images' laws [B, D].
        kappa: their concentrations [B], >= 0.
        class_weights: kappa times mu of the classes [C, D].
        beta: inverse temperature, > 0, scalar.
        n_samples: draws an image, S; even for antithetic pairs.
        estimator: "antithetic" (pairs mirrored at mu) or "iid". The same expectation and gradient.
        generator: source of randomness; None = the global one.

    Returns:
        Scalar, differentiable once in the first four arguments.

    Raises:
        ValueError: unknown estimator, or an odd number of antithetic draws.

    >>> w = torch.eye(4)
    >>> value = mean_log_partition(w[:2], torch.ones(2), 1e-4 * w, torch.tensor(1e-3), 2)
    >>> round(value.item(), 4)  # log 4: classes that wide cannot be told apart
    1.3863
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
    paired = estimator == "antithetic"
    if paired and n_samples % 2:
        raise ValueError(f"antithetic draws come in pairs: {n_samples} is odd; use iid ones")
    draws = n_samples // 2 if paired else n_samples
    batch, dim = mu.shape
    angle = sample_angle(kappa, dim, draws, generator=generator).T
    normals = torch.empty(batch, draws, dim, dtype=mu.dtype, device=mu.device)
    standard_normals_(normals, generator)
    return _OfLaws.apply(mu, angle, normals, class_weights, beta, paired)


def mean_log_partition_of_draws(draws: Tensor, class_weights: Tensor, beta: Tensor) -> Tensor:
    """The same mean over given draws z, with their gradient.

    Args:
        draws: unit vectors [B, S, D].
        class_weights: kappa times mu of the classes [C, D], same dtype.
        beta: inverse temperature, > 0, scalar.

    Returns:
        Scalar, in nats, differentiable once in all arguments.

    >>> w = 1e-4 * torch.eye(4)
    >>> value = mean_log_partition_of_draws(torch.eye(4)[:, None], w, torch.tensor(1e-3))
    >>> round(value.item(), 4)
    1.3863
    """
    return _OfDraws.apply(draws, class_weights, beta)


class _OfLaws(torch.autograd.Function):
    """Inputs mu [B, D], angle [B, S], normals [B, S, D] (overwritten), weights [C, D], beta []."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mu: Tensor,
        angle: Tensor,
        normals: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        paired: bool,
    ) -> Tensor:
        batch, draws, _ = normals.shape
        share = 1.0 / (batch * draws * (1 + paired))
        work = _Work(class_weights, beta, paired, share)
        grad_mu, grad_angle = torch.empty_like(mu), torch.empty_like(angle)
        for rows in work.blocks(batch, draws + 1):
            grad_mu[rows], grad_angle[rows] = work.laws(mu[rows], angle[rows], normals[rows])
        ctx.save_for_backward(grad_mu, grad_angle, *work.totals())
        return work.partition.value.to(mu.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_mu, grad_angle, grad_weights, grad_beta = (grad * g for g in ctx.saved_tensors)
        return grad_mu, grad_angle, None, grad_weights, grad_beta, None


class _OfDraws(torch.autograd.Function):
    """Inputs draws [B, S, D], class weights [C, D], beta []."""

    @staticmethod
    def forward(ctx: FunctionCtx, draws: Tensor, class_weights: Tensor, beta: Tensor) -> Tensor:
        flat = draws.reshape(-1, draws.shape[-1])
        work = _Work(class_weights, beta, False, 1.0 / len(flat))
        grad_draws = torch.empty_like(flat)
        for rows in work.blocks(len(flat), 1):
            grad_draws[rows] = work.draws(flat[rows])
        ctx.save_for_backward(grad_draws.view_as(draws), *work.totals())
        return work.partition.value.to(draws.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(grad * g for g in ctx.saved_tensors)


class _Work:
    """Gradients of the class weights and beta, block by block; all are those of the mean."""

    def __init__(self, weights: Tensor, beta: Tensor, paired: bool, share: float) -> None:
        kernel = normalizer_kernel(weights.shape[-1], weights.dtype)
        self.beta = beta
        self.partition = _partition(weights, beta, kernel, paired, share)
        surplus = self.partition.columns - len(weights)
        self.n_classes = len(weights)
        self.weights = functional.pad(weights, (0, 0, 0, surplus)) if surplus else weights
        self.grad_weights: Tensor | None = None
        self.along = torch.zeros_like(self.partition.value)

    def blocks(self, length: int, draws: int) -> list[slice]:
        """Slices of range(length) so that `draws` rows of logits for each fill a block."""
        height = max(1, BLOCK // (draws * len(self.weights)))
        return [slice(top, top + height) for top in range(0, length, height)]

    def totals(self) -> tuple[Tensor, Tensor]:
        """The gradients of the class weights [C, D] and of beta [], once all images are in."""
        pull = 2 * self.partition.through.to(self.weights.dtype)
        grad = self.grad_weights.addcmul_(self.weights, pull[:, None])[: self.n_classes]
        grad_beta = self.partition.pull + self.along / self.beta
        return grad, grad_beta.to(self.beta.dtype)

    def laws(self, mu: Tensor, angle: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a block of images; `normals` are overwritten.

        Args:
            mu: [n, D].
            angle: [n, S].
            normals: Gaussian vectors [n, S, D].

        Returns:
            Gradients of mu [n, D] and of the angles [n, S].
        """
        v, lean = _tangent(normals, mu)
        points = torch.cat([mu[:, None], v], 1)
        alpha, sigma = angle.cos(), angle.sin()
        table = self._products(points)
        turn, sums = self.partition.block(table, torch.stack([alpha, sigma, lean], -1))
        even_mu, odd_mu, odd_v = sums.unbind(-1)
        self.along += torch.dot(alpha.flatten(), even_mu.flatten())
        self.along += torch.dot(sigma.flatten(), odd_v.flatten())
        self._gather(table, points)
        inward = -sigma * odd_mu  # how the gradient of v moves mu, as v stays tangent
        parts = torch.cat([(lean * inward).sum(1, keepdim=True), inward + lean * sigma * odd_v], 1)
        grad_mu = torch.bmm(parts[:, None], points).squeeze(1).addmm_(turn, self.weights)
        return grad_mu, alpha * odd_v - sigma * even_mu

    def draws(self, points: Tensor) -> Tensor:
        """Adds draws [n, D], returns their gradients."""
        table = self._products(points)
        self.along += self.partition.draws(table)
        self._gather(table, points)
        return table @ self.weights

    def _products(self, points: Tensor) -> Tensor:
        return (points.flatten(0, -2) @ self.weights.T).view(*points.shape[:-1], -1)

    def _gather(self, through: Tensor, points: Tensor) -> None:
        flat, points = through.flatten(0, -2), points.flatten(0, -2)
        if self.grad_weights is None:
            self.grad_weights = flat.T @ points
        else:
            self.grad_weights.addmm_(flat.T, points)


def _partition(
    weights: Tensor, beta: Tensor, kernel: Kernel, paired: bool, share: float
) -> Partition:
    """Machine code where it can be had and knows the normaliser, else PyTorch."""
    plain = weights.device.type == "cpu" and weights.dtype == torch.float32
    if plain and native.enabled() and not torch.compiler.is_compiling():
        from vmf_embeddings.directional.partition_compiled import CompiledPartition, covers

        if covers(kernel):
            return CompiledPartition(weights, beta, kernel, paired, share)
    return TorchPartition(weights, beta, kernel, paired, share)


def _tangent(normals: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """Unit tangent vectors [n, S, D] at mu [n, D] in place of Gaussian ones, and their lean [n, S].

    The lean is the part of a Gaussian vector along mu, over the length of the rest: by so much its
    tangent direction turns when mu does.
    """
    direction = mu[:, None]
    along = (normals * direction).sum(-1, keepdim=True)
    normals.addcmul_(along, direction, value=-1)
    if mu.shape[-1] < SMALL_DIM:
        again = (normals * direction).sum(-1, keepdim=True)
        normals.addcmul_(again, direction, value=-1)
    scale = torch.linalg.vector_norm(normals, dim=-1, keepdim=True).reciprocal_()
    return normals.mul_(scale), (along * scale).squeeze(-1)
