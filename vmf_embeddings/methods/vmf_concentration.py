"""How sure class distributions must start, so that their spread does not hold training back.

The vMF softmax of an image costs something even if no other class exists: the expectation over the
class distribution stands inside the logarithm, that over the image's outside, and by Jensen's
inequality the two differ. No direction of image or class removes this cost, only larger
concentrations or a smaller inverse temperature do. Where it is large, training keeps the inverse
temperature small and gathers all images around few directions, which harms classes that were not
trained on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.directional import log_normalizer_difference, mean_cosine, mean_cosine_inverse

SPREAD_COST = 1e-4
"""Largest cost in nats that `automatic_confidence` allows: below the loss that training reaches."""
WANTED_PROBABILITY = 0.999
"""Probability of the right class that the inverse temperature must be able to reach."""
LOWEST_TAU = -11.5
"""Log temperature below which no confidence is looked for: beta would be above 100,000."""
ELK_LOWEST = 0.95  # below, expected likelihoods retrieved unseen classes worse (docs/methods.md)
NODES, DEVIATIONS = 400, 10.0
LOWEST, HIGHEST, STEPS, ROUNDS = 0.4, 1 - 1e-8, 64, 4


def spread_cost(beta: float, class_kappa: float, image_kappa: float, dim: int) -> float:
    """Loss of an image against its own class alone, both with the same mean direction.

    E_z[log E_w[exp(beta w.z)]] - beta E[w].E[z], for w and z of von Mises-Fisher distributions
    with one mean direction; to second order beta^2 / 2 times the variance of w.z over w.

    Args:
        beta: inverse temperature, >= 0.
        class_kappa: concentration of the class, > 0.
        image_kappa: concentration of the image, > 0.
        dim: D >= 2.

    Returns:
        Nats, >= 0; 0 where beta is 0. By quadrature over the cosine, relative error about 1e-8.

    Example:
        >>> round(spread_cost(16.0, 175.3, 175.3, 128), 2), round(spread_cost(0.0, 9.0, 9.0, 3), 2)
        (0.33, 0.0)
    """
    class_kappas, image_kappas = torch.tensor([[class_kappa], [image_kappa]], dtype=torch.float64)
    return float(spread_costs(beta, class_kappas, image_kappas, dim))


def spread_costs(beta: float, class_kappas: Tensor, image_kappas: Tensor, dim: int) -> Tensor:
    """`spread_cost` of many pairs: concentrations [K] and [K], float64 -> [K]."""
    cosines, weights = _cosines(image_kappas, dim)
    squared = class_kappas.square()[:, None].expand_as(cosines)
    delta = beta**2 + 2 * beta * class_kappas[:, None] * cosines
    expected = (weights * log_normalizer_difference(squared, delta, dim)).sum(-1)
    means = mean_cosine(class_kappas, dim) * mean_cosine(image_kappas, dim)
    return (expected - beta * means).clamp_min(0)


def _cosines(kappas: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Nodes [K, n] and weights [K, n], sum 1, of the cosine of a draw with its mean direction."""
    first, last = _range(kappas[:, None], dim)
    nodes, weights = _gauss_legendre(NODES)
    angles = (first + last) / 2 + (last - first) / 2 * nodes
    log_density = kappas[:, None] * angles.cos() + (dim - 2) * angles.sin().log()
    mass = weights * (log_density - log_density.amax(-1, keepdim=True)).exp()
    return angles.cos(), mass / mass.sum(-1, keepdim=True)


