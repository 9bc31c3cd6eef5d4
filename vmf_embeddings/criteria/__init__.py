"""Criteria of deep metric learning: embeddings and labels of a batch -> loss; one file each.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.criteria`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.criteria.angular import Angular
    from vmf_embeddings.criteria.angular_margin import add_angular_margin
    from vmf_embeddings.criteria.arcface import ArcFace
    from vmf_embeddings.criteria.base import Criterion
    from vmf_embeddings.criteria.contrastive import Contrastive
    from vmf_embeddings.criteria.histogram import Histogram
    from vmf_embeddings.criteria.lifted import Lifted
    from vmf_embeddings.criteria.margin import Margin
    from vmf_embeddings.criteria.multisimilarity import MultiSimilarity
    from vmf_embeddings.criteria.multisimilarity_nir import MultiSimilarityNIR
    from vmf_embeddings.criteria.npair import NPair
    from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor, ProxyCriterion
    from vmf_embeddings.criteria.proxy_anchor_nca import ProxyAnchorNCA
    from vmf_embeddings.criteria.proxy_nca import ProxyNCA
    from vmf_embeddings.criteria.quadruplet import Quadruplet
    from vmf_embeddings.criteria.s2sd import S2SD
    from vmf_embeddings.criteria.snr import SNR
    from vmf_embeddings.criteria.soft_triple import SoftTriple
    from vmf_embeddings.criteria.softmax import ClassVectorCriterion, Softmax
    from vmf_embeddings.criteria.triplet import TripletCriterion

__all__ = [
    "Angular",
    "ArcFace",
    "ClassVectorCriterion",
    "Contrastive",
    "Criterion",
    "Histogram",
    "Lifted",
    "Margin",
    "MultiSimilarity",
    "MultiSimilarityNIR",
    "NPair",
    "ProxyAnchor",
    "ProxyAnchorNCA",
    "ProxyCriterion",
    "ProxyNCA",
    "Quadruplet",
    "S2SD",
    "SNR",
    "SoftTriple",
    "Softmax",
    "TripletCriterion",
    "add_angular_margin",
]

_MODULE_OF = {
    "Angular": "angular",
    "ArcFace": "arcface",
    "ClassVectorCriterion": "softmax",
    "Contrastive": "contrastive",
    "Criterion": "base",
    "Histogram": "histogram",
    "Lifted": "lifted",
    "Margin": "margin",
    "MultiSimilarity": "multisimilarity",
    "MultiSimilarityNIR": "multisimilarity_nir",
    "NPair": "npair",
    "ProxyAnchor": "proxy_anchor",
    "ProxyAnchorNCA": "proxy_anchor_nca",
    "ProxyCriterion": "proxy_anchor",
    "ProxyNCA": "proxy_nca",
    "Quadruplet": "quadruplet",
    "S2SD": "s2sd",
    "SNR": "snr",
    "SoftTriple": "soft_triple",
    "Softmax": "softmax",
    "TripletCriterion": "triplet",
    "add_angular_margin": "angular_margin",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
