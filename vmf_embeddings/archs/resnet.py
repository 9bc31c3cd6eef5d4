"""Residual networks of torchvision with a linear projection to D dimensions, or none.

He, Zhang, Ren, Sun 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385.

The nets are torchvision's. With `first_conv_3x3` (for 32x32 images) the first convolution is 3x3
with stride 1; the stride-2 max-pooling stays, as in the code behind Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence, embedding_layer
from vmf_embeddings.archs.net_inputs import NetInputs
from vmf_embeddings.archs.partial_freezing import freeze_before
from vmf_embeddings.archs.pooling import pool_named
from vmf_embeddings.archs.weights import imagenet_state, load_weights, read_state


class ResNet(Arch):
    """Base of these networks; `conf/arch/resnet50.yaml` documents the arguments."""

    depth_name: ClassVar[str]
    basic_blocks: ClassVar[tuple[int, ...] | None] = None
    """Basic blocks per stage of a net that torchvision does not have (nor weights of it)."""
    embeds_features: ClassVar[bool] = False
    """Whether there is no projection by default: then D is fixed by the net."""
    zero_init_residual: ClassVar[bool] = True
    """Whether the scale of the last BatchNorm of each block is initially 0, otherwise 1."""
    reference_layers = {
        "0": "trunk.conv1",
        "1": "trunk.bn1",
        "4": "trunk.layer1",
        "5": "trunk.layer2",
        "6": "trunk.layer3",
        "7": "trunk.layer4",
        "10": "projection",
    }

    def __init__(
        self,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        set_bn_eval: bool,
        pretrained: bool,
        first_conv_3x3: bool,
        weights: str | None,
        in_channels: int,
        pool: str,
        normalize: bool,
        projection: str | None = None,
        frozen: bool = False,
        trainable_from: str | None = None,
    ) -> None:
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize=normalize,
            set_bn_eval=set_bn_eval,
        )
        if pretrained and weights is None and (first_conv_3x3 or in_channels != 3):
            raise ValueError(
                "arch.params.pretrained=True: ImageNet's first convolution is 7x7 on 3 channels; "
                "add arch.params.first_conv_3x3=False arch.params.in_channels=3."
            )
        if pretrained and weights is None and self.basic_blocks is not None:
            raise ValueError(
                f"arch.params.pretrained=True: torchvision has no ImageNet weights of "
                f"{self.depth_name}; say arch.params.weights=PATH, or arch.params.pretrained=False."
            )
        self.pretrained = pretrained
        self.weights = weights
        self.trunk = self._build_trunk(first_conv_3x3, in_channels)
        self.trunk.avgpool = pool_named(pool)
        self.n_features = remove_classifier(self.trunk)
        if projection is None:
            projection = "none" if self.embeds_features else "linear"
        self.projection = embedding_layer(projection, self.n_features, embedding_dim)
        if isinstance(self.projection, nn.Linear):
            nn.init.zeros_(self.projection.bias)
        if trainable_from is not None:
            self.frozen_layers = tuple(freeze_before(self.trunk, trainable_from))
        if frozen:
            self.freeze()

    def _build_trunk(self, first_conv_3x3: bool, in_channels: int) -> nn.Module:
        """Torchvision's net with the chosen first convolution."""
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - must come before torchvision
        from torchvision.models import resnet

        options = {"zero_init_residual": self.zero_init_residual}
        if self.basic_blocks is None:
            trunk = getattr(resnet, self.depth_name)(weights=None, **options)
        else:
            trunk = resnet.ResNet(resnet.BasicBlock, list(self.basic_blocks), **options)
        shape: dict[str, Any] = {"kernel_size": 7, "stride": 2, "padding": 3}
        if first_conv_3x3:
            shape = {"kernel_size": 3, "stride": 1, "padding": 1}
        if first_conv_3x3 or in_channels != 3:
            trunk.conv1 = nn.Conv2d(in_channels, 64, bias=False, **shape)
            nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
        return trunk

    @classmethod
    def native_inputs(cls, params: Mapping[str, Any]) -> NetInputs | None:
        """Those of torchvision's ImageNet weights; None with a 3x3 first convolution."""
        return None if params.get("first_conv_3x3") else NetInputs()

    def features(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] -> pooled features [B, 512 or 2048], >= 0."""
        return self.trunk(images)

    def load_pretrained(self) -> None:
        """Loads `weights` (a torchvision state dict) if given, else ImageNet's if `pretrained`.

        Raises:
            FileNotFoundError: the file does not exist, or ImageNet's weights cannot be downloaded.
            ValueError: the file does not hold this network, e.g. its first convolution has another
                size.
        """
        if self.weights is not None:
            self._load_trunk(read_state(Path(self.weights)), self.weights)
        elif self.pretrained:
            self._load_trunk(imagenet_state(self.depth_name), "torchvision's ImageNet weights")

    def _load_trunk(self, state: dict[str, Tensor], source: str) -> None:
        hint = (
            "ImageNet weights need arch.params.first_conv_3x3=False and arch.params.in_channels=3."
        )
        load_weights(self.trunk, state, name=self.depth_name, source=source, hint=hint)


class ResNet18(ResNet):
    """Basic blocks [2, 2, 2, 2], 512 features."""

    depth_name = "resnet18"


class ResNet50(ResNet):
    """Bottleneck blocks [3, 4, 6, 3], 2048 features."""

    depth_name = "resnet50"


def remove_classifier(trunk: nn.Module) -> int:
    """Replaces the layer `fc` by the identity and returns its number of input features."""
    n_features = trunk.fc.in_features
    trunk.fc = nn.Identity()
    return n_features
