"""Softmax cross-entropy on cosines, with an angular margin added to the target class.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", https://arxiv.org/abs/1801.07698, without its
easy-margin variant; as compared by Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

import math

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.head import ClassHead, cosine
from vmf_embeddings.methods.precision import full_precision

_CLIP = 1e-7  # keeps sin(theta) off 0, where its gradient is infinite; the value of 2021


def arcface_cosines(
    embeddings: Tensor, class_weights: Tensor, labels: Tensor, margin: float
) -> Tensor:
    """Cosines with every class, a margin added to the angle theta of the target.

    cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m)

    Above theta = pi - m the target's value rises again with theta: no easy-margin branch, as in
    2021. Its cosine is taken in float64, [B, D] numbers only: near +-1 the slope cos/sin magnifies
    float32's rounding to several percent.

    Args:
        embeddings: [B, D], any length.
        class_weights: [C, D], any length.
        labels: target class [B], 0..C-1.
        margin: m in radians, >= 0.

    Returns:
        [B, C] in [-1, 1]; the target's angle is kept 4.5e-4 off 0 and pi, where its gradient would
        be infinite.

    Example:
        >>> import torch
        >>> z, y = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
        >>> arcface_cosines(z, torch.eye(2), y, math.pi / 4)  # 45 degrees become 90
        tensor([[0.0000, 0.7071]])
    """
    normalize = nn.functional.normalize
    targets = normalize(class_weights[labels].double(), dim=-1)
    target = (normalize(embeddings.double(), dim=-1) * targets).sum(-1, keepdim=True)
    target = target.clamp(-1 + _CLIP, 1 - _CLIP)
    sine = ((1 - target) * (1 + target)).sqrt()  # product form: 1 - t^2 loses half the digits
    shifted = target * math.cos(margin) - sine * math.sin(margin)
    return cosine(embeddings, class_weights).scatter(
        1, labels[:, None], shifted.to(embeddings.dtype)
    )


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

    def configure(self, *, margin_warmup_epochs: int) -> None:
        """Takes the data set's warm-up unless the configuration gave one."""
        if self.margin_warmup_epochs is None:
            self.margin_warmup_epochs = margin_warmup_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Decides whether the margin is on."""
        self.epoch = epoch

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, scalar."""
        cosines = arcface_cosines(embeddings, self.head.weight, labels, self.margin)
        return nn.functional.cross_entropy(self.head.beta * cosines, labels)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C], no margin."""
        return self.head.beta * cosine(embeddings, self.head.weight)

    @property
    def geometry(self) -> Cosine:
        """Cosine of the embeddings."""
        return Cosine()
