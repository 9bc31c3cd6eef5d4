"""Embeddings on spheres, planes and hyperbolic space: trained, extracted and evaluated.

`import vmf_embeddings as vmf` imports neither torch nor matplotlib: what `vmf.__all__` lists is
imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

__version__ = "1.0.0"

TYPE_CHECKING = False  # importing typing would take three quarters of the time
if TYPE_CHECKING:
    from typing import Any

    from vmf_embeddings.embeddings import EmbeddingFile, read, write
    from vmf_embeddings.library.evaluate import evaluate
    from vmf_embeddings.library.search import Hits, search
    from vmf_embeddings.library.table import write_table
    from vmf_embeddings.library.train import train
    from vmf_embeddings.library.trained_inputs import image_files
    from vmf_embeddings.objective import Objective, objective, objectives
    from vmf_embeddings.trained import Run, load

__all__ = [
    "EmbeddingFile",
    "Hits",
    "Objective",
    "Run",
    "__version__",
    "evaluate",
    "image_files",
    "load",
    "objective",
    "objectives",
    "read",
    "search",
    "train",
    "write",
    "write_table",
]

_MODULE_OF = {
    "EmbeddingFile": "embeddings",
    "Hits": "library.search",
    "Objective": "objective",
    "Run": "trained",
    "evaluate": "library.evaluate",
    "image_files": "library.trained_inputs",
    "load": "trained",
    "objective": "objective",
    "objectives": "objective",
    "read": "embeddings",
    "search": "library.search",
    "train": "library.train",
    "write": "embeddings",
    "write_table": "library.table",
}
# functions that share their name with a module of this package
_ALSO_MODULES = ("evaluate", "objective", "search")


def __getattr__(name: str) -> Any:
    if name in _ALSO_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallableModule(ModuleType):
    """A module that can be called: `vmf.search` is both the package and the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @property
    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(f"{__package__}.{_MODULE_OF[name]}"), name)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function)


class _Package(ModuleType):
    """This package. Importing a submodule sets it as an attribute, which this class observes."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALSO_MODULES and type(value) is ModuleType:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
