"""Losses: from the logits of a batch and labels to a scalar; one file per loss.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.losses`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

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
    from vmf_embeddings.losses.weights import (
        effective_number_weights,
        inverse_frequency_weights,
        power_weights,
    )

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
    "inverse_frequency_weights",
    "ldam_loss",
    "ldam_margins",
    "log_frequencies",
    "logit_adjustment_loss",
    "power_weights",
    "sigmoid_focal_loss",
    "softmax_equalization_loss",
    "vector_scaling_loss",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "balanced_softmax": ("BalancedSoftmax", "balanced_softmax_loss"),
        "base": ("Loss",),
        "cdt": ("CDT", "class_temperatures"),
        "ce": ("CrossEntropy",),
        "class_balanced": ("ClassBalanced", "class_balanced_loss"),
        "cost_sensitive": ("CostSensitive",),
        "focal": ("Focal", "focal_loss", "sigmoid_focal_loss"),
        "ib": ("InfluenceBalanced", "influence_balanced_loss"),
        "ldam": ("LDAM", "ldam_loss", "ldam_margins"),
        "logit_adjustment": ("LogitAdjustment", "log_frequencies", "logit_adjustment_loss"),
        "seql": ("SoftmaxEqualization", "softmax_equalization_loss"),
        "vs": ("VectorScaling", "vector_scaling_loss"),
        "weights": (
            "effective_number_weights",
            "inverse_frequency_weights",
            "power_weights",
        ),
    },
)
