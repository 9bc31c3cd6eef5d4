"""Overlap of the classes' von Mises-Fisher distributions, and concentrations set by it.

Wang, Fu, He, Fang, Liu, Hu 2022, "Towards Calibrated Hyper-Sphere Representation via Distribution
Overlap Coefficient for Long-tailed Learning", ECCV, https://arxiv.org/abs/2208.10043; formulas of
its code, https://github.com/SiLangWHL/vMF-OP. Its log normaliser is exact here in every dimension.
"""

from torch import Tensor

from vmf_embeddings.directional import kl_divergence


def class_overlap(class_weights: Tensor) -> Tensor:
    """Overlap o_ij = 1 / (1 + KL(p_i || p_j)) of every pair of classes.

    KL = log C(kappa_i) - log C(kappa_j) + A(kappa_i) (kappa_i - kappa_j cos(mu_i, mu_j)), so that
    o_ij and o_ji differ where the concentrations do.

    Args:
        class_weights: kappa_c mu_c [C, D], D >= 2; 0 is the uniform distribution.

    Returns:
        [C, C] in (0, 1]; 1 for equal distributions, towards 0 for distant concentrated ones.

    Example:
        >>> import torch
        >>> class_overlap(torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0]]))
        tensor([[1.0000, 0.0500],
                [0.0500, 1.0000]])
    """
    # rounding may leave a divergence below 0
    return 1 / (1 + kl_divergence(class_weights, class_weights).clamp_min(0))


def mean_overlap_with_others(class_weights: Tensor) -> Tensor:
    """Mean over j != i of the overlap o_ij, for every class i.

    Args:
        class_weights: kappa_c mu_c [C, D], C >= 2.

    Returns:
        [C] in (0, 1].

    Example:
        >>> import torch
        >>> mean_overlap_with_others(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]))
        tensor([0.5527, 0.5527, 0.1054])
    """
    return class_overlap(class_weights).fill_diagonal_(0).sum(1) / (len(class_weights) - 1)


def overlap_calibrated(kappa: Tensor, overlap: Tensor, alpha: float) -> Tensor:
    """Concentrations kappa^alpha r^(1 - alpha) for after training.

    r is the overlap, moved and scaled so that its smallest and its largest value are those of
    kappa: a class that overlaps more with others becomes more concentrated than they. Where all
    overlap alike, concentrations stay as they are.

    Args:
        kappa: concentrations of the classes [C], > 0.
        overlap: mean overlap of each class with the others [C], see `mean_overlap_with_others`.
        alpha: in [0, 1]; 1 = as they are, 0 = r.

    Returns:
        [C], within the range of kappa.

    Example:
        >>> import torch
        >>> kappa, overlap = torch.tensor([9.0, 4.0, 6.0]), torch.tensor([0.2, 0.4, 0.3])
        >>> overlap_calibrated(kappa, overlap, 0.5)
        tensor([6.0000, 6.0000, 6.2450])
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha of concentrations by overlap must be in [0, 1], got {alpha}.")
    low, high = overlap.aminmax()
    if low == high:
        return kappa
    rescaled = kappa.min() + (overlap - low) / (high - low) * (kappa.max() - kappa.min())
    return kappa**alpha * rescaled ** (1 - alpha)
