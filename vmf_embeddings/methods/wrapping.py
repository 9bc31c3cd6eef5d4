"""Base of methods that train another method: everything that they do not change is the other's."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.methods.base import Method


class WrappingMethod(Method):
    """Embeddings, logits, parameters and checkpoints are those of the wrapped method.

    The backbone has two names in a state dict, `arch` and that of the wrapped method; it is the
    same.

    Args:
        arch: the backbone, on which `wrapped` was built.
        wrapped: kept by the subclass in the attribute that `wrapped` returns.
    """

    def __init__(self, arch: Arch, wrapped: Method) -> None:
        self.uses_vmf = wrapped.uses_vmf
        super().__init__(arch)

    @property
    def wrapped(self) -> Method:
        """The method that is trained."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> embeddings [B, D] of the wrapped method."""
        return self.wrapped.embed(images)

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits of the wrapped method [B, C] or [B, S, C], or None."""
        return self.wrapped.logits(embeddings)

    def unadjusted_logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> its unadjusted logits [B, C] or [B, S, C]."""
        return self.wrapped.unadjusted_logits(embeddings)

    def predict_without_draws(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> class probabilities [B, C] as of the wrapped method."""
        return self.wrapped.predict_without_draws(embeddings)

    @property
    def needs_images(self) -> bool:
        """Whether its training step, or another backbone, needs the images."""
        return len(self.backbones) > 1 or self.wrapped.needs_images

    @property
    def has_logits(self) -> bool:
        """Whether it has logits."""
        return self.wrapped.has_logits

    @property
    def linear_head(self) -> nn.Module | None:
        """Its linear head, if it has one."""
        return self.wrapped.linear_head

    @property
    def geometry(self) -> Geometry:
        """Its geometry."""
        return self.wrapped.geometry

    @property
    def classifier(self) -> nn.Module | None:
        """Its head, if it uses one of `head=`."""
        return getattr(self.wrapped, "classifier", None)

    @property
    def class_weights(self) -> Tensor | None:
        """Its class weights [C, D], or None."""
        return self.wrapped.class_weights

    @property
    def temperature(self) -> Tensor:
        """Temperature of its logits, scalar."""
        return self.wrapped.temperature

    @property
    def uses_norm(self) -> bool:
        """Whether its loss depends on the norm of the embeddings."""
        return self.wrapped.uses_norm

    @property
    def uses_prior(self) -> bool:
        """Whether its loss adds the log frequency of the classes."""
        return self.wrapped.uses_prior

    @property
    def second_stage(self) -> str | None:
        """The mode that must follow the training of something else, if its head needs one."""
        return self.wrapped.second_stage

    def status(self) -> dict[str, float]:
        """Numbers that it reports."""
        return self.wrapped.status()

    def describe(self) -> dict[str, Any]:
        """What it has to say in embedding files."""
        return self.wrapped.describe()

    def configure(self, **known: Any) -> None:
        """Passes everything to the wrapped method."""
        self.wrapped.configure(**known)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Passes the images per class [C] to it."""
        self.wrapped.set_class_counts(class_counts)

    def init_from_data(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Passes the training images to it."""
        self.wrapped.init_from_data(batches)

    def begin_epoch(self, epoch: int) -> None:
        """Passes the epoch to it."""
        self.wrapped.begin_epoch(epoch)

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Its parameters without weight decay."""
        return self.wrapped.undecayed_parameters()

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Its parameter groups with their own learning rate."""
        return self.wrapped.extra_param_groups()

    def refuse_rates(self, learning_rate: float, *, adaptive: bool) -> None:
        """Refuses learning rates as it does."""
        self.wrapped.refuse_rates(learning_rate, adaptive=adaptive)

    def param_groups(
        self, temp_learning_rate: float, class_weight_decay: str = "none"
    ) -> list[dict[str, Any]]:
        """Its parameter groups."""
        return self.wrapped.param_groups(temp_learning_rate, class_weight_decay)

    def from_reference_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads a 2021 checkpoint into it."""
        self.wrapped.from_reference_checkpoint(checkpoint)
