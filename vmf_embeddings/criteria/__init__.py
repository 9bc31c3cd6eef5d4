"""Criteria of deep metric learning: embeddings and labels of a batch -> loss; one file each.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.criteria`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.criteria.angular import Angular
    from vmf_embeddings.criteria.angular_margin import add_angular_margin
    from vmf_embeddings.criteria.arcface import ArcFace
    from vmf_embeddings.criteria.base import Criterion
    from vmf_embeddings.criteria.cider import Cider
    from vmf_embeddings.criteria.contrastive import Contrastive
    from vmf_embeddings.criteria.distributions import DistributionCriterion
    from vmf_embeddings.criteria.hib import HIB
    from vmf_embeddings.criteria.histogram import Histogram
    from vmf_embeddings.criteria.lifted import Lifted
    from vmf_embeddings.criteria.margin import Margin
    from vmf_embeddings.criteria.mcinfonce import MCInfoNCE
    from vmf_embeddings.criteria.multisimilarity import MultiSimilarity
    from vmf_embeddings.criteria.multisimilarity_nir import MultiSimilarityNIR
    from vmf_embeddings.criteria.npair import NPair
    from vmf_embeddings.criteria.poincare_pairs import PoincarePairs
    from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor, ProxyCriterion
    from vmf_embeddings.criteria.proxy_anchor_nca import ProxyAnchorNCA
    from vmf_embeddings.criteria.proxy_nca import ProxyNCA
    from vmf_embeddings.criteria.quadruplet import Quadruplet
    from vmf_embeddings.criteria.recall_at_k import RecallAtK
    from vmf_embeddings.criteria.roadmap import Roadmap
    from vmf_embeddings.criteria.s2sd import S2SD
    from vmf_embeddings.criteria.siren import Siren, class_log_densities
    from vmf_embeddings.criteria.smooth_ap import SmoothAP
    from vmf_embeddings.criteria.snr import SNR
    from vmf_embeddings.criteria.soft_triple import SoftTriple
    from vmf_embeddings.criteria.softmax import ClassVectorCriterion, Softmax
    from vmf_embeddings.criteria.supcon import SupCon
    from vmf_embeddings.criteria.triplet import TripletCriterion

__all__ = [
    "Angular",
    "ArcFace",
    "Cider",
    "ClassVectorCriterion",
    "Contrastive",
    "Criterion",
    "DistributionCriterion",
    "HIB",
    "Histogram",
    "Lifted",
    "MCInfoNCE",
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
    "Siren",
    "SoftTriple",
    "Softmax",
    "SupCon",
    "TripletCriterion",
    "add_angular_margin",
    "class_log_densities",
    "PoincarePairs",
    "RecallAtK",
    "Roadmap",
    "SmoothAP",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "angular": ("Angular",),
        "angular_margin": ("add_angular_margin",),
        "arcface": ("ArcFace",),
        "base": ("Criterion",),
        "cider": ("Cider",),
        "contrastive": ("Contrastive",),
        "distributions": ("DistributionCriterion",),
        "hib": ("HIB",),
        "histogram": ("Histogram",),
        "lifted": ("Lifted",),
        "margin": ("Margin",),
        "mcinfonce": ("MCInfoNCE",),
        "multisimilarity": ("MultiSimilarity",),
        "multisimilarity_nir": ("MultiSimilarityNIR",),
        "npair": ("NPair",),
        "poincare_pairs": ("PoincarePairs",),
        "proxy_anchor": ("ProxyAnchor", "ProxyCriterion"),
        "proxy_anchor_nca": ("ProxyAnchorNCA",),
        "proxy_nca": ("ProxyNCA",),
        "quadruplet": ("Quadruplet",),
        "recall_at_k": ("RecallAtK",),
        "roadmap": ("Roadmap",),
        "s2sd": ("S2SD",),
        "siren": ("Siren", "class_log_densities"),
        "smooth_ap": ("SmoothAP",),
        "snr": ("SNR",),
        "soft_triple": ("SoftTriple",),
        "softmax": ("ClassVectorCriterion", "Softmax"),
        "supcon": ("SupCon",),
        "triplet": ("TripletCriterion",),
    },
)
