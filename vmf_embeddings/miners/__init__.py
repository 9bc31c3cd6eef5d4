"""Miners: triplets of a batch for criteria on triplets; one file per miner.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.miners`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.miners.base import MaskedTriplets, Miner, Triplets
    from vmf_embeddings.miners.distance import DistanceMiner
    from vmf_embeddings.miners.intra_random import IntraRandomMiner
    from vmf_embeddings.miners.npair import NPairMiner
    from vmf_embeddings.miners.parametric import ParametricMiner
    from vmf_embeddings.miners.random import RandomMiner
    from vmf_embeddings.miners.rho_distance import RhoDistanceMiner
    from vmf_embeddings.miners.semihard import SemihardMiner
    from vmf_embeddings.miners.softhard import SofthardMiner

__all__ = [
    "DistanceMiner",
    "IntraRandomMiner",
    "MaskedTriplets",
    "Miner",
    "NPairMiner",
    "ParametricMiner",
    "RandomMiner",
    "RhoDistanceMiner",
    "SemihardMiner",
    "SofthardMiner",
    "Triplets",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "base": ("MaskedTriplets", "Miner", "Triplets"),
        "distance": ("DistanceMiner",),
        "intra_random": ("IntraRandomMiner",),
        "npair": ("NPairMiner",),
        "parametric": ("ParametricMiner",),
        "random": ("RandomMiner",),
        "rho_distance": ("RhoDistanceMiner",),
        "semihard": ("SemihardMiner",),
        "softhard": ("SofthardMiner",),
    },
)
