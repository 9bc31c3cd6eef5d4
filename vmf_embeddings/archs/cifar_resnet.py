"""Residual networks for 32x32 images whose embeddings are their averaged last feature maps.

He, Zhang, Ren, Sun 2016, "Deep Residual Learning", section 4.2, https://arxiv.org/abs/1512.03385.

`ThinResNet` has three stages and shortcuts without parameters ("option A" of the paper), the usual
net of long-tailed CIFAR; `CifarResNet` has the four stages of ImageNet's nets behind a 3x3
convolution, and shortcuts of 1x1 convolutions. Neither pools before the last feature maps.
"""

from collections.abc import Callable

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence, refuse_other_width

# of convolutions: N(0, 2 / fan_in), or U(-fan_in^-1/2, fan_in^-1/2), smaller by a factor 6^1/2
INITIAL_WEIGHTS = ("kaiming", "torch")
DEEP = {18: ("basic", (2, 2, 2, 2)), 34: ("basic", (3, 4, 6, 3)), 50: ("bottleneck", (3, 4, 6, 3))}


class SubsampledShortcut(nn.Module):
    """Option A: every `stride`-th pixel, new channels zero, half of them on either side."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        before = (n_out - n_in) // 2
        self.padding = (0, 0, 0, 0, before, n_out - n_in - before)
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, n_in, H, W] -> [B, n_out, ceil(H / stride), ceil(W / stride)]."""
        return nn.functional.pad(maps[:, :, :: self.stride, :: self.stride], self.padding)


def projected_shortcut(n_in: int, n_out: int, stride: int) -> nn.Module:
    """Option B: a 1x1 convolution and a BatchNorm."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


class Block(nn.Module):
    """relu(branch + shortcut): two 3x3 convolutions, or 1x1, 3x3, 1x1 at a quarter of the width.

    Args:
        n_in: input channels.
        n_out: output channels.
        stride: of the first 3x3 convolution.
        shortcut: builds the shortcut from (n_in, n_out, stride) where the shape changes.
        bottleneck: whether the 3x3 convolution has n_out / 4 channels.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        stride: int,
        shortcut: Callable[[int, int, int], nn.Module],
        *,
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        if bottleneck:
            inner = n_out // 4
            plan = [(n_in, inner, 1, 1), (inner, inner, 3, stride), (inner, n_out, 1, 1)]
        else:
            plan = [(n_in, n_out, 3, stride), (n_out, n_out, 3, 1)]
        layers: list[nn.Module] = []
        for before, after, size, step in plan:
            layers += [
                nn.Conv2d(before, after, size, step, padding=size // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.branch = nn.Sequential(*layers[:-1])
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else shortcut(n_in, n_out, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, n_in, H, W] -> [B, n_out, ceil(H / stride), ceil(W / stride)]."""
        return (self.branch(maps) + self.shortcut(maps)).relu()


class _Stages(Arch):
    """A 3x3 convolution, stages of blocks that halve the maps from the second on, a mean."""

    def __init__(
        self,
        head: ClassSpec,
        normalize: bool,
        in_channels: int,
        stem: int,
        widths: tuple[int, ...],
        n_blocks: tuple[int, ...],
        shortcut: Callable[[int, int, int], nn.Module],
        bottleneck: bool,
        init: str = "kaiming",
        frozen: bool = False,
    ) -> None:
        if init not in INITIAL_WEIGHTS:
            raise ValueError(
                f"arch.params.init must be one of {', '.join(INITIAL_WEIGHTS)}, got {init!r}."
            )
        super().__init__(head, normalize=normalize)
        refuse_other_width(head.embedding_dim, widths[-1])
        self.n_features = widths[-1]
        self.projection = nn.Identity()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        blocks, n_in = [], stem
        for stage, (width, count) in enumerate(zip(widths, n_blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Block(n_in, width, stride, shortcut, bottleneck=bottleneck))
                n_in = width
        self.blocks = nn.Sequential(*blocks)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and init == "kaiming":
                nn.init.kaiming_normal_(layer.weight)
        if frozen:
            self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] of any size -> averaged last maps [B, D], >= 0."""
        return self.blocks(self.stem(images)).mean((2, 3))


class ThinResNet(_Stages):
    """Three stages of (depth - 2) / 6 basic blocks, `width`, 2 `width` and 4 `width` channels wide.

    Depth 32 and width 16 is the net of the paper, D = 64; width 64 is called resnet32 in
    GLMC, D = 256. `conf/arch/resnet32.yaml` documents the arguments.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        depth: int,
        width: int,
        in_channels: int,
        normalize: bool,
        frozen: bool = False,
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"arch.params.depth must be 6 n + 2 (8, 14, 20, 32, …), got {depth}.")
        if width < 1:
            raise ValueError(f"arch.params.width must be at least 1, got {width}.")
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize,
            in_channels,
            stem=width,
            widths=(width, 2 * width, 4 * width),
            n_blocks=((depth - 2) // 6,) * 3,
            shortcut=SubsampledShortcut,
            bottleneck=False,
            frozen=frozen,
        )


class CifarResNet(_Stages):
    """The four stages of ResNet-18, 34 or 50, 64 to 512 (50: 256 to 2048) channels wide.

    `conf/arch/resnet34_cifar.yaml` documents the arguments.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        depth: int,
        init: str,
        in_channels: int,
        normalize: bool,
        frozen: bool = False,
    ) -> None:
        if depth not in DEEP:
            raise ValueError(f"arch.params.depth must be one of {sorted(DEEP)}, got {depth}.")
        kind, n_blocks = DEEP[depth]
        bottleneck = kind == "bottleneck"
        first = 256 if bottleneck else 64
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize,
            in_channels,
            stem=64,
            widths=(first, 2 * first, 4 * first, 8 * first),
            n_blocks=n_blocks,
            shortcut=projected_shortcut,
            bottleneck=bottleneck,
            init=init,
            frozen=frozen,
        )
