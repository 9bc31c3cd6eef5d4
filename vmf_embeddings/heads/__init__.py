"""Heads: from embeddings to the logits of the classes; one file per head.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.heads`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.heads.base import Head
    from vmf_embeddings.heads.cosine import CosineHead
    from vmf_embeddings.heads.cosnorm import CosNormHead, squashed_cosines
    from vmf_embeddings.heads.linear import LinearHead
    from vmf_embeddings.heads.lws import LWSHead
    from vmf_embeddings.heads.ncm import NCMHead, class_means
    from vmf_embeddings.heads.posthoc import max_norm_projected, norm_limit, tau_normalized
    from vmf_embeddings.heads.tvmf import TVMFHead, tvmf_similarity

__all__ = [
    "CosNormHead",
    "CosineHead",
    "Head",
    "LWSHead",
    "LinearHead",
    "NCMHead",
    "TVMFHead",
    "class_means",
    "max_norm_projected",
    "norm_limit",
    "squashed_cosines",
    "tau_normalized",
    "tvmf_similarity",
]

_MODULE_OF = {
    "CosNormHead": "cosnorm",
    "CosineHead": "cosine",
    "Head": "base",
    "LWSHead": "lws",
    "LinearHead": "linear",
    "NCMHead": "ncm",
    "TVMFHead": "tvmf",
    "class_means": "ncm",
    "max_norm_projected": "posthoc",
    "norm_limit": "posthoc",
    "squashed_cosines": "cosnorm",
    "tau_normalized": "posthoc",
    "tvmf_similarity": "tvmf",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
