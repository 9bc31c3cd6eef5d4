"""Class logits of von Mises-Fisher embeddings, from samples or from the means of the distributions.

Scott, Gallagher, Mozer 2021, "von Mises-Fisher Loss", https://arxiv.org/abs/2103.15718, its
predictions: the probability of a class is the mean of softmax(beta z.w) over samples z of the
image's distribution and w of the classes' distributions.
"""

import torch
from torch import Tensor

from vmf_embeddings.directional import sample, sample_angle, sample_sphere_coordinate
from vmf_embeddings.geometry import VonMisesFisher

_BLOCK = 2**24  # entries per block of class samples, 64 MB in float32


def vmf_prediction_logits(z_samples: Tensor, w_samples: Tensor, beta: Tensor) -> Tensor:
    """Logits beta z.w of given samples.

    Args:
        z_samples: unit samples of the images' distributions [B, S, D].
        w_samples: unit samples of the classes' distributions [B, S, C, D].
        beta: inverse temperature, > 0, scalar.

    Returns:
        [B, S, C] in [-beta, beta].

    Example:
        >>> z, w = torch.tensor([[[0.6, 0.8]]]), torch.eye(2)[None, None]
        >>> vmf_prediction_logits(z, w, torch.tensor(10.0))
        tensor([[[6., 8.]]])
    """
    return beta * torch.einsum("bsd,bscd->bsc", z_samples, w_samples)


def drawn_cosines(
    z_samples: Tensor,
    class_weights: Tensor,
    generator: torch.Generator | None = None,
    sampler: str = "exact",
) -> Tensor:
    """Cosines of given image samples with new class samples, without sampling class vectors.

    With theta the angle of a class sample to its mean direction and u one coordinate of a uniform
    point on the sphere of R^(D-1), z.w = cos(theta) z.mu + sin(theta) sqrt(1-(z.mu)^2) u in
    distribution: two scalars per logit. They are independent for every (image, sample, class), as
    if vectors [B, S, C, D] were sampled.

    Args:
        z_samples: unit samples of the images' distributions [B, S, D].
        class_weights: kappa times mu of the classes [C, D].
        generator: source of randomness; None = the global one.
        sampler: of the classes' angles, "exact" or "power", see `directional.sample`.

    Returns:
        [B, S, C] in [-1, 1].

    Example:
        >>> drawn_cosines(torch.eye(3)[:2, None], 1e9 * torch.eye(3)).round(decimals=3).abs()
        tensor([[[1., 0., 0.]],
        <BLANKLINE>
                [[0., 1., 0.]]])
    """
    kappa, mu = VonMisesFisher.split(class_weights)
    dim = mu.shape[-1]
    along = (z_samples @ mu.T).clamp(-1, 1)  # rounding may leave [-1, 1]
    across = ((1 - along) * (1 + along)).sqrt()
    known = {"gradient": False, "sampler": sampler, "generator": generator}
    angle = sample_angle(kappa, dim, along.shape[:-1], **known)
    u = sample_sphere_coordinate(
        along.shape, dim - 1, dtype=along.dtype, device=along.device, generator=generator
    )
    return angle.cos() * along + angle.sin() * across * u


def reference_drawn_cosines(
    z_samples: Tensor, class_weights: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """As `drawn_cosines`, with class vectors from the sampler of 2021, to reproduce its results.

    Args:
        z_samples: unit samples of the images' distributions [B, S, D].
        class_weights: kappa times mu of the classes [C, D].
        generator: source of randomness; None = the global one.

    Returns:
        [B, S, C] in [-1, 1].

    Example:
        >>> reference_drawn_cosines(torch.eye(3)[:2, None], torch.eye(3)).shape
        torch.Size([2, 1, 3])
    """
    kappa, mu = VonMisesFisher.split(class_weights)
    flat = z_samples.flatten(0, 1)
    rows = []
    for block in flat.split(max(1, _BLOCK // mu.numel())):
        draws = sample(
            mu, kappa, len(block), gradient=False, sampler="reference", generator=generator
        )
        rows.append(torch.einsum("nd,ncd->nc", block, draws))
    return torch.cat(rows).view(*z_samples.shape[:2], len(mu))


def expected_logits(embeddings: Tensor, class_weights: Tensor, beta: Tensor) -> Tensor:
    """Expected logits beta A(kappa_z) A(kappa_w) cos(mu_z, mu_w), without sampling.

    Args:
        embeddings: kappa times mu of the images [B, D].
        class_weights: kappa times mu of the classes [C, D].
        beta: inverse temperature, > 0, scalar.

    Returns:
        [B, C] in (-beta, beta).

    Example:
        >>> sure = 1e6 * torch.eye(2)
        >>> expected_logits(sure, sure, torch.tensor(10.0)).round(decimals=3)
        tensor([[10.,  0.],
                [ 0., 10.]])
    """
    geometry = VonMisesFisher()
    return beta * geometry.similarity(geometry.project(embeddings), geometry.project(class_weights))
