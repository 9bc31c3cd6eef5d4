"""A small convolutional net for 28x28 grey-scale digits, or for N of them side by side.

Scott, Gallagher, Mozer 2021, "von Mises-Fisher Loss", https://arxiv.org/abs/2103.15718: its MNIST
and FashionMNIST net.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec, Confidence, embedding_layer


class NDigitMnist(Arch):
    """Two 5x5 convolutions, a hidden layer of 120, D outputs; images [B, 1, 28, 28 * n_digits]."""

    reference_layers = {
        "0": "conv1",
        "1": "bn1",
        "4": "conv2",
        "5": "bn2",
        "9": "hidden",
        "10": "bn3",
        "12": "projection",
    }

    def __init__(
        self,
        n_digits: int,
        embedding_dim: int,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        normalize: bool,
        projection: str = "linear",
        frozen: bool = False,
    ) -> None:
        if n_digits < 1:
            raise ValueError(f"arch.params.n_digits must be at least 1, got {n_digits}.")
        super().__init__(
            ClassSpec(n_classes, embedding_dim, use_vmf, learn_temp, init_temp, kappa_confidence),
            normalize=normalize,
        )
        self.n_digits = n_digits
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.bn2 = nn.BatchNorm2d(16)
        self.hidden = nn.Linear(16 * 7 * 7 * n_digits, 120)
        self.bn3 = nn.BatchNorm1d(120)
        self.n_features = 120
        self.projection = embedding_layer(projection, self.n_features, embedding_dim)
        for layer in (self.conv1, self.conv2, self.hidden, self.projection):
            if not isinstance(layer, nn.Identity):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        if frozen:
            self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Images [B, 1, 28, 28 * n_digits], values in [0, 1] -> hidden layer [B, 120]."""
        expected = (1, 28, 28 * self.n_digits)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"n_digit_mnist with n_digits={self.n_digits} takes images {expected}, got "
                f"{tuple(images.shape[1:])}; for larger or coloured images use arch=resnet18."
            )
        # relu after pooling: the same values and gradients on a quarter of the pixels
        maps = nn.functional.max_pool2d(self.bn1(self.conv1(images)), 2).relu()
        maps = nn.functional.max_pool2d(self.bn2(self.conv2(maps)), 2).relu()
        return self.bn3(self.hidden(maps.flatten(1))).relu()

    @torch.no_grad()
    def init_class_weights(self, weight: Tensor) -> None:
        """Xavier-uniform, as in every layer of this net."""
        nn.init.xavier_uniform_(weight)
