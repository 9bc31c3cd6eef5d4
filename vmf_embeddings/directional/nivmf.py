"""Non-isotropic von Mises-Fisher distribution: a von Mises-Fisher law of stretched directions.

Kirchhof et al. 2022, https://arxiv.org/abs/2207.03784, stretch the sphere by K = diag(k_1 .. k_D):
x follows it if y = K x / |K x| is vMF(K mu / |K mu|, |K mu|). The change of variables from y to x
has the Jacobian prod k_i / |K x|^D, so that

    log p(x) = log C(|K mu|) + |K mu| cos(K x, K mu) + sum_i log k_i - D log |K x|

and K = kappa I gives vMF(mu, kappa). The authors' two programs have other factors in place of the
Jacobian and the cosine of x, not of K x: what they compute is no density.
"""

import torch
from torch import Tensor

from vmf_embeddings.directional.log_normalizer import log_normalizer
from vmf_embeddings.directional.sampler import sample
from vmf_embeddings.directional.unit import unit_vectors

# form -> power of |K mu| by which the program divides
REFERENCE_FORMS = {"reference": 1, "reference_url": 2}


def nivmf_log_prob(x: Tensor, mu: Tensor, scales: Tensor, form: str = "exact") -> Tensor:
    """Log density in nats of C distributions at N points, with respect to surface measure.

    Args:
        x: unit vectors [N, D].
        mu: unit directions of the classes [C, D]; the mode, where K is a multiple of the identity.
        scales: k_1 .. k_D of every class, > 0, [C, D].
        form: "exact"; "reference" and "reference_url" are log C(|K mu|) + |K mu| cos(x, K mu) +
            sum log k_i - p log |K mu| with p = 1 and 2, as in the code of 2022 and 2023 but for
            their fits of C, for comparison only.

    Returns:
        [N, C]; differentiable in all three.

    Raises:
        ValueError: unknown form.

    >>> x, kappa = torch.eye(3)[:1], torch.full((1, 3), 5.0)
    >>> nivmf_log_prob(x, x, kappa)  # vMF: log(5 / (4 pi sinh 5)) + 5
    tensor([[-0.2284]])
    """
    if form != "exact" and form not in REFERENCE_FORMS:
        known = ", ".join(("exact", *REFERENCE_FORMS))
        raise ValueError(f"form must be one of {known}, got {form!r}")
    dim, stretched = mu.shape[-1], scales * mu
    kappa = torch.linalg.vector_norm(stretched, dim=-1)
    peak = log_normalizer(kappa, dim) + scales.log().sum(-1)
    if form != "exact":
        return peak - REFERENCE_FORMS[form] * kappa.log() + x @ stretched.T
    lengths = (x.square() @ scales.square().T).sqrt()  # |K x| of every pair
    # |K mu| cos(K x, K mu) = (K x).(K mu) / |K x|
    return peak + x @ (scales * stretched).T / lengths - dim * lengths.log()


def nivmf_sample(
    mu: Tensor, scales: Tensor, n_samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draws from the exact distributions: K^-1 y over its length, y of the von Mises-Fisher law.

    Args:
        mu: unit directions [C, D].
        scales: k_1 .. k_D, > 0, [C, D].
        n_samples: S.
        generator: source of randomness; None = the global one.

    Returns:
        Unit vectors [S, C, D], with gradients to both.

    >>> nivmf_sample(torch.eye(3)[:2], torch.full((2, 3), 4.0), 5).shape
    torch.Size([5, 2, 3])
    """
    stretched = scales * mu
    kappa = torch.linalg.vector_norm(stretched, dim=-1)
    draws = sample(stretched / kappa[:, None], kappa, n_samples, generator=generator)
    return unit_vectors(draws / scales)
