"""Losses on the sphere as their published programs compute them, written plainly from the formulas.

Not clever on purpose: every pass over a whole table, products with what is masked afterwards, loops
where the programs have loops. Two departures keep them finite at any size: SIREN's normaliser goes
through its logarithm, and its class means are kept. Draws are those of `reference_2021`. Nothing in
the project imports this file.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import reference_2021


def fitted_log_normalizer(kappa: Tensor) -> Tensor:
    """The parabola in place of log C for dimensions other than 128 (Kirchhof et al. 2022)."""
    return 868 - 0.0002662 * kappa - 0.0009685 * kappa.square()


def elk(z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor) -> Tensor:
    """Softmax of log expected likelihoods, z [B, D], weights [C, D]."""
    k1, k2 = z.norm(dim=1), weights.norm(dim=1)
    both = (k1[:, None].square() + k2.square() + 2 * z @ weights.T).clamp_min(0).sqrt()
    f = fitted_log_normalizer
    return cross_entropy(beta * (f(k1)[:, None] + f(k2) - f(both)), labels)


def nivmf(
    z: Tensor, mu: Tensor, scales: Tensor, labels: Tensor, beta: Tensor, n_samples: int
) -> Tensor:
    """EL-nivMF by draws: the cosine of the draw itself with K mu, and a power of |K mu|."""
    kappa, directions = reference_2021.split(z)
    draws = reference_2021.sample(directions, kappa, n_samples)
    stretched = scales * mu
    length = stretched.norm(dim=1)
    log_prob = fitted_log_normalizer(length) + scales.log().sum(1) - length.log()
    log_prob = log_prob + length * (draws @ normalize(stretched, dim=1).T)
    return cross_entropy(beta * (log_prob.logsumexp(0) - math.log(n_samples)), labels)


class _Miller(torch.autograd.Function):
    """log(I_m(kappa) / kappa^m) by the recurrence from 2 m down; the ratio is its derivative."""

    @staticmethod
    def forward(ctx, kappa: Tensor, dim: int) -> Tensor:
        order = dim // 2 - 1
        ratio, above, total = torch.zeros_like(kappa), None, torch.zeros_like(kappa)
        for i in range(2 * order, 0, -1):
            ratio = 1 / (2 * i / kappa + ratio)
            if i == order + 1:
                above = ratio
            if i <= order:
                total = total + ratio.log()
        ctx.save_for_backward(above)
        return total + torch.special.i0e(kappa).log() + kappa - order * kappa.log()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0].clamp_max(1), None


def proco(rows: Tensor, mu: Tensor, kappa: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of log expectations over class distributions (Du et al. 2024)."""
    dim, own = rows.shape[1], kappa[:, None] * mu
    squares = (own.square().sum(1) + 2 / temperature * rows @ own.T + 1 / temperature**2).double()
    logits = _Miller.apply(squares.sqrt(), dim) - _Miller.apply(kappa.double(), dim)
    return cross_entropy(logits.float(), labels)


def _cosines(z: Tensor, n_samples: int) -> Tensor:
    kappa, mu = reference_2021.split(z)
    draws = reference_2021.sample(mu, kappa, n_samples)
    return draws @ draws.transpose(1, 2)


def mcinfonce(z: Tensor, labels: Tensor, scale: float, n_samples: int) -> Tensor:
    """Of each draw log(1 + positives) - log(1 + negatives); the row counts as e^0 in both."""
    powers = (scale * _cosines(z, n_samples)).exp()
    same = labels[:, None] == labels
    positive = (powers * (same & ~torch.eye(len(z), dtype=torch.bool, device=z.device))).sum(2)
    negative = (powers * ~same).sum(2)
    return -((1 + positive).log() - (1 + negative).log()).logsumexp(0).mean() + math.log(n_samples)


def hib(z: Tensor, labels: Tensor, scale: Tensor, offset: Tensor, n_samples: int) -> Tensor:
    """Binary cross-entropy of the mean sigmoid of all pairs."""
    match = (scale * _cosines(z, n_samples) + offset).sigmoid().mean(0)
    same = labels[:, None] == labels
    near = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = ((match + 1e-5).log() * near).sum(1) / near.sum(1).clamp_min(1)
    negative = ((1 - match).clamp_min(1e-5).log() * ~same).sum(1) / (~same).sum(1)
    return -(positive + negative).mean()


