"""Losses: from the logits of a batch and labels to a scalar; one file per loss.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.losses`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax, balanced_softmax_loss
    from vmf_embeddings.losses.base import Loss
    from vmf_embeddings.losses.cdt import CDT, class_temperatures
    from vmf_embeddings.losses.ce import CrossEntropy
    from vmf_embeddings.losses.class_balanced import ClassBalanced, class_balanced_loss
    from vmf_embeddings.losses.cost_sensitive import CostSensitive
    from vmf_embeddings.losses.focal import Focal, focal_loss, sigmoid_focal_loss
    from vmf_embeddings.losses.ib import InfluenceBalanced, influence_balanced_loss
    from vmf_embeddings.losses.ldam import LDAM, ldam_loss, ldam_margins
    from vmf_embeddings.losses.logit_adjustment import (
        LogitAdjustment,
        log_frequencies,
        logit_adjustment_loss,
    )
    from vmf_embeddings.losses.seql import SoftmaxEqualization, softmax_equalization_loss
    from vmf_embeddings.losses.vs import VectorScaling, vector_scaling_loss
    from vmf_embeddings.losses.weights import effective_number_weights, power_weights

__all__ = [
    "BalancedSoftmax",
    "CDT",
    "ClassBalanced",
    "CostSensitive",
    "CrossEntropy",
    "Focal",
    "InfluenceBalanced",
    "LDAM",
    "LogitAdjustment",
    "Loss",
    "SoftmaxEqualization",
    "VectorScaling",
    "balanced_softmax_loss",
    "class_balanced_loss",
    "class_temperatures",
    "effective_number_weights",
    "focal_loss",
    "influence_balanced_loss",
    "ldam_loss",
    "ldam_margins",
    "log_frequencies",
    "logit_adjustment_loss",
    "power_weights",
    "sigmoid_focal_loss",
    "softmax_equalization_loss",
    "vector_scaling_loss",
]

_MODULE_OF = {
    "BalancedSoftmax": "balanced_softmax",
    "CDT": "cdt",
    "ClassBalanced": "class_balanced",
    "CostSensitive": "cost_sensitive",
    "CrossEntropy": "ce",
    "Focal": "focal",
    "InfluenceBalanced": "ib",
    "LDAM": "ldam",
    "LogitAdjustment": "logit_adjustment",
    "Loss": "base",
    "SoftmaxEqualization": "seql",
    "VectorScaling": "vs",
    "balanced_softmax_loss": "balanced_softmax",
    "class_balanced_loss": "class_balanced",
    "class_temperatures": "cdt",
    "effective_number_weights": "weights",
    "focal_loss": "focal",
    "influence_balanced_loss": "ib",
    "ldam_loss": "ldam",
    "ldam_margins": "ldam",
    "log_frequencies": "logit_adjustment",
    "logit_adjustment_loss": "logit_adjustment",
    "power_weights": "weights",
    "sigmoid_focal_loss": "focal",
    "softmax_equalization_loss": "seql",
    "vector_scaling_loss": "vs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
