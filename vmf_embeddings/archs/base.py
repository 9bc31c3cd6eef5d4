"""Base class of the backbones: features, embeddings, and what a method needs to know of classes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.kappa_layer import KappaLinear
from vmf_embeddings.archs.net_inputs import NetInputs

Confidence = float | Literal["auto"]
MAX_LOG_TEMPERATURE = 27  # temperatures 2e-12 to 5e11: float32 has their squares and inverses


@dataclass(frozen=True)
class ClassSpec:
    """What a method needs to know to create class weights and a temperature.

    Attributes:
        n_classes: number of training classes C; None = that of the data set, filled in
            later.
        embedding_dim: D, dimension of the embeddings, >= 1.
        use_vmf: whether class weights are parameters of von Mises-Fisher distributions; None = what
            the method needs. A method refuses the value that it does not need.
        learn_temp: whether the temperature is learned; otherwise it keeps its initial value.
        init_temp: initial tau in [-27, 27], where temperature = exp(tau) and beta = exp(-tau).
        kappa_confidence: initial mean cosine of von Mises-Fisher distributions, in (0, 1), or
            "auto": see `vmf_embeddings.methods.vmf_concentration`.
    """

    n_classes: int | None
    embedding_dim: int
    use_vmf: bool | None = None
    learn_temp: bool = False
    init_temp: float = 0.0
    kappa_confidence: Confidence = 0.4

    def __post_init__(self) -> None:
        if self.embedding_dim < 1:
            raise ValueError(
                f"arch.params.embedding_dim must be at least 1, got {self.embedding_dim}."
            )
        if not abs(self.init_temp) <= MAX_LOG_TEMPERATURE:
            raise ValueError(
                f"arch.params.init_temp must be in [-{MAX_LOG_TEMPERATURE}, {MAX_LOG_TEMPERATURE}],"
                f" as the temperature is its exponential, got {self.init_temp}."
            )


class Arch(nn.Module, ABC):
    """Images [B, ch, H, W] -> features [B, F] -> embeddings [B, D].

    A constructor initialises the net randomly. `load_pretrained` reads or downloads weights; it is
    called when a new training begins, not when a checkpoint is loaded.

    Args:
        class_spec: number of classes, dimension, and initialisation of the class parameters.
        normalize: whether embeddings have norm 1.
        set_bn_eval: whether every BatchNorm2d keeps its running statistics fixed and uses them in
            training too; its scales and shifts are learned all the same.

    Attributes:
        in_features: F_in, length of the vectors that the network takes; None if it takes images.
        n_features: F.
        projection: the embedding layer, features [B, F] -> [B, D]; an `nn.Identity` where the
            features are the embeddings. Everything else is the backbone.
        frozen: whether the backbone does not learn, see `freeze`.
        frozen_layers: layers of a backbone that learns otherwise; they stay in evaluation mode.
    """

    reference_layers: ClassVar[dict[str, str]] = {}
    """Index in the `encoder` Sequential of a 2021 checkpoint -> name of that layer here."""

    in_features: int | None = None
    n_features: int
    projection: nn.Module
    frozen: bool = False

    def __init__(
        self, class_spec: ClassSpec, *, normalize: bool = False, set_bn_eval: bool = False
    ) -> None:
        super().__init__()
        # in a tuple, so that they are not registered as modules a second time
        self.frozen_layers: tuple[nn.Module, ...] = ()
        self.class_spec = class_spec
        self.normalize = normalize
        self.set_bn_eval = set_bn_eval

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> pooled features [B, F], the input of the embedding layer."""

    def project(self, features: Tensor) -> Tensor:
        """Features [B, F] -> embeddings [B, D], of norm 1 with `normalize` (in float32)."""
        embeddings = self.projection(features)
        if not self.normalize:
            return embeddings
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        return nn.functional.normalize(embeddings.to(wide), dim=-1)

    def pooled_features(self, inputs: Tensor) -> Tensor:
        """The input of the embedding layer, computed or given.

        Args:
            inputs: images [B, ch, H, W]; or, for a frozen backbone, `features` of images [B, F]
                that were computed before.

        Returns:
            [B, F].
        """
        return inputs if self.frozen and inputs.ndim == 2 else self.features(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> embeddings [B, D]; `project` of `pooled_features`."""
        return self.project(self.pooled_features(inputs))

    def embedding_parameters(self) -> list[nn.Parameter]:
        """Parameters of the embedding layer; empty where the features are the embeddings."""
        return list(self.projection.parameters())

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All parameters that are not in `embedding_parameters`."""
        own = {id(p) for p in self.embedding_parameters()}
        return [p for p in self.parameters() if id(p) not in own]

    def freeze(self) -> None:
        """Freezes the backbone: no gradients, and evaluation mode always; `projection` learns.

        Features of an image then do not change during training, and can be computed once.
        """
        self.frozen = True
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen backbone, and BatchNorm2d with `set_bn_eval`, stay in evaluation.

        Args:
            mode: True for training.
        """
        super().train(mode)
        if self.set_bn_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        if self.frozen:
            for child in self.children():
                if child is not self.projection:
                    child.eval()
        for layer in self.frozen_layers:
            layer.eval()
        return self

    @classmethod
    def native_inputs(cls, params: Mapping[str, Any]) -> NetInputs | None:
        """The images that the weights of this network were trained on.

        Args:
            params: of the constructor; the network is not built.

        Returns:
            None where nobody has published weights of it. Default: None.
        """
        return None

    def load_pretrained(self) -> None:  # noqa: B027 - most backbones have nothing to load
        """Loads weights from a file or the network if `weights` or `pretrained` are given."""

    @torch.no_grad()
    def init_class_weights(self, weight: Tensor) -> None:
        """Initialises class weights [C, D] in place, like a linear layer of this backbone."""
        nn.init.kaiming_uniform_(weight, a=5**0.5)

    def from_reference_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames the `arch_state_dict` of a 2021 checkpoint to the names of this backbone.

        Checkpoints of 2021 hold every layer as `encoder.N.*`, those of ResNets also under its own
        name, which is not read. Class weights and temperature are loaded by the method.

        Args:
            state: name -> tensor, as stored in 2021.

        Returns:
            A state dict that `load_state_dict` accepts strictly.
        """
        renamed = {}
        for key, tensor in state.items():
            prefix, _, rest = key.partition(".")
            index, _, name = rest.partition(".")
            if prefix == "encoder" and index in self.reference_layers:
                renamed[f"{self.reference_layers[index]}.{name}"] = tensor
        return renamed

    def reference_class_weights(self) -> str:
        """Name of the class weights in the state of 2021: the encoder's layer after the projection.

        Raises:
            ValueError: nothing of 2021 had this backbone.
        """
        places = [int(p) for p, layer in self.reference_layers.items() if layer == "projection"]
        if not places:
            raise ValueError(
                f"{type(self).__name__} is no backbone of 2021; its checkpoints are of "
                "arch=n_digit_mnist or arch=resnet50."
            )
        return f"encoder.{places[0] + 1}.weight"


LAYERS = {"linear": nn.Linear, "linear_kappa": KappaLinear}
PROJECTIONS = (*LAYERS, "none")


def embedding_layer(projection: str, n_features: int, embedding_dim: int) -> nn.Module:
    """The embedding layer of `arch.params.projection`.

    Args:
        projection: "linear"; "linear_kappa", the length of an embedding from a network of its own,
            see `KappaLinear`; or "none": the embeddings are the features.
        n_features: F.
        embedding_dim: D.

    Raises:
        ValueError: it is none of these, or D is not F without a projection.
    """
    if projection not in PROJECTIONS:
        raise ValueError(
            f"arch.params.projection is one of {', '.join(PROJECTIONS)}; got {projection!r}."
        )
    if projection in LAYERS:
        return LAYERS[projection](n_features, embedding_dim)
    refuse_other_width(
        embedding_dim,
        n_features,
        "or arch.params.projection=linear, which projects to any dimension",
    )
    return nn.Identity()


def refuse_other_width(
    embedding_dim: int,
    n_features: int,
    otherwise: str = "or take arch=resnet18 or arch=resnet50, which project to any dimension",
) -> None:
    """Refuses an `arch.params.embedding_dim` other than the width of a net without a projection.

    Args:
        embedding_dim: D.
        n_features: F.
        otherwise: what else to type.

    Raises:
        ValueError: the two differ.
    """
    if embedding_dim != n_features:
        raise ValueError(
            f"the embeddings of this net are its {n_features} features, without a projection; got "
            f"arch.params.embedding_dim={embedding_dim}. Say arch.params.embedding_dim="
            f"{n_features}, {otherwise}."
        )
