"""Fully connected layers from the feature vectors of another model to embeddings."""

from collections.abc import Sequence

from torch import Tensor, nn

from vmf_embeddings.archs.base import Confidence
from vmf_embeddings.archs.vectors import VectorArch

NORMS = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Mlp(VectorArch):
    """Vectors [B, F_in] -> hidden layers -> features [B, F] -> a linear layer -> [B, D].

    Each hidden layer is linear, then the norm, the activation and dropout. Weights are initialised
    for ReLU (He et al. 2015, https://arxiv.org/abs/1502.01852), those of the last layer
    Xavier-uniform, biases as 0.

    Args:
        in_features: see `VectorArch`.
        hidden: widths of the hidden layers, each >= 1; [] = none, as `Linear`.
        norm: "none", "batch" or "layer".
        activation: "relu" or "gelu".
        dropout: probability with which a hidden number is set to 0 in training, in [0, 1).
        embedding_dim: see `VectorArch`, also for the others.
        n_classes: see there.
        use_vmf: see there.
        learn_temp: see there.
        init_temp: see there.
        kappa_confidence: see there.
        normalize: see there.
        projection: see there.

    Raises:
        ValueError: an option is not one of these.
    """

    def __init__(
        self,
        in_features: int | None,
        hidden: Sequence[int],
        norm: str,
        activation: str,
        dropout: float,
        embedding_dim: int | None,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        normalize: bool,
        projection: str,
    ) -> None:
        super().__init__(
            in_features,
            embedding_dim,
            n_classes,
            use_vmf,
            learn_temp,
            init_temp,
            kappa_confidence,
            normalize,
            projection,
        )
        widths = [self.in_features, *_checked_widths(hidden)]
        _check_choice("norm", norm, NORMS)
        _check_choice("activation", activation, ACTIVATIONS)
        if not 0 <= dropout < 1:
            raise ValueError(f"arch.params.dropout must lie in [0, 1), got {dropout}")
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            linear = nn.Linear(n_in, n_out)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            make_norm = NORMS[norm]
            layers += [linear] if make_norm is None else [linear, make_norm(n_out)]
            layers += [ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
        self.hidden = nn.Sequential(*layers)
        self.n_features = widths[-1]
        self.projection = self.embedding_layer()

    def features(self, images: Tensor) -> Tensor:
        """Vectors [B, F_in] -> the last hidden layer [B, F]."""
        return self.hidden(self.standardized(images))


def _checked_widths(hidden: Sequence[int]) -> list[int]:
    is_list = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    if not is_list or any(type(width) is not int or width < 1 for width in hidden):
        raise ValueError(
            "arch.params.hidden expects the widths of the hidden layers, such as "
            f"arch.params.hidden=[512,256], got {hidden!r}"
        )
    return list(hidden)


def _check_choice(key: str, value: str, known: dict) -> None:
    if value not in known:
        raise ValueError(f"arch.params.{key} is one of {', '.join(known)}; got {value!r}")