def _range(kappas: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Angles that hold the density exp(kappa cos) sin^(dim-2) but for about exp(-50)."""
    surplus = dim - 2
    cosine = 2 * kappas / (surplus + (surplus**2 + 4 * kappas.square()).sqrt())  # of the mode
    sine_squared = (1 - cosine.square()).clamp_min(torch.finfo(kappas.dtype).tiny)
    curvature = kappas * cosine + surplus / sine_squared
    mode, reach = cosine.clamp_max(1).acos(), DEVIATIONS / curvature.sqrt()
    return (mode - reach).clamp_min(0), (mode + reach).clamp_max(math.pi)


@cache
def _gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes in [-1, 1] and weights [n], by the eigenvalues of the Jacobi matrix."""
    k = torch.arange(1, n, dtype=torch.float64)
    side = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return nodes, 2 * vectors[0].square()


def wanted_beta(start: float, n_classes: int) -> float:
    """Inverse temperature that training will need: where it starts, or more.

    Args:
        start: initial inverse temperature, > 0.
        n_classes: C >= 1. Unit vectors of C classes lie at most C / (C-1) apart in cosine; the
            bound of Wang et al. 2017 (NormFace, https://arxiv.org/abs/1704.06369) says which beta
            a probability of 0.999 then takes.

    Example:
        >>> [round(wanted_beta(1.0, c), 1) for c in (2, 5, 100, 10_000)]
        [3.5, 6.6, 11.4, 16.1]
    """
    if n_classes < 2:
        return start
    odds = WANTED_PROBABILITY / (1 - WANTED_PROBABILITY)
    return max(start, (n_classes - 1) / n_classes * math.log((n_classes - 1) * odds))


def automatic_confidence(
    start: float, n_classes: int, dim: int, image_confidence: float | None = None
) -> float:
    """Smallest mean cosine of the classes whose `spread_cost` is at most 1e-4 nats.

    Args:
        start: initial inverse temperature, > 0.
        n_classes: C >= 1, see `wanted_beta`.
        dim: D >= 2.
        image_confidence: mean cosine of the images, in (0, 1); None = that of the classes.

    Returns:
        In (0, 1), at least 0.4; it grows with beta and falls with the dimension.

    Example:
        >>> [round(automatic_confidence(16.0, 5, d), 3) for d in (16, 128, 512)]
        [0.999, 0.996, 0.992]
    """
    beta = wanted_beta(start, n_classes)

    def costs(confidences: Tensor) -> Tensor:
        classes = mean_cosine_inverse(confidences, dim)
        if image_confidence is None:
            return spread_costs(beta, classes, classes, dim)
        image = torch.full_like(confidences[:1], image_confidence)
        return spread_costs(beta, classes, mean_cosine_inverse(image, dim).expand_as(classes), dim)

    first, last = math.log(1 - LOWEST), math.log(1 - HIGHEST)
    for _ in range(ROUNDS):
        distances = torch.linspace(first, last, STEPS + 1, dtype=torch.float64)
        n_above = int((costs(1 - distances.exp()) > SPREAD_COST).sum())  # they fall on the way
        if n_above == 0:
            return LOWEST
        first, last = distances[[n_above - 1, min(n_above, STEPS)]].tolist()
    return 1 - math.exp(last)


def elk_confidence(
    start: float, n_classes: int, dim: int, image_confidence: float | None = None
) -> float:
    """Mean cosine of the classes with which `method=elk` starts: 0.95, or more if too flat.

    Expected likelihoods have no spread cost, but a scale: beta times the slope of the logit in the
    cosine of image and class, kappa_z kappa_w A(k) / k at right angles, k^2 = kappa_z^2 +
    kappa_w^2. It must be able to reach what `wanted_beta` asks of any softmax.

    Args:
        start: initial inverse temperature, > 0.
        n_classes: C >= 1.
        dim: D >= 2.
        image_confidence: mean cosine of the images, in (0, 1); None = that of the classes.

    Returns:
        In [0.95, 1).

    Example:
        >>> [round(elk_confidence(1.0, 5, d), 3) for d in (3, 16, 128)]
        [0.95, 0.95, 0.95]
    """
    confidences = 1 - torch.logspace(math.log10(1 - ELK_LOWEST), -8, 2000, dtype=torch.float64)
    classes = mean_cosine_inverse(confidences, dim)
    images = classes
    if image_confidence is not None:
        images = mean_cosine_inverse(torch.full_like(classes, image_confidence), dim)
    both = (classes.square() + images.square()).sqrt()
    scales = start * classes * images * mean_cosine(both, dim) / both  # grow on the way
    n_below = int((scales < wanted_beta(0.0, n_classes)).sum())
    return float(confidences[min(n_below, len(confidences) - 1)])


@dataclass(frozen=True)
class Confidences:
    """Mean cosines, in (0, 1), with which von Mises-Fisher distributions start.

    Attributes:
        classes: of the class distributions.
        images: of the image distributions, on average.
    """

    classes: float
    images: float

    def __str__(self) -> str:
        return f"mean cosines start at {self.classes:.4f} (classes) and {self.images:.4f} (images)"


StartRule = Callable[[float, int, int, float | None], float]
"""From inverse temperature, classes, dimension and mean cosine of images to that of classes."""


def start_confidences(
    spec: ClassSpec, image_confidence: float | None, rule: StartRule | None = None
) -> Confidences:
    """What `arch.params.kappa_confidence` and `method.params.image_confidence` ask for.

    Args:
        spec: with `kappa_confidence`.
        image_confidence: in (0, 1); None = that of the classes.
        rule: what "auto" means; None = `automatic_confidence`.

    Raises:
        ValueError: one of them is neither in (0, 1) nor, for the first, "auto"; or the initial
            temperature is too small for "auto".
    """
    if image_confidence is not None and not 0 < image_confidence < 1:
        raise ValueError(
            "method.params.image_confidence must lie in (0, 1), or be null for that of the "
            f"classes, got {image_confidence}."
        )
    classes = spec.kappa_confidence
    if classes == "auto":
        if not spec.init_temp >= LOWEST_TAU:
            raise ValueError(
                f"arch.params.kappa_confidence=auto needs arch.params.init_temp >= {LOWEST_TAU}, "
                f"got {spec.init_temp}: say a larger one, or a number as kappa_confidence."
            )
        sizes = (spec.n_classes or 1, spec.embedding_dim)
        choose = automatic_confidence if rule is None else rule
        classes = choose(math.exp(-spec.init_temp), *sizes, image_confidence)
    if not isinstance(classes, int | float) or not 0 < classes < 1:
        raise ValueError(
            f"arch.params.kappa_confidence must lie in (0, 1) or be auto, got {classes}."
        )
    return Confidences(classes, classes if image_confidence is None else image_confidence)
