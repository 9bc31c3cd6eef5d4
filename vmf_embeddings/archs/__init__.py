"""Backbones: from images to features and embeddings; one file per family.

Every name in `__all__` is imported when it is first used, so that `import vmf_embeddings.archs`
does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmf_embeddings.archs.base import Arch, ClassSpec
    from vmf_embeddings.archs.cifar_resnet import CifarResNet, ThinResNet
    from vmf_embeddings.archs.googlenet import GoogLeNet
    from vmf_embeddings.archs.identity import Identity
    from vmf_embeddings.archs.n_digit_mnist import NDigitMnist
    from vmf_embeddings.archs.resnet import ResNet, ResNet18, ResNet50
    from vmf_embeddings.archs.resnet_feature import (
        ResNet10Feature,
        ResNet50Feature,
        ResNet152Feature,
        ResNext50Feature,
    )
    from vmf_embeddings.archs.timm_net import TimmNet

__all__ = [
    "Arch",
    "CifarResNet",
    "ClassSpec",
    "GoogLeNet",
    "Identity",
    "NDigitMnist",
    "ResNet",
    "ResNet10Feature",
    "ResNet152Feature",
    "ResNet18",
    "ResNet50",
    "ResNet50Feature",
    "ResNext50Feature",
    "ThinResNet",
    "TimmNet",
]

_MODULE_OF = {
    "Arch": "base",
    "CifarResNet": "cifar_resnet",
    "ClassSpec": "base",
    "GoogLeNet": "googlenet",
    "Identity": "identity",
    "NDigitMnist": "n_digit_mnist",
    "ResNet": "resnet",
    "ResNet10Feature": "resnet_feature",
    "ResNet152Feature": "resnet_feature",
    "ResNet18": "resnet",
    "ResNet50": "resnet",
    "ResNet50Feature": "resnet_feature",
    "ResNext50Feature": "resnet_feature",
    "ThinResNet": "cifar_resnet",
    "TimmNet": "timm_net",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
