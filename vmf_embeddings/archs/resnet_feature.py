"""Residual networks whose embeddings are their features: averaged last maps, no projection.

He, Zhang, Ren, Sun 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385, and Xie et al.
2017, "Aggregated Residual Transformations", https://arxiv.org/abs/1611.05431.

Backbones of long-tailed recognition, trained from scratch or from a file. Every BatchNorm is
initialised with scale 1 and shift 0. Features are outputs of a ReLU, so embeddings are >= 0.
"""

from vmf_embeddings.archs.resnet import ResNet


class ResNet10Feature(ResNet):
    """Basic blocks [1, 1, 1, 1]: 512 features, 4.9 million parameters."""

    depth_name = "resnet10"
    basic_blocks = (1, 1, 1, 1)
    embeds_features = True
    zero_init_residual = False


class ResNet50Feature(ResNet):
    """Bottleneck blocks [3, 4, 6, 3], stride in the 3x3: 2048 features, 23.5 million parameters."""

    depth_name = "resnet50"
    embeds_features = True
    zero_init_residual = False


class ResNet152Feature(ResNet):
    """Bottleneck blocks [3, 8, 36, 3]: 2048 features, 58.1 million parameters."""

    depth_name = "resnet152"
    embeds_features = True
    zero_init_residual = False


class ResNext50Feature(ResNet):
    """Bottlenecks [3, 4, 6, 3] of 32 groups, 4 wide: 2048 features, 23.0 million parameters."""

    depth_name = "resnext50_32x4d"
    embeds_features = True
    zero_init_residual = False
