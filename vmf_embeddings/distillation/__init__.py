"""Distillation of virtual examples (DiVE): pure functions of teacher and student logits.

He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042.
"""

from vmf_embeddings.distillation.divergence import distillation_divergence
from vmf_embeddings.distillation.virtual_examples import (
    log_virtual_examples,
    power_normalize,
    virtual_counts,
)

__all__ = ["distillation_divergence", "log_virtual_examples", "power_normalize", "virtual_counts"]
