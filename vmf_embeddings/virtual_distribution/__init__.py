"""The virtual-example distribution of a run (DiVE): computed, printed, written and drawn.

Every name in `__all__` is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.virtual_distribution.distribution import (
        Groups,
        Series,
        Softening,
        measure,
        softenings,
    )
    from vmf_embeddings.virtual_distribution.run import VirtualDistributionJob, virtual_distribution
    from vmf_embeddings.virtual_distribution.suggestion import Suggestion, suggest

__all__ = [
    "Groups",
    "Series",
    "Softening",
    "Suggestion",
    "VirtualDistributionJob",
    "measure",
    "softenings",
    "suggest",
    "virtual_distribution",
]

# module of this package -> names that it exports here
_NAMES = {
    "distribution": ("Groups", "Series", "Softening", "measure", "softenings"),
    "run": ("VirtualDistributionJob", "virtual_distribution"),
    "suggestion": ("Suggestion", "suggest"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
