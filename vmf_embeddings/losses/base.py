"""Base class of the losses on logits, with the counts of the training classes if they need them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """Scaled logits [B, C] and labels -> mean loss in nats.

    A subclass implements `forward`, which calls a pure function with its parameters and `counts`.
    Class sizes affect training only: predictions use the logits of the head.
    """

    needs_class_counts: ClassVar[bool] = False
    """Whether it needs the number of training images of every class."""
    uses_prior: ClassVar[bool] = False
    """Whether it adds the log frequency of the classes to the logits."""
    requires_cosine_head: ClassVar[bool] = False
    """Whether it needs bounded similarities, and then sets the head's scale to `scale`."""

    is_row_mean: ClassVar[bool] = True
    """Whether it is the mean of the rows' losses; not if it divides by the sum of their weights."""

    scale: float = 1.0
    """Factor of the head's similarities, if `requires_cosine_head`."""

    class_counts: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        empty = torch.zeros(0, dtype=torch.long) if self.needs_class_counts else None
        self.register_buffer("class_counts", empty)
        self.epoch = 0

    @property
    def name(self) -> str:
        """The name of the loss is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """The mean loss of a batch.

        Args:
            logits: [B, C], scale applied.
            labels: classes [B] in 0..C-1, or soft labels [B, C], whose rows sum to 1.
            features: input of the head [B, D], for losses that need it.

        Returns:
            Scalar in nats.
        """

    def prepare(self, class_counts: Tensor) -> None:
        """Stores the images per class [C] of the training split, as a buffer.

        Raises:
            ValueError: a class has no image, so its weight or prior would be infinite.
        """
        if not self.needs_class_counts:
            return
        if class_counts.numel() == 0 or not bool((class_counts > 0).all()):
            empty = (class_counts <= 0).nonzero().flatten().tolist()
            raise ValueError(
                f"loss={self.name} needs at least one training image of every class; classes "
                f"{empty[:10]} have none. Choose a smaller imbalance, or loss=ce."
            )
        self.class_counts = class_counts.to(self.class_counts.device, torch.long).clone()

    @property
    def counts(self) -> Tensor:
        """Images per class [C].

        Raises:
            ValueError: `prepare` has not been called.
        """
        if self.class_counts is None or self.class_counts.numel() == 0:
            raise ValueError(
                f"loss={self.name} needs the class counts of the training split: call "
                "prepare(class_counts) before the first batch."
            )
        return self.class_counts

    def begin_epoch(self, epoch: int) -> None:
        """Called before every epoch, counted from 0."""
        self.epoch = epoch

    def for_prediction(self, logits: Tensor) -> Tensor:
        """Logits [B, C] -> [B, C], whose softmax are the probabilities. Default: unchanged."""
        return logits

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Allocates the counts before they are loaded: until `prepare` they are empty."""
        counts = state.get(f"{prefix}class_counts")
        if counts is not None and self.class_counts is not None:
            self.class_counts = torch.empty_like(counts, device=self.class_counts.device)
        super()._load_from_state_dict(state, prefix, *rest)


def soft_labels(labels: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Labels [B] -> one-hot [B, C]; soft labels [B, C] (floating point) are returned as given.

    Example:
        >>> soft_labels(torch.tensor([1, 0]), 3, torch.float32)
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
    """
    if labels.is_floating_point():
        return labels.to(dtype)
    return nn.functional.one_hot(labels, n_classes).to(dtype)
