"""Principal components: the usual way to shorten embeddings that were not trained to be cut."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean and directions of largest variance of training rows.

    Attributes:
        mean: [D] float64.
        directions: [D, D] orthonormal columns, largest variance first.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, rows: Array) -> "PrincipalComponents":
        """Those of rows [N, D], N >= 1.

        Example:
            >>> found = PrincipalComponents.of([[0.0, 0.0], [1.0, 3.0], [2.0, 6.0]])
            >>> found.project([[1.0, 3.0]], 1).abs().round().tolist()
            [[0.0]]
        """
        values = as_float64(rows)
        if values.ndim != 2 or not len(values) or not torch.isfinite(values).all():
            raise ValueError(f"rows: expected finite numbers [N, D], got {list(values.shape)}")
        mean = values.mean(0)
        centred = values - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending variance
        return cls(mean, vectors.flip(1))

    def project(self, rows: Array, dim: int) -> Tensor:
        """Rows [N, D] less the mean, in the first `dim` directions: float64 [N, dim]."""
        if not 1 <= dim <= len(self.mean):
            raise ValueError(f"dim: expected 1 to {len(self.mean)}, got {dim}")
        values = torch.as_tensor(rows).to(self.mean.device)
        return torch.cat(
            [(part.double() - self.mean) @ self.directions[:, :dim] for part in values.split(4096)]
        )