def moved(prototypes: Tensor, rows: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Class means that move with one row after the other, in a loop."""
    means = list(prototypes)
    for row, label in zip(rows, labels.tolist(), strict=True):
        means[label] = normalize(momentum * means[label] + (1 - momentum) * row, dim=0)
    return torch.stack(means)


def cider(
    rows: Tensor, prototypes: Tensor, labels: Tensor, momentum: float, temperature: float
) -> Tensor:
    """Compactness and dispersion around means that carry the batch's gradient."""
    means = moved(prototypes, rows, labels, momentum)
    compactness = cross_entropy(rows @ means.detach().T / temperature, labels)
    powers = (means @ means.T / temperature).exp()
    mask = 1 - torch.eye(len(means), device=rows.device)
    dispersion = ((powers * mask).sum(1) / mask.sum(1)).log().mean()
    return 2 * temperature / 0.07 * compactness + dispersion


class _ClassNormalizer(torch.autograd.Function):
    """log C(kappa), class by class in many digits, and its derivative likewise."""

    @staticmethod
    def forward(ctx, kappa: Tensor, dim: int) -> Tensor:
        import mpmath

        order, values, ratios = dim / 2 - 1, [], []
        for k in kappa.tolist():
            bessel, above = mpmath.besseli(order, k), mpmath.besseli(order + 1, k)
            log_c = order * mpmath.log(k) - dim / 2 * math.log(2 * math.pi) - mpmath.log(bessel)
            values.append(float(log_c))
            ratios.append(float(above / bessel))
        ctx.save_for_backward(kappa.new_tensor(ratios))
        return kappa.new_tensor(values)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return -grad * ctx.saved_tensors[0], None


def siren(
    rows: Tensor, prototypes: Tensor, kappa: Tensor, labels: Tensor, momentum: float
) -> Tensor:
    """Cross-entropy of the log densities of the classes."""
    means = moved(prototypes, rows.detach(), labels, momentum)
    logits = kappa * (rows @ means.T) + _ClassNormalizer.apply(kappa.relu(), rows.shape[1])
    return cross_entropy(logits, labels)


def bcl(rows: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Balanced contrast (Zhu et al. 2022): denominators that average the rows of each class."""
    n, n_classes = len(rows), len(prototypes)
    classes = torch.cat([labels, torch.arange(n_classes, device=rows.device)])
    itself = torch.eye(n, n + n_classes, device=rows.device)
    mask = (labels[:, None] == classes).float() - itself
    counts = torch.nn.functional.one_hot(classes, n_classes).sum(0)
    logits = rows @ torch.cat([rows, prototypes]).T / temperature
    logits = logits - logits.max(1, keepdim=True).values.detach()
    per_class = counts[classes][None] - mask
    powers = logits.exp() * (1 - itself) / per_class
    log_prob = logits - powers.sum(1, keepdim=True).log()
    return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


def paco(
    class_logits: Tensor,
    rows: Tensor,
    labels: Tensor,
    others: tuple[Tensor, Tensor],
    weights: tuple[float, float],
    temperature: float,
) -> Tensor:
    """One softmax over classes and rows (Cui et al. 2021), of weights beta and alpha."""
    (queue, queue_labels), (alpha, beta) = others, weights
    n, n_classes = class_logits.shape
    classes = torch.cat([labels, queue_labels])
    contrast = rows @ torch.cat([rows, queue]).T / temperature
    logits = torch.cat([class_logits, contrast], 1)
    logits = logits - logits.max(1, keepdim=True).values.detach()
    itself = torch.eye(n, len(classes), device=rows.device)
    shown = torch.cat([torch.ones(n, n_classes, device=rows.device), 1 - itself], 1)
    one_hot = torch.nn.functional.one_hot(labels, n_classes)
    same = (labels[:, None] == classes) * (1 - itself)
    mask = torch.cat([beta * one_hot, alpha * same], 1)
    log_prob = logits - (logits.exp() * shown).sum(1, keepdim=True).log()
    return -((mask * log_prob).sum(1) / mask.sum(1)).mean()
