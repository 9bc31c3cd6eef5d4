"""Softmax cross-entropy of hyperbolic logits; embeddings are points of the Poincare ball.

Ganea, Becigneul, Hofmann 2018, "Hyperbolic Neural Networks", https://arxiv.org/abs/1805.09112; for
images Khrulkov et al. 2020, https://arxiv.org/abs/1904.02239; the HYPERBOLIC method of Scott et
al. 2021, https://arxiv.org/abs/2103.15718.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Poincare
from vmf_embeddings.hyperbolic import (
    expmap0,
    hyperbolic_logits,
    project,
    riemannian_gradient,
)
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.older_checkpoints import copy_reference
from vmf_embeddings.methods.precision import full_precision


def poincare_logits(embeddings: Tensor, a_vals: Tensor, p_vals: Tensor, c: float) -> Tensor:
    """Logits of tangent vectors: exponential map to the ball, then hyperbolic logistic regression.

    The gradient with respect to the points in the ball is made Riemannian; that of `a_vals` and
    `p_vals` is Euclidean.

    Args:
        embeddings: tangent vectors at the origin [B, D].
        a_vals: normals of the class hyperplanes, at the origin [C, D].
        p_vals: offsets of the class hyperplanes, tangent vectors at the origin [C, D].
        c: minus the curvature, > 0.

    Returns:
        [B, C].

    Example:
        >>> z = torch.tensor([[0.5, 0.0]])
        >>> poincare_logits(z, torch.eye(2), torch.zeros(2, 2), 1.0)
        tensor([[2.0000, 0.0000]])
    """
    points = riemannian_gradient(project(expmap0(embeddings, c), c), c)
    offsets = expmap0(p_vals, c)
    # a_p = (1 - c |p|^2) a transports normals from 0 to p; > 0 even if |p| is rounded to 1/sqrt(c)
    factor = 1 - c * offsets.square().sum(-1, keepdim=True)
    normals = a_vals * factor.clamp_min(torch.finfo(a_vals.dtype).eps)
    return hyperbolic_logits(points, offsets, normals, c)


class HyperbolicSCE(Method):
    """Cross-entropy of hyperbolic logits; stored embeddings are tangent vectors at the origin.

    Args:
        arch: the backbone.
        c: minus the curvature of the ball, > 0; the limit 0 is Euclidean space.
    """

    logs_as_in_2021 = True
    takes_soft_labels = True

    not_on_prefixes = "coordinates of a point of the Poincare ball are not points of one"

    def __init__(self, arch: Arch, c: float) -> None:
        super().__init__(arch)
        if not c > 0:
            raise ValueError(f"method.params.c is minus the curvature and must be > 0, got {c}.")
        self.c = float(c)
        shape = (known_classes(arch.class_spec), arch.class_spec.embedding_dim)
        self.a_vals = nn.Parameter(torch.empty(shape))
        self.p_vals = nn.Parameter(torch.empty(shape))
        for parameter in (self.a_vals, self.p_vals):
            nn.init.kaiming_uniform_(parameter, a=5**0.5)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean cross-entropy in nats."""
        return nn.functional.cross_entropy(self.logits(embeddings), labels)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C]."""
        return poincare_logits(embeddings, self.a_vals, self.p_vals, self.c)

    @property
    def geometry(self) -> Poincare:
        """Distance in the Poincare ball of curvature -c."""
        return Poincare(self.c)

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Offsets and normals, which have no weight decay, as in 2021."""
        return [self.a_vals, self.p_vals]

    def from_reference_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads the weights of a 2021 checkpoint in place, class parameters from `mlr.*`."""
        super().from_reference_checkpoint(checkpoint)
        state = checkpoint["arch_state_dict"]
        copy_reference(self.a_vals, state, "mlr.a_vals")
        copy_reference(self.p_vals, state, "mlr.p_vals")
