"""The algorithms of 2021 as plain baselines, from their formulas: same tensors, same passes.

Scott, Gallagher, Mozer 2021, https://arxiv.org/abs/2103.15718; sampling after Wood 1994 and
Davidson et al. 2018 (https://arxiv.org/abs/1804.00891); hyperbolic parts after Ganea et al. 2018
(https://arxiv.org/abs/1805.09112). Not clever on purpose: whole-batch redraws, [B, S, C] passes,
log(exp().sum()), [B, S, C, D] class draws, [B, C, D] Mobius sums. One repair: the b of the sampler,
without which it draws from another law. Nothing in the project imports this file.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-7


def split(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths [.., 1] and unit vectors [.., D]."""
    kappa = vectors.norm(dim=-1, keepdim=True)
    return kappa, vectors / kappa


def cosine_by_inversion(kappa: Tensor) -> Tensor:
    """Cosines in three dimensions: 1 + log(u + (1-u) exp(-2 kappa)) / kappa."""
    u = torch.rand_like(kappa)
    logs = torch.stack([u.log(), (1 - u).log() - 2 * kappa])
    return 1 + logs.logsumexp(0) / kappa


def cosine_by_rejection(kappa: Tensor, dim: int) -> Tensor:
    """Cosines by Wood's rejection; every round draws for all rows until the last is accepted."""
    m = dim - 1
    root = (4 * kappa.square() + m**2).sqrt()
    b = m / (2 * kappa + root)  # the repair: it never cancels, and holds for every kappa
    a = (m + 2 * kappa + root) / 4
    offset = 4 * a * b / (1 + b) - m * math.log(m)
    half = torch.tensor(m / 2, dtype=torch.float64, device=kappa.device)
    law = torch.distributions.Beta(half, half)
    w = torch.zeros_like(kappa)
    pending = torch.ones_like(kappa, dtype=torch.bool)
    while pending.any():
        draw = law.sample(kappa.shape).to(kappa.dtype)
        uniform = torch.rand_like(kappa)
        proposal = (1 - (1 + b) * draw) / (1 - (1 - b) * draw)
        t = 2 * a * b / (1 - (1 - b) * draw)
        accepted = m * t.log() - t + offset >= uniform.log()
        w = torch.where(pending & accepted, proposal, w)
        pending = pending & ~accepted
    return w


def sample(mu: Tensor, kappa: Tensor, n_samples: int) -> Tensor:
    """Draws [S, .., D] for mu [.., D], kappa [.., 1]: built at e1, reflected to mu."""
    dim = mu.shape[-1]
    kappa = kappa.expand(n_samples, *kappa.shape)
    w = cosine_by_inversion(kappa) if dim == 3 else cosine_by_rejection(kappa, dim)
    normals = torch.randn(n_samples, *mu.shape, dtype=mu.dtype, device=mu.device)[..., 1:]
    tangent = normals / normals.norm(dim=-1, keepdim=True)
    x = torch.cat([w, (1 - w.square()).clamp_min(EPSILON).sqrt() * tangent], dim=-1)
    e1 = torch.zeros_like(mu)
    e1[..., 0] = 1
    axis = e1 - mu
    axis = axis / (axis.norm(dim=-1, keepdim=True) + EPSILON)
    return x - 2 * (x * axis).sum(-1, keepdim=True) * axis


def log_normalizer(kappa_squared: Tensor, dim: int) -> Tensor:
    """Mean of two bounds of log C, an additive constant dropped."""
    a, b = (dim - 1) / 2, (dim + 1) / 2
    s1, s2 = (a**2 + kappa_squared).sqrt(), (b**2 + kappa_squared).sqrt()
    return 0.5 * (a * (a + s1).log() - s1 + a * (a + s2).log() - s2)


def mean_cosine(kappa: Tensor, dim: int) -> Tensor:
    """Mean of two bounds of A_d."""
    a, b = (dim - 1) / 2, (dim + 1) / 2
    squared = kappa.square()
    return 0.5 * (kappa / (a + (b**2 + squared).sqrt()) + kappa / (a + (a**2 + squared).sqrt()))


def class_logits(weights: Tensor, beta: Tensor, draws: Tensor) -> Tensor:
    """log C(|w|) - log C(|w + beta z|) [B, S, C] as a difference of two large numbers."""
    dim = weights.shape[-1]
    squares = weights.norm(dim=-1).square()
    sums = squares + beta.square() + 2 * beta * (draws @ weights.T)
    return log_normalizer(squares, dim) - log_normalizer(sums, dim)


def vmf_loss(z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor, draws: Tensor) -> Tensor:
    """Loss of embeddings z [B, D] for given draws [B, S, D]."""
    dim = z.shape[-1]
    (kappa_z, mu_z), (kappa_w, mu_w) = split(z), split(weights[labels])
    own = (mean_cosine(kappa_z, dim) * mu_z * mean_cosine(kappa_w, dim) * mu_w).sum(-1)
    first = class_logits(weights, beta, draws).exp().sum(-1).log().mean(-1)
    return (first - beta * own).mean()


def vmf_step_loss(
    z: Tensor, weights: Tensor, labels: Tensor, tau: Tensor, n_samples: int
) -> Tensor:
    """Sampler and loss, beta = exp(-tau)."""
    kappa, mu = split(z)
    draws = sample(mu, kappa, n_samples).permute(1, 0, 2)
    return vmf_loss(z, weights, labels, (-tau).exp(), draws)


