"""An embedding layer that makes direction and length of an embedding of the features separately.

Kirchhof, Mucsanyi, Oh, Kasneci 2023, "URL: A Representation Learning Benchmark for Transferable
Uncertainty Estimates", https://arxiv.org/abs/2307.03810: a small network beside the
embedding predicts how sure it is.
"""

from torch import Tensor, float32, nn, promote_types
from torch.nn.functional import normalize, softplus

WIDTH = 512


class KappaLinear(nn.Linear):
    """Features f [B, F] -> kappa mu [B, D], mu the direction of W f + b, kappa = softplus(net(f)).

    The net has two hidden layers and sends no gradient to the features. Methods for von
    Mises-Fisher distributions multiply kappa by a constant, which they choose once so that training
    starts as sure as they are told.

    Args:
        n_features: F.
        embedding_dim: D >= 2.
    """

    learns_length = True

    def __init__(self, n_features: int, embedding_dim: int) -> None:
        super().__init__(n_features, embedding_dim)
        self.kappa = nn.Sequential(
            nn.Linear(n_features, WIDTH),
            nn.LeakyReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.LeakyReLU(),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, F] -> [B, D], float32 or wider."""
        direction = super().forward(features)
        kappa = self.kappa(features.detach())
        wide = promote_types(direction.dtype, float32)
        return softplus(kappa.to(wide)) * normalize(direction.to(wide), dim=-1)
