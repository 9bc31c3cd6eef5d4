"""Samplers of training batches, one file each: classes, pairs, long tails, embedding-based choice.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.samplers`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.samplers.base import BatchSampler
    from vmf_embeddings.samplers.blocks import BlocksSampler
    from vmf_embeddings.samplers.class_aware import ClassAwareSampler
    from vmf_embeddings.samplers.class_random import ClassRandomSampler
    from vmf_embeddings.samplers.class_uniform import ClassUniformSampler
    from vmf_embeddings.samplers.d2_coreset import D2CoresetSampler
    from vmf_embeddings.samplers.disthist_batchmatch import DistHistBatchMatchSampler
    from vmf_embeddings.samplers.effective_number import EffectiveNumberSampler
    from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler
    from vmf_embeddings.samplers.episodic import EpisodicSampler
    from vmf_embeddings.samplers.fid_batchmatch import FidBatchMatchSampler
    from vmf_embeddings.samplers.greedy_coreset import GreedyCoresetSampler
    from vmf_embeddings.samplers.m_per_class import MPerClassSampler
    from vmf_embeddings.samplers.meta import MetaSampler
    from vmf_embeddings.samplers.paired import PairedSampler
    from vmf_embeddings.samplers.power import PowerSampler
    from vmf_embeddings.samplers.progressive import ProgressiveSampler
    from vmf_embeddings.samplers.random import RandomSampler
    from vmf_embeddings.samplers.weighted import WeightedSampler

__all__ = [
    "BatchSampler",
    "BlocksSampler",
    "ClassAwareSampler",
    "ClassRandomSampler",
    "ClassUniformSampler",
    "D2CoresetSampler",
    "DistHistBatchMatchSampler",
    "EffectiveNumberSampler",
    "EmbeddingBasedSampler",
    "EpisodicSampler",
    "FidBatchMatchSampler",
    "GreedyCoresetSampler",
    "MPerClassSampler",
    "MetaSampler",
    "PairedSampler",
    "PowerSampler",
    "ProgressiveSampler",
    "RandomSampler",
    "WeightedSampler",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "base": ("BatchSampler",),
        "blocks": ("BlocksSampler",),
        "class_aware": ("ClassAwareSampler",),
        "class_random": ("ClassRandomSampler",),
        "class_uniform": ("ClassUniformSampler",),
        "d2_coreset": ("D2CoresetSampler",),
        "disthist_batchmatch": ("DistHistBatchMatchSampler",),
        "effective_number": ("EffectiveNumberSampler",),
        "embedding_based": ("EmbeddingBasedSampler",),
        "episodic": ("EpisodicSampler",),
        "fid_batchmatch": ("FidBatchMatchSampler",),
        "greedy_coreset": ("GreedyCoresetSampler",),
        "m_per_class": ("MPerClassSampler",),
        "meta": ("MetaSampler",),
        "paired": ("PairedSampler",),
        "power": ("PowerSampler",),
        "progressive": ("ProgressiveSampler",),
        "random": ("RandomSampler",),
        "weighted": ("WeightedSampler",),
    },
)
