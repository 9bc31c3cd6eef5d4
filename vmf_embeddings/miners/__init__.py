"""Miners: triplets of a batch for criteria on triplets; one file per miner.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.miners`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.miners.base import Miner, Triplets
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
    "Miner",
    "NPairMiner",
    "ParametricMiner",
    "RandomMiner",
    "RhoDistanceMiner",
    "SemihardMiner",
    "SofthardMiner",
    "Triplets",
]

_MODULE_OF = {
    "DistanceMiner": "distance",
    "IntraRandomMiner": "intra_random",
    "Miner": "base",
    "NPairMiner": "npair",
    "ParametricMiner": "parametric",
    "RandomMiner": "random",
    "RhoDistanceMiner": "rho_distance",
    "SemihardMiner": "semihard",
    "SofthardMiner": "softhard",
    "Triplets": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
