"""Methods: a backbone, class parameters and a loss on embeddings; one file per method.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.methods`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.methods.arcface import ArcFace, arcface_loss
    from vmf_embeddings.methods.base import BatchLayout, Method
    from vmf_embeddings.methods.bcl import BCL, balanced_contrast
    from vmf_embeddings.methods.class_parameters import ClassParameters
    from vmf_embeddings.methods.classifier import Classifier
    from vmf_embeddings.methods.dive import DiVE
    from vmf_embeddings.methods.dml import DML
    from vmf_embeddings.methods.elk import ELK
    from vmf_embeddings.methods.feature_scaling import FeatureScaling
    from vmf_embeddings.methods.fsgl import FSGL
    from vmf_embeddings.methods.hyperbolic_sce import HyperbolicSCE, poincare_logits
    from vmf_embeddings.methods.loss_prediction import LossPrediction
    from vmf_embeddings.methods.loss_predictor import order_loss
    from vmf_embeddings.methods.matryoshka import Matryoshka
    from vmf_embeddings.methods.nir import NIR
    from vmf_embeddings.methods.nivmf import NivMF
    from vmf_embeddings.methods.normalized_sce import NormalizedSCE, cosine_logits
    from vmf_embeddings.methods.paco import PaCo, parametric_contrast
    from vmf_embeddings.methods.pml import PML
    from vmf_embeddings.methods.proco import ProCo
    from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE, dot_product_logits
    from vmf_embeddings.methods.vmf_op import (
        VMFOP,
        class_feature_consistency,
        inter_class_discrepancy,
    )
    from vmf_embeddings.methods.vmf_prediction import expected_logits
    from vmf_embeddings.methods.vmf_softmax import VMFSoftmax, vmf_softmax_loss

__all__ = [
    "ArcFace",
    "BCL",
    "BatchLayout",
    "ClassParameters",
    "Classifier",
    "DML",
    "DiVE",
    "ELK",
    "FSGL",
    "FeatureScaling",
    "HyperbolicSCE",
    "LossPrediction",
    "Matryoshka",
    "Method",
    "NIR",
    "NivMF",
    "NormalizedSCE",
    "PML",
    "PaCo",
    "ProCo",
    "UnnormalizedSCE",
    "VMFOP",
    "VMFSoftmax",
    "arcface_loss",
    "balanced_contrast",
    "class_feature_consistency",
    "cosine_logits",
    "dot_product_logits",
    "expected_logits",
    "inter_class_discrepancy",
    "order_loss",
    "parametric_contrast",
    "poincare_logits",
    "vmf_softmax_loss",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "arcface": ("ArcFace", "arcface_loss"),
        "base": ("BatchLayout", "Method"),
        "bcl": ("BCL", "balanced_contrast"),
        "class_parameters": ("ClassParameters",),
        "classifier": ("Classifier",),
        "dive": ("DiVE",),
        "dml": ("DML",),
        "elk": ("ELK",),
        "feature_scaling": ("FeatureScaling",),
        "fsgl": ("FSGL",),
        "hyperbolic_sce": ("HyperbolicSCE", "poincare_logits"),
        "loss_prediction": ("LossPrediction",),
        "loss_predictor": ("order_loss",),
        "matryoshka": ("Matryoshka",),
        "nir": ("NIR",),
        "nivmf": ("NivMF",),
        "normalized_sce": ("NormalizedSCE", "cosine_logits"),
        "paco": ("PaCo", "parametric_contrast"),
        "pml": ("PML",),
        "proco": ("ProCo",),
        "unnormalized_sce": ("UnnormalizedSCE", "dot_product_logits"),
        "vmf_op": ("VMFOP", "class_feature_consistency", "inter_class_discrepancy"),
        "vmf_prediction": ("expected_logits",),
        "vmf_softmax": ("VMFSoftmax", "vmf_softmax_loss"),
    },
)
