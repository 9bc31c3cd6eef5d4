"""Base class of the networks that take feature vectors of another model instead of images."""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import LAYERS, Arch, ClassSpec, Confidence


class VectorArch(Arch):
    """Input vectors [B, F_in] -> features [B, F] -> embeddings [B, D].

    Inputs are standardized first: (x - input_mean) / input_std, each [F_in]. Both are part of the
    network's state, so that a checkpoint transforms new vectors as it did those of training; they
    are 0 and 1 unless `set_input_statistics` was called.

    Args:
        in_features: F_in >= 1; a training fills it in from its data.
        embedding_dim: D; None = F_in.
        n_classes: see `ClassSpec`, also for the others.
        use_vmf: see there.
        learn_temp: see there.
        init_temp: see there.
        kappa_confidence: see there.
        normalize: whether embeddings have norm 1.
        projection: the last layer, "linear" or "linear_kappa", see `archs.base.embedding_layer`.

    Raises:
        ValueError: `in_features` is None, or not a whole number >= 1; or `projection` is unknown.
    """

    in_features: int
    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        in_features: int | None,
        embedding_dim: int | None,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        normalize: bool,
        projection: str,
    ) -> None:
        if type(in_features) is not int or in_features < 1:
            raise ValueError(
                "arch.params.in_features is the length of the input vectors, a whole number >= 1, "
                f"which a training takes from its data (dataset=features); got {in_features!r}"
            )
        dim = in_features if embedding_dim is None else embedding_dim
        spec = ClassSpec(n_classes, dim, use_vmf, learn_temp, init_temp, kappa_confidence)
        super().__init__(spec, normalize=normalize)
        self.in_features = self.n_features = in_features
        self.register_buffer("input_mean", torch.zeros(in_features))
        self.register_buffer("input_std", torch.ones(in_features))
        self.has_statistics = False  # subtracting 0 takes a third of a linear layer's time
        self._projection = projection
        self.projection = self.embedding_layer()

    def embedding_layer(self) -> nn.Module:
        """The layer from `n_features` to D; W is Xavier-uniform, b is 0."""
        if self._projection not in LAYERS:
            raise ValueError(
                f"arch.params.projection is one of {', '.join(LAYERS)}; got {self._projection!r}. "
                "arch=identity has no layer."
            )
        layer = LAYERS[self._projection](self.n_features, self.class_spec.embedding_dim)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    def features(self, images: Tensor) -> Tensor:
        """The input vectors [B, F_in], standardized."""
        return self.standardized(images)

    @torch.no_grad()
    def set_input_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardizes inputs from now on: mean and std [F_in] of each component, std > 0."""
        self.input_mean.copy_(mean)
        self.input_std.copy_(std)
        self._note_statistics()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._note_statistics()

    def _note_statistics(self) -> None:
        """Finds out whether there is anything to subtract or to divide by."""
        nothing = (self.input_mean == 0).all() & (self.input_std == 1).all()
        self.has_statistics = not bool(nothing)

    def standardized(self, vectors: Tensor) -> Tensor:
        """Inputs [B, F_in] with the mean subtracted, divided by the standard deviation.

        Raises:
            ValueError: they are no vectors of this length.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.in_features:
            raise ValueError(
                f"this network takes vectors [B, {self.in_features}], got {list(vectors.shape)}"
            )
        if not self.has_statistics:
            return vectors.to(torch.promote_types(vectors.dtype, self.input_mean.dtype))
        return (vectors - self.input_mean).div_(self.input_std)  # in place: half of the memory
