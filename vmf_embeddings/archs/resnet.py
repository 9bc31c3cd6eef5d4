"""Residual networks of torchvision with a linear projection to D dimensions, or none.

He, Zhang, Ren, Sun 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385.

The nets are torchvision's. With `first_conv_3x3` (for 32x32 pictures) the first convolution is 3x3
with stride 1; the stride-2 max-pooling stays, as in the code behind Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

import logging
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, HeadSpec, refuse_other_width

logger = logging.getLogger(__name__)


class ResNet(Arch):
    """What all of them share; `conf/arch/resnet50.yaml` explains each argument."""

    depth_name: ClassVar[str]
    basic_blocks: ClassVar[tuple[int, ...] | None] = None
    """Basic blocks of each stage, where torchvision has no net (and no weights) of that name."""
    embeds_features: ClassVar[bool] = False
    """Whether the features are the embeddings: no projection, D fixed by the net."""
    zero_init_residual: ClassVar[bool] = True
    """Whether the last BatchNorm of each block starts at zero, else at one."""
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
        use_vmf: bool,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: float,
        set_bn_eval: bool,
        pretrained: bool,
        first_conv_3x3: bool,
        weights: str | None,
        in_channels: int,
    ) -> None:
        super().__init__(
            HeadSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence)
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
        self.set_bn_eval = set_bn_eval
        self.pretrained = pretrained
        self.weights = weights
        self.trunk = self._build_trunk(first_conv_3x3, in_channels)
        n_features = _take_classifier_off(self.trunk)
        if self.embeds_features:
            refuse_other_width(embedding_dim, n_features)
            self.projection = nn.Identity()
        else:
            self.projection = nn.Linear(n_features, embedding_dim)
            nn.init.zeros_(self.projection.bias)

    def _build_trunk(self, first_conv_3x3: bool, in_channels: int) -> nn.Module:
        """Torchvision's net, its first convolution as asked for."""
        import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - must come before torchvision
        from torchvision.models import resnet

        knobs = {"zero_init_residual": self.zero_init_residual}
        if self.basic_blocks is None:
            trunk = getattr(resnet, self.depth_name)(weights=None, **knobs)
        else:
            trunk = resnet.ResNet(resnet.BasicBlock, list(self.basic_blocks), **knobs)
        shape: dict[str, Any] = {"kernel_size": 7, "stride": 2, "padding": 3}
        if first_conv_3x3:
            shape = {"kernel_size": 3, "stride": 1, "padding": 1}
        if first_conv_3x3 or in_channels != 3:
            trunk.conv1 = nn.Conv2d(in_channels, 64, bias=False, **shape)
            nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
        return trunk

    def features(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] -> averaged last maps [B, 512 or 2048], >= 0."""
        return self.trunk(images)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] -> embeddings [B, D]."""
        return self.projection(self.features(images))

    def train(self, mode: bool = True) -> Self:
        """As usual, but with `set_bn_eval` every BatchNorm2d keeps its running statistics fixed."""
        super().train(mode)
        if self.set_bn_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def load_pretrained(self) -> None:
        """Loads `weights` (a torchvision state dict) if given, else ImageNet's if `pretrained`.

        Raises:
            FileNotFoundError: the file does not exist, or ImageNet's weights cannot be downloaded.
            ValueError: the file does not hold this network, e.g. its first convolution has another
            size.
        """
        if self.weights is not None:
            self._load_trunk(_read_state(Path(self.weights)), self.weights)
        elif self.pretrained:
            self._load_trunk(_imagenet_state(self.depth_name), "torchvision's ImageNet weights")

    def _load_trunk(self, state: dict[str, Tensor], source: str) -> None:
        own = self.trunk.state_dict()
        # files from old versions of torch lack the batch counters; they are not needed
        missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
        wrong = [k for k in own if k in state and own[k].shape != state[k].shape]
        if missing or wrong:
            raise ValueError(
                f"{source} does not hold this {self.depth_name}: {len(missing)} tensors missing, "
                f"{len(wrong)} of another shape (first: {(missing + wrong)[0]}). ImageNet "
                f"weights need arch.params.first_conv_3x3=False and arch.params.in_channels=3."
            )
        self.trunk.load_state_dict({k: state.get(k, v) for k, v in own.items()})
        logger.info("Loaded %s from %s", self.depth_name, source)


class ResNet18(ResNet):
    """Basic blocks [2, 2, 2, 2], 512 features."""

    depth_name = "resnet18"


class ResNet50(ResNet):
    """Bottleneck blocks [3, 4, 6, 3], 2048 features."""

    depth_name = "resnet50"


def _take_classifier_off(trunk: nn.Module) -> int:
    """Replaces the last layer by nothing; how many features entered it."""
    n_features = trunk.fc.in_features
    trunk.fc = nn.Identity()
    return n_features


def _read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or a torch file; nothing in the file is executed."""
    if not path.is_file():
        raise FileNotFoundError(f"arch.params.weights={path}: no such file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _imagenet_state(depth_name: str) -> dict[str, Tensor]:
    """ImageNet weights of 2021 as torchvision has them, from torch.hub's cache or the network."""
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001 - must come before torchvision
    from torchvision.models import get_model_weights

    weights = get_model_weights(depth_name).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise FileNotFoundError(
            f"arch.params.pretrained=True: {weights.url} is neither in torch.hub's cache nor can "
            f"it be downloaded ({error}). Fetch it on a machine with network and add "
            f"arch.params.weights=PATH."
        ) from error
