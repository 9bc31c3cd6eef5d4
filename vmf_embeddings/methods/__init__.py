"""Methods: a backbone, class parameters and a loss on embeddings; one file per method.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.methods`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.methods.arcface import ArcFace, arcface_loss
    from vmf_embeddings.methods.base import BatchLayout, Method
    from vmf_embeddings.methods.class_parameters import ClassParameters
    from vmf_embeddings.methods.classifier import Classifier
    from vmf_embeddings.methods.dive import DiVE
    from vmf_embeddings.methods.dml import DML
    from vmf_embeddings.methods.feature_scaling import FeatureScaling
    from vmf_embeddings.methods.fsgl import FSGL
    from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE, poincare_logits
    from vmf_embeddings.methods.nir import NIR
    from vmf_embeddings.methods.normalized_sce import NormalizedSCE, cosine_logits
    from vmf_embeddings.methods.pml import PML
    from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE, dot_product_logits
    from vmf_embeddings.methods.vmf_prediction import expected_logits
    from vmf_embeddings.methods.vmf_softmax import VMFSoftmax, vmf_softmax_loss

__all__ = [
    "ArcFace",
    "BatchLayout",
    "ClassParameters",
    "Classifier",
    "DML",
    "DiVE",
    "FSGL",
    "FeatureScaling",
    "HyperbolicSCE",
    "Method",
    "NIR",
    "NormalizedSCE",
    "PML",
    "UnnormalizedSCE",
    "VMFSoftmax",
    "arcface_loss",
    "cosine_logits",
    "dot_product_logits",
    "expected_logits",
    "poincare_logits",
    "vmf_softmax_loss",
]

_MODULE_OF = {
    "ArcFace": "arcface",
    "BatchLayout": "base",
    "ClassParameters": "class_parameters",
    "Classifier": "classifier",
    "DML": "dml",
    "DiVE": "dive",
    "FSGL": "fsgl",
    "FeatureScaling": "feature_scaling",
    "HyperbolicSCE": "hyperbolic_sce",
    "Method": "base",
    "NIR": "nir",
    "NormalizedSCE": "normalized_sce",
    "PML": "pml",
    "UnnormalizedSCE": "unnormalized_sce",
    "VMFSoftmax": "vmf_softmax",
    "arcface_loss": "arcface",
    "cosine_logits": "normalized_sce",
    "dot_product_logits": "unnormalized_sce",
    "expected_logits": "vmf_prediction",
    "poincare_logits": "hyperbolic_sce",
    "vmf_softmax_loss": "vmf_softmax",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
