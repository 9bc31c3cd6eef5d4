"""Softmax cross-entropy on cosines, with an angular margin added to the target class.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", https://arxiv.org/abs/1801.07698; as
compared by Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

import math
from functools import partial

from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.geometry import Cosine, cosines
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.sharded_losses import sharded_cosine_cross_entropy


def arcface_loss(
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    margin: float,
    *,
    monotone: bool = False,
) -> Tensor:
    """Mean cross-entropy of scaled cosines, a margin added to the angle of the target class.

    Args:
        embeddings: [B, D], any norm.
        class_weights: [C, D], any norm.
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        margin: in radians, >= 0.
        monotone: see `add_angular_margin`; False = the formula of 2021.

    Returns:
        Scalar in nats.

    Example:
        >>> import torch
        >>> z, y = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
        >>> arcface_loss(z, torch.eye(2), y, torch.tensor(1.0), math.pi / 4)  # logits 0, 0.7071
        tensor(1.1079)
    """
    shift = partial(add_angular_margin, margin=margin, monotone=monotone)
    return cosine_cross_entropy(embeddings, class_weights, labels, beta, shift)


class ArcFace(Method):
    """Cosine softmax with an angular margin in the training loss, without it in `logits`.

    Args:
        arch: the backbone.
        m: margin in radians.
        margin_warmup_epochs: number of first epochs without the margin; None = that of the data
            set.
        monotone: whether the target's logit decreases with the angle above pi - m too, see
            `add_angular_margin`; False = as in 2021.
    """

    logs_as_in_2021 = True

    def __init__(
        self, arch: Arch, m: float, margin_warmup_epochs: int | None, monotone: bool
    ) -> None:
        super().__init__(arch)
        if not 0 <= m < math.pi:
            raise ValueError(f"method.params.m is an angle in radians in [0, pi), got {m}.")
        self.class_parameters = ClassParameters(
            arch.class_spec, arch.init_class_weights, has_temperature=True
        )
        self.m, self.monotone = m, monotone
        self.margin_warmup_epochs = margin_warmup_epochs
        self.epoch = 0

    @property
    def margin(self) -> float:
        """Margin in the current epoch, in radians."""
        return self.m if self.epoch >= (self.margin_warmup_epochs or 0) else 0.0

    def configure(self, *, margin_warmup_epochs: int, n_epochs: int | None = None) -> None:
        """Uses the data set's number of warm-up epochs unless the configuration gives one."""
        if self.margin_warmup_epochs is None:
            self.margin_warmup_epochs = margin_warmup_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Stores the epoch, on which `margin` depends."""
        self.epoch = epoch

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, scalar."""
        weights, beta = self.class_parameters.weight, self.class_parameters.beta
        if self.class_shard is not None:
            shift = partial(add_angular_margin, margin=self.margin, monotone=self.monotone)
            arguments = (embeddings, weights, labels, beta, shift)
            return sharded_cosine_cross_entropy(self.class_shard, *arguments)
        return arcface_loss(embeddings, weights, labels, beta, self.margin, monotone=self.monotone)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C], without the margin."""
        return self.class_parameters.beta * cosines(embeddings, self.class_parameters.weight)

    @property
    def geometry(self) -> Cosine:
        """Embeddings are compared by their cosine."""
        return Cosine()

    @property
    def samples_classes(self) -> bool:
        """The loss can do with some of the classes."""
        return True

    def sharded_parameters(self) -> list[str]:
        """The class weights."""
        return ["class_parameters.weight"]
