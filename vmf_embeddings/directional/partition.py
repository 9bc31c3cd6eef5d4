"""The log partition of von Mises-Fisher classes over draws, with its gradient formed on the way.

For an image's law vMF(mu, kappa) and classes w_j, the mean over draws z of
log sum_j C(|w_j|) / C(|w_j + beta z|) is the first term of the vMF loss (Scott et al. 2021,
https://arxiv.org/abs/2103.15718, equation 8). Draws are z = cos(theta) mu + sin(theta) v with v in
the tangent space, so that z.w = cos(theta) mu.w + sin(theta) v.w, and everything that the gradient
needs from D dimensions is a sum over draws before it meets the class weights: two matrix products
of all draws instead of three. Antithetic pairs, v and -v at one theta, share them both: half of the
products again, and far less variance, at the same expectation.

Loss and gradient of a block of images are formed together while its logits are in the cache; of
the [B, S, C] logits only one block exists at any time.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from vmf_embeddings.directional.bessel import widen
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.sampler import sample_angle

ESTIMATORS = ("antithetic", "iid")
BLOCK = 2**23  # logits a block: 32 MB in float32
CPU_TILE = 2**15  # logits a tile and thread: its temporaries stay in the cache
DEVICE_TILE = 2**24
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
    normals.normal_(generator=generator)
    kernel = normalizer_kernel(dim, mu.dtype)
    return _MeanLogPartition.apply(mu, angle, normals, class_weights, beta, kernel, paired)


class _MeanLogPartition(torch.autograd.Function):
    """Inputs mu [B, D], angle [B, S], normals [B, S, D], class weights [C, D], beta []."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mu: Tensor,
        angle: Tensor,
        normals: Tensor,
        class_weights: Tensor,
        beta: Tensor,
        kernel: Kernel,
        paired: bool,
    ) -> Tensor:
        batch, draws, _ = normals.shape
        work = _Work(class_weights, beta, kernel, paired, 1.0 / (batch * draws * (1 + paired)))
        grad_mu, grad_angle = torch.empty_like(mu), torch.empty_like(angle)
        height = max(1, BLOCK // (draws * len(class_weights)))
        for rows in torch.arange(batch, device="cpu").split(height):
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            grad_mu[block], grad_angle[block] = work.images(mu[block], angle[block], normals[block])
        ctx.save_for_backward(grad_mu, grad_angle, *work.totals())
        return work.value.to(mu.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_mu, grad_angle, grad_weights, grad_beta = (grad * g for g in ctx.saved_tensors)
        return grad_mu, grad_angle, None, grad_weights, grad_beta, None, None


class _Work:
    """Sums over all images, block by block; every gradient is that of the mean."""

    def __init__(
        self, weights: Tensor, beta: Tensor, kernel: Kernel, paired: bool, share: float
    ) -> None:
        self.weights, self.beta, self.kernel, self.share = weights, beta, kernel, share
        self.signs = (1.0, -1.0) if paired else (1.0,)
        self.kappa_squared = weights.square().sum(-1)
        self.compute = kernel.compute_dtype(weights)
        self.start = tuple(t.to(self.compute) for t in kernel.start(widen(self.kappa_squared)))
        self.q = self.kappa_squared.to(self.compute)
        self.value = weights.new_zeros((), dtype=self.compute)
        self.grad_beta = weights.new_zeros((), dtype=self.compute)
        self.grad_weights = torch.zeros_like(weights)
        self.probability = weights.new_zeros(len(weights), dtype=self.compute)
        self.slope = torch.zeros_like(self.probability)
        on_cpu = weights.device.type == "cpu"
        self.tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE

    def totals(self) -> tuple[Tensor, Tensor]:
        """The gradients of the class weights [C, D] and of beta [], once all images are in."""
        own = self.kernel.slope(self.q)
        through = self.slope - own * self.probability  # with respect to |w|^2
        self.grad_weights.addcmul_(self.weights, (2 * through).to(self.weights.dtype)[:, None])
        return self.grad_weights, self.grad_beta.to(self.beta.dtype)

    def images(self, mu: Tensor, angle: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a block of images; `normals` are overwritten.

        Args:
            mu: [n, D].
            angle: [n, S].
            normals: Gaussian vectors [n, S, D].

        Returns:
            Gradients of mu [n, D] and of the angles [n, S].
        """
        v, lean = _tangent(normals, mu)
        alpha, sigma = angle.cos(), angle.sin()
        along_mu = mu @ self.weights.T
        along_v = (v.flatten(0, 1) @ self.weights.T).view(*angle.shape, -1)
        to_mu, leaned = torch.zeros_like(along_mu), torch.zeros_like(along_mu)
        by_row = [torch.empty_like(angle) for _ in range(4)]
        height = max(1, self.tile // along_v[0].numel())
        for top in range(0, len(mu), height):
            rows = slice(top, top + height)
            local = (along_mu[rows], along_v[rows], alpha[rows], sigma[rows], lean[rows])
            sums = self._tile(*local, to_mu[rows], leaned[rows])
            for target, part in zip(by_row, sums, strict=True):
                target[rows] = part
        # along_v now holds the derivative with respect to v.w
        flat = along_v.flatten(0, 1)
        self.grad_weights.addmm_(flat.T, v.flatten(0, 1)).addmm_(to_mu.T, mu)
        grad_alpha, grad_sigma, outer_mu, outer_v = by_row
        grad_mu = (to_mu - leaned) @ self.weights
        grad_mu += torch.einsum("ns,nsd->nd", lean * outer_v - outer_mu, v)
        grad_mu -= (outer_mu * lean).sum(1, keepdim=True) * mu
        return grad_mu, alpha * grad_sigma - sigma * grad_alpha

    def _tile(
        self,
        along_mu: Tensor,
        along_v: Tensor,
        alpha: Tensor,
        sigma: Tensor,
        lean: Tensor,
        to_mu: Tensor,
        leaned: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of a tile [t, S, C] and their derivatives; the last two arguments are filled in.

        `along_v` [t, S, C] is overwritten by the derivative with respect to v.w, `to_mu` [t, C] by
        that with respect to mu.w, `leaned` by the sum of the former weighted with `lean`.

        Returns:
            [t, S] each: derivatives with respect to cos and sin of the angle, and the inner
            products of the derivative with respect to v with mu and with v.
        """
        a, s = alpha[..., None], sigma[..., None]
        centre = a * along_mu[:, None]
        grad_even, grad_odd = None, None
        for sign in self.signs:
            cosine = torch.addcmul(centre, s, along_v, value=sign)  # z.w
            through = self._through(cosine)
            grad_even = through if grad_even is None else grad_even + through
            grad_odd = through.clone() if grad_odd is None else grad_odd - through
        grad_alpha = (grad_even * along_mu[:, None]).sum(-1)
        grad_sigma = (grad_odd * along_v).sum(-1)
        torch.sum(grad_even.mul_(a), 1, out=to_mu)
        to_v = grad_odd.mul_(s)
        outer_mu = (to_v * along_mu[:, None]).sum(-1)
        outer_v = (to_v * along_v).sum(-1)
        torch.sum(to_v * lean[..., None], 1, out=leaned)
        along_v.copy_(to_v)
        return grad_alpha, grad_sigma, outer_mu, outer_v

    def _through(self, cosine: Tensor) -> Tensor:
        """Derivative [t, S, C] of the mean log partition with respect to z.w, given z.w."""
        beta = self.beta.to(self.compute)
        cosine = cosine.to(self.compute)
        delta = (2 * beta * cosine).add_(beta.square())
        logits, slope = self.kernel.difference_and_slope(self.start, delta)
        partition = logits.logsumexp(-1, keepdim=True)
        self.value += partition.sum() * self.share
        probability = logits.sub_(partition).exp_().mul_(self.share)
        self.probability += probability.sum((0, 1))
        through = probability.mul_(slope)  # with respect to delta
        self.slope += through.sum((0, 1))
        self.grad_beta += 2 * (through * cosine.add_(beta)).sum()
        return through.mul_(2 * beta).to(self.weights.dtype)


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
