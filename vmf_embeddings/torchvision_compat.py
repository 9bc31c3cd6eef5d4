"""Lets `import torchvision` succeed beside a torch that lacks torchvision's compiled operators.

torchvision's wheel registers `torchvision::nms` and `torchvision::qnms` from a library that is
linked against CUDA. On a CPU build of torch that library cannot be loaded, the two operators stay
unknown, and the import of torchvision itself fails ("operator torchvision::nms does not exist")
although data sets, transforms and models need neither of them. Defining their schemas first mends
that. Where torchvision loads by itself this module does nothing.

Import it before torchvision: `import vmf_embeddings.torchvision_compat  # noqa: F401`.
"""

import importlib.util
from pathlib import Path

import torch
from torch import library

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _compiled_operators_load() -> bool:
    """Whether torchvision's compiled library exists and can be loaded here."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to mend: the import error will name what is missing
    libraries = list(Path(spec.origin).parent.glob("_C*"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def _define_missing_operators() -> None:
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", _SCHEMA)


if not _compiled_operators_load():
    _define_missing_operators()
