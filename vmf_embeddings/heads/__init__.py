"""Heads: from embeddings to the logits of the classes; one file per head.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.heads`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.heads.base import Head
    from vmf_embeddings.heads.cosine import CosineHead
    from vmf_embeddings.heads.cosnorm import CosNormHead, squashed_cosines
    from vmf_embeddings.heads.linear import LinearHead
    from vmf_embeddings.heads.lws import LWSHead
    from vmf_embeddings.heads.ncm import NCMHead, class_means
    from vmf_embeddings.heads.overlap import (
        class_overlap,
        mean_overlap_with_others,
        overlap_calibrated,
    )
    from vmf_embeddings.heads.posthoc import max_norm_projected, norm_limit, tau_normalized
    from vmf_embeddings.heads.tvmf import TVMFHead, tvmf_similarity
    from vmf_embeddings.heads.vmf import VMFHead
    from vmf_embeddings.heads.vmf_bayes import VMFBayesHead

__all__ = [
    "CosNormHead",
    "CosineHead",
    "Head",
    "LWSHead",
    "LinearHead",
    "NCMHead",
    "TVMFHead",
    "VMFBayesHead",
    "VMFHead",
    "class_means",
    "class_overlap",
    "max_norm_projected",
    "mean_overlap_with_others",
    "norm_limit",
    "overlap_calibrated",
    "squashed_cosines",
    "tau_normalized",
    "tvmf_similarity",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "base": ("Head",),
        "cosine": ("CosineHead",),
        "cosnorm": ("CosNormHead", "squashed_cosines"),
        "linear": ("LinearHead",),
        "lws": ("LWSHead",),
        "ncm": ("NCMHead", "class_means"),
        "overlap": ("class_overlap", "mean_overlap_with_others", "overlap_calibrated"),
        "posthoc": ("max_norm_projected", "norm_limit", "tau_normalized"),
        "tvmf": ("TVMFHead", "tvmf_similarity"),
        "vmf": ("VMFHead",),
        "vmf_bayes": ("VMFBayesHead",),
    },
)
