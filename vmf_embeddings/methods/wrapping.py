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
    def needs_n_epochs(self) -> bool:
        """Whether the loss of the wrapped method depends on the number of epochs."""
        return self.wrapped.needs_n_epochs

    @property
    def takes_soft_labels(self) -> bool:
        """Whether the loss of the wrapped method also takes soft labels."""
        return self.wrapped.takes_soft_labels

    @property
    def has_logits(self) -> bool:
        """Whether it has logits."""
        return self.wrapped.has_logits

    @property
    def loss_is_row_mean(self) -> bool:
        """Whether the loss of the wrapped method is a mean over rows."""
        return self.wrapped.loss_is_row_mean

    @property
    def linear_head(self) -> nn.Module | None:
        """Linear head of the wrapped method; None where it has none."""
        return self.wrapped.linear_head

    @property
    def geometry(self) -> Geometry:
        """How the wrapped method compares embeddings."""
        return self.wrapped.geometry

    @property
    def confidence_name(self) -> str:
        """What `confidence` of the wrapped method returns."""
        return self.wrapped.confidence_name

    def confidence(self, embeddings: Tensor) -> Tensor:
        """Confidence of the wrapped method in embeddings [B, D] -> [B]."""
        return self.wrapped.confidence(embeddings)

    @property
    def classifier(self) -> nn.Module | None:
        """Head of the wrapped method; None where it uses none of `head=`."""
        return getattr(self.wrapped, "classifier", None)

    @property
    def class_weights(self) -> Tensor | None:
        """Class weights of the wrapped method [C, D]; None where it has none."""
        return self.wrapped.class_weights

    @property
    def temperature(self) -> Tensor:
        """Temperature of the wrapped method's logits, scalar."""
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
        """Numbers of the wrapped method for the log of an epoch."""
        return self.wrapped.status()

    def class_kappas(self) -> Tensor | None:
        """Concentrations of the wrapped method's classes [C], or None."""
        return self.wrapped.class_kappas()

    def describe(self) -> dict[str, Any]:
        """What the wrapped method adds to embedding files."""
        return self.wrapped.describe()

    def configure(self, **known: Any) -> None:
        """Configures the wrapped method, see `Method.configure`."""
        self.wrapped.configure(**known)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Gives the wrapped method the images per class [C]."""
        self.wrapped.set_class_counts(class_counts)

    def init_from_data(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Gives the wrapped method the training images to start from."""
        self.wrapped.init_from_data(batches)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the wrapped method that an epoch begins."""
        self.wrapped.begin_epoch(epoch)

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters of the wrapped method without weight decay."""
        return self.wrapped.undecayed_parameters()

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Groups of the wrapped method with their own learning rate."""
        return self.wrapped.extra_param_groups()

    def refuse_rates(self, learning_rate: float, *, adaptive: bool) -> None:
        """Refuses the learning rates that the wrapped method refuses."""
        self.wrapped.refuse_rates(learning_rate, adaptive=adaptive)

    def param_groups(
        self, temp_learning_rate: float, class_weight_decay: str = "none"
    ) -> list[dict[str, Any]]:
        """Parameter groups of the wrapped method."""
        return self.wrapped.param_groups(temp_learning_rate, class_weight_decay)

    def from_reference_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads a 2021 checkpoint into the wrapped method."""
        self.wrapped.from_reference_checkpoint(checkpoint)
