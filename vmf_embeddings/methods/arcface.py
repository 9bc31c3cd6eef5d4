"""Softmax cross-entropy on cosines, with an angular margin added to the target class.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", https://arxiv.org/abs/1801.07698, without its
easy-margin variant; as compared by Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

import math
from functools import partial

from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import ClassHead, cosine
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy
from vmf_embeddings.methods.precision import full_precision

_CLIP = 1e-7  # keeps sin(theta) off 0, where its gradient is infinite; the value of 2021


def add_margin(cosine: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The cosine after a margin has been added to the angle theta, and its slope.

    cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m)

    Above theta = pi - m the value rises again with theta: no easy-margin branch, as in 2021. Near
    +-1 the slope cos(m) + sin(m) cos(theta)/sin(theta) is steep: give the cosine in float64.

    Args:
        cosine: any shape, in [-1, 1].
        margin: m in radians, >= 0.

    Returns:
        Two tensors of the shape of `cosine`. The angle is kept 4.5e-4 off 0 and pi, where the slope
        would be infinite; beyond, the slope is 0.

    Example:
        >>> import torch
        >>> [round(x.item(), 4) for x in add_margin(torch.tensor(0.8), math.pi / 2)]
        [-0.6, 1.3333]
    """
    clipped = cosine.clamp(-1 + _CLIP, 1 - _CLIP)
    sine = ((1 - clipped) * (1 + clipped)).sqrt()  # product form: 1 - t^2 loses half the digits
    value = clipped * math.cos(margin) - sine * math.sin(margin)
    slope = math.cos(margin) + clipped / sine * math.sin(margin)
    return value, slope * (clipped == cosine)


def arcface_loss(
    embeddings: Tensor, class_weights: Tensor, labels: Tensor, beta: Tensor, margin: float
) -> Tensor:
    """Mean cross-entropy of scaled cosines, a margin added to the angle of the target class.

    Args:
        embeddings: [B, D], any length.
        class_weights: [C, D], any length.
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        margin: in radians, >= 0.

    Returns:
        Scalar in nats.

    Example:
        >>> import torch
        >>> z, y = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
        >>> arcface_loss(z, torch.eye(2), y, torch.tensor(1.0), math.pi / 4)  # logits 0, 0.7071
        tensor(1.1079)
    """
    shift = partial(add_margin, margin=margin)
    return cosine_cross_entropy(embeddings, class_weights, labels, beta, shift)


class ArcFace(Method):
    """Cosine softmax with an angular margin during training; predictions are without it.

    Args:
        arch: the backbone.
        m: margin in radians.
        margin_warmup_epochs: epochs before the margin is switched on; None = what the data set
            asks for.
    """

    def __init__(self, arch: Arch, m: float, margin_warmup_epochs: int | None) -> None:
        super().__init__(arch)
        if not 0 <= m < math.pi:
            raise ValueError(f"method.params.m is an angle in radians in [0, pi), got {m}.")
        self.head = ClassHead(arch.head, arch.init_class_weights, has_temperature=True)
        self.m = m
        self.margin_warmup_epochs = margin_warmup_epochs
        self.epoch = 0

    @property
    def margin(self) -> float:
        """The margin of the present epoch in radians."""
        return self.m if self.epoch >= (self.margin_warmup_epochs or 0) else 0.0

    def configure(self, *, margin_warmup_epochs: int, n_epochs: int | None = None) -> None:
        """Takes the data set's warm-up unless the configuration gave one."""
        if self.margin_warmup_epochs is None:
            self.margin_warmup_epochs = margin_warmup_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Decides whether the margin is on."""
        self.epoch = epoch

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, scalar."""
        return arcface_loss(embeddings, self.head.weight, labels, self.head.beta, self.margin)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C], no margin."""
        return self.head.beta * cosine(embeddings, self.head.weight)

    @property
    def geometry(self) -> Cosine:
        """Cosine of the embeddings."""
        return Cosine()
