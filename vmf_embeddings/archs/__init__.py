"""Backbones: from images, or vectors, to features and embeddings; one file per family.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.archs`
does not import torch.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.archs.base import Arch, ClassSpec
    from vmf_embeddings.archs.cifar_resnet import CifarResNet, ThinResNet
    from vmf_embeddings.archs.given import GivenEmbeddings
    from vmf_embeddings.archs.googlenet import GoogLeNet
    from vmf_embeddings.archs.identity import Identity
    from vmf_embeddings.archs.linear import Linear
    from vmf_embeddings.archs.mlp import Mlp
    from vmf_embeddings.archs.n_digit_mnist import NDigitMnist
    from vmf_embeddings.archs.net_inputs import NetInputs
    from vmf_embeddings.archs.resnet import ResNet, ResNet18, ResNet50
    from vmf_embeddings.archs.resnet_feature import (
        ResNet10Feature,
        ResNet50Feature,
        ResNet152Feature,
        ResNext50Feature,
    )
    from vmf_embeddings.archs.timm_net import TimmNet
    from vmf_embeddings.archs.vectors import VectorArch

__all__ = [
    "Arch",
    "CifarResNet",
    "ClassSpec",
    "GivenEmbeddings",
    "GoogLeNet",
    "Identity",
    "Linear",
    "Mlp",
    "NDigitMnist",
    "NetInputs",
    "ResNet",
    "ResNet10Feature",
    "ResNet152Feature",
    "ResNet18",
    "ResNet50",
    "ResNet50Feature",
    "ResNext50Feature",
    "ThinResNet",
    "TimmNet",
    "VectorArch",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "base": ("Arch", "ClassSpec"),
        "cifar_resnet": ("CifarResNet", "ThinResNet"),
        "given": ("GivenEmbeddings",),
        "googlenet": ("GoogLeNet",),
        "identity": ("Identity",),
        "linear": ("Linear",),
        "mlp": ("Mlp",),
        "n_digit_mnist": ("NDigitMnist",),
        "net_inputs": ("NetInputs",),
        "resnet": ("ResNet", "ResNet18", "ResNet50"),
        "resnet_feature": (
            "ResNet10Feature",
            "ResNet152Feature",
            "ResNet50Feature",
            "ResNext50Feature",
        ),
        "timm_net": ("TimmNet",),
        "vectors": ("VectorArch",),
    },
)