@torch.no_grad()
def vmf_prediction(z: Tensor, weights: Tensor, beta: Tensor, n_samples: int) -> Tensor:
    """Logits [B, S, C] by fresh class draws for every image and draw."""
    (kappa_z, mu_z), (kappa_w, mu_w) = split(z), split(weights)
    z_draws = sample(mu_z, kappa_z, n_samples).permute(1, 0, 2)
    w_draws = sample(mu_w, kappa_w, len(z) * n_samples).view(len(z), n_samples, *mu_w.shape)
    return beta * (z_draws[:, :, None] * w_draws).sum(-1)


def normalized_loss(z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor) -> Tensor:
    """Cross-entropy of scaled cosines, both sides normalised."""
    cosines = functional.normalize(z, dim=-1) @ functional.normalize(weights, dim=-1).T
    return functional.cross_entropy(beta * cosines, labels)


def arcface_loss(
    z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor, margin: float = 0.5
) -> Tensor:
    """Cross-entropy with an angular margin put in by a one-hot mask over [B, C]."""
    cosines = functional.normalize(z, dim=-1) @ functional.normalize(weights, dim=-1).T
    angles = cosines.clamp(-1 + EPSILON, 1 - EPSILON).acos()
    mask = functional.one_hot(labels, len(weights)).to(z.dtype)
    return functional.cross_entropy(
        beta * (mask * (angles + margin).cos() + (1 - mask) * cosines), labels
    )


def mobius_add(x: Tensor, y: Tensor, c: float) -> Tensor:
    xy, xx, yy = ((p * q).sum(-1, keepdim=True) for p, q in ((x, y), (x, x), (y, y)))
    numerator = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return numerator / (1 + 2 * c * xy + c**2 * xx * yy + 1e-5)


def expmap0(u: Tensor, c: float) -> Tensor:
    scaled = c**0.5 * u.norm(dim=-1, keepdim=True).clamp_min(1e-5)
    y = scaled.clamp(-15, 15).tanh() * u / scaled
    norm, largest = y.norm(dim=-1, keepdim=True).clamp_min(1e-5), (1 - 1e-3) / c**0.5
    return torch.where(norm > largest, y / norm * largest, y)


def hyperbolic_loss(z: Tensor, a: Tensor, p: Tensor, labels: Tensor, c: float) -> Tensor:
    """Hyperbolic multinomial regression through (-p) (+) x as a [C, B, D] tensor."""
    points, offsets = expmap0(z, c), expmap0(p, c)
    factor = 1 - c * offsets.square().sum(-1, keepdim=True)
    normals = a * factor
    m = mobius_add(-offsets[:, None], points[None], c)
    along = (m * normals[:, None]).sum(-1)
    length = normals.norm(dim=-1, keepdim=True)
    argument = 2 * c**0.5 * along / (length * (1 - c * m.square().sum(-1)))
    logits = (2 / factor * length / c**0.5 * argument.asinh()).T
    return functional.nll_loss(logits.log_softmax(-1), labels)


@torch.no_grad()
def poincare_distances(x: Tensor, c: float, block: int = 256) -> Tensor:
    """All pairs [N, N], a block of rows at a time through a [block, N, D] tensor."""
    rows = []
    for part in x.split(block):
        norm = mobius_add(-part[:, None], x[None], c).norm(dim=-1)
        rows.append(2 / c**0.5 * torch.atanh((c**0.5 * norm).clamp_max(1 - 1e-5)))
    return torch.cat(rows)


def hyperbolic_recall(x: Tensor, labels: Tensor, c: float) -> float:
    """Recall@1 from the matrix of distances."""
    distances = poincare_distances(x, c)
    distances.fill_diagonal_(torch.inf)
    return (labels[distances.argmin(1)] == labels).double().mean().item()


def retrieval(
    x: np.ndarray, labels: np.ndarray, n_queries: int | None = None
) -> tuple[float, float]:
    """R@1 by a faiss search with k = 2, MAP@R by a second one as deep as the largest class."""
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    queries, own = x[:n_queries], labels[:n_queries]
    counts = np.bincount(labels)
    nearest = index.search(queries, 2)[1][:, 1]
    recall = float((labels[nearest] == own).mean())
    neighbours = index.search(queries, int(counts.max()))[1][:, 1:]
    relevant = counts[own] - 1
    ranks = np.arange(1, neighbours.shape[1] + 1)
    hits = (labels[neighbours] == own[:, None]) & (ranks <= relevant[:, None])
    precision = np.cumsum(hits, axis=1) / ranks
    kept = relevant > 0
    average = (precision * hits).sum(1)[kept] / relevant[kept]
    return recall, float(average.mean())


def episodes(
    labels: np.ndarray, n_episodes: int, n_classes: int, n_samples: int
) -> Iterator[list[int]]:
    """Classes by choice, images of each by a scan over all labels."""
    classes = np.unique(labels)
    for _ in range(n_episodes):
        batch: list[int] = []
        for c in np.random.choice(classes, min(n_classes, len(classes)), replace=False):
            members = np.where(labels == c)[0]
            batch += np.random.choice(members, min(n_samples, len(members)), replace=False).tolist()
        yield batch
