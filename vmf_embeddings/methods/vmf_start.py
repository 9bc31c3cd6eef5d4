"""Initial von Mises-Fisher parameters of classes and images, with a given mean cosine.

Scott, Gallagher, Mozer 2021, "von Mises-Fisher Loss", https://arxiv.org/abs/2103.15718, equation 19
and the scale of the embeddings. Rule "exact" inverts the mean cosine A_D and matches root mean
square norms. Rule "reference" uses the formulas of 2021, with which the concentration of images is
initially 1.25 times that of classes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.directional import mean_cosine_inverse
from vmf_embeddings.methods.precision import widen

RULES = ("exact", "reference")


def initial_kappa(confidence: float, dim: int, rule: str = "exact") -> float:
    """Concentration whose samples have the mean cosine `confidence` with their mean direction.

    Args:
        confidence: lambda in (0, 1).
        dim: D >= 2.
        rule: "exact" inverts A_D; "reference" is lambda (D-1) / (1-lambda^2), whose mean cosine at
            D = 3 is 0.30 instead of 0.4.

    Returns:
        kappa > 0.

    Example:
        >>> round(initial_kappa(0.4, 128), 2), round(initial_kappa(0.4, 128, "reference"), 2)
        (60.82, 60.48)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"The initial mean cosine must lie in (0, 1), got {confidence}.")
    if dim < 2:
        raise ValueError(
            f"von Mises-Fisher distributions need arch.params.embedding_dim >= 2, got {dim}."
        )
    if rule not in RULES:
        raise ValueError(f"method.params.kappa_init must be one of {RULES}, got {rule!r}.")
    if rule == "reference":
        return confidence / (1 - confidence**2) * (dim - 1)
    return float(mean_cosine_inverse(torch.tensor(confidence, dtype=torch.float64), dim))


def class_weight_std(confidence: float, dim: int, rule: str = "exact") -> float:
    """Standard deviation per coordinate of class weights whose rms norm is `initial_kappa`.

    Args:
        confidence: lambda in (0, 1).
        dim: D >= 2.
        rule: see `initial_kappa`; "reference" gives equation 19 of the paper.

    Returns:
        Standard deviation, > 0.

    Example:
        >>> round(class_weight_std(0.7, 512, "reference"), 2)
        31.0
    """
    return initial_kappa(confidence, dim, rule) / dim**0.5


def embedding_scale(embeddings: Iterable[Tensor], confidence: float, rule: str = "exact") -> float:
    """Factor that scales raw embeddings of the training images to a mean norm of `initial_kappa`.

    Args:
        embeddings: those of all training images, in batches [b, D].
        confidence: lambda in (0, 1).
        rule: "exact" uses the root mean square of the norms, "reference" sqrt(D) times the mean
            absolute coordinate.

    Returns:
        The factor, > 0.

    Example:
        >>> unit_rows = torch.eye(3)
        >>> round(embedding_scale([unit_rows], 0.4) / initial_kappa(0.4, 3), 6)
        1.0

    Raises:
        ValueError: there are no embeddings, or their mean norm is 0 or not finite.
    """
    power = 1 if rule == "reference" else 2
    sums = [(block.double().abs().pow(power).sum(), block.shape) for block in embeddings]
    if not sums:
        raise ValueError("The scale of the embeddings needs at least two training images.")
    dim = sums[0][1][-1]
    n_coordinates = sum(shape.numel() for _, shape in sums)
    mean = float(torch.stack([total for total, _ in sums]).sum()) / n_coordinates
    norm = (mean if power == 1 else mean**0.5) * dim**0.5
    if not 0 < norm < float("inf"):
        raise ValueError(f"The embeddings of the training images have a mean norm of {norm}.")
    return initial_kappa(confidence, dim, rule) / norm


@torch.no_grad()
def scale_of_arch(
    arch: Arch, batches: Iterable[Tensor], confidence: float, rule: str = "exact"
) -> float:
    """`embedding_scale` of what a backbone makes of the training images, in training mode.

    Mode, buffers (BatchNorm) and random state of the backbone are as before afterwards.

    Args:
        arch: the backbone.
        batches: the training images, in batches [b, ch, H, W].
        confidence: lambda in (0, 1).
        rule: see `embedding_scale`.
    """
    with _state_preserved(arch):
        # BatchNorm cannot normalise a batch of one image: such a last batch is left out
        embeddings = (widen(arch(images)) for images in batches if len(images) > 1)
        return embedding_scale(embeddings, confidence, rule)


@contextmanager
def _state_preserved(module: nn.Module) -> Iterator[None]:
    """Training mode inside; mode, buffers (BatchNorm) and random state are restored afterwards."""
    was_training = module.training
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    device = next(module.parameters(), torch.empty(0)).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        module.train()
        try:
            yield
        finally:
            module.train(was_training)
            for name, buffer in module.named_buffers():
                buffer.copy_(before[name])
