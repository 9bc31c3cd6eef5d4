"""The digits' network of 2021, its layers in the order in which they ran then."""

from torch import nn


def digits_net(embedding_dim: int = 3) -> nn.Sequential:
    """Images [B, 1, 28, 28] -> embeddings [B, embedding_dim]."""
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 7 * 7, 120), nn.BatchNorm1d(120), nn.ReLU(),
        nn.Linear(120, embedding_dim),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net
