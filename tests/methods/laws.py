"""What the tests of methods share: a tiny backbone and random embeddings."""

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec


class TinyArch(Arch):
    """Images [B, 1, 4, 4] -> [B, D] through one hidden layer with BatchNorm."""

    reference_layers = {"0": "hidden", "1": "norm", "3": "projection"}

    def __init__(self, n_classes: int | None = 5, embedding_dim: int = 3, **head: object) -> None:
        super().__init__(ClassSpec(n_classes, embedding_dim, **head))
        self.hidden = nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)
        self.projection = nn.Linear(8, embedding_dim)

    def features(self, images: Tensor) -> Tensor:
        return self.norm(self.hidden(images.flatten(1))).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(self.features(images))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference_checkpoint(method: nn.Module, **extras: object) -> dict:
    """What 2021 would have saved for a method on a TinyArch: every layer twice, temp [1, 1].

    The class weights are the encoder's last layer.
    """
    places = {layer: place for place, layer in TinyArch.reference_layers.items()}
    state = {"temp": torch.full((1, 1), -1.5), "encoder.4.weight": normal(5, 3).float()}
    for key, tensor in method.arch.state_dict().items():
        layer, _, rest = key.partition(".")
        state[f"encoder.{places[layer]}.{rest}"] = state[f"own.{layer}.{rest}"] = tensor + 1
    return {"epoch": 3, "arch_state_dict": state, **extras}
