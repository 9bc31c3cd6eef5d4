"""The virtual-example distribution of a run (DiVE): computed, printed, written and drawn.

Every name in `__all__` is imported when it is first used.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "distribution": ("Groups", "Series", "Softening", "measure", "softenings"),
        "run": ("VirtualDistributionJob", "virtual_distribution"),
        "suggestion": ("Suggestion", "suggest"),
    },
)
