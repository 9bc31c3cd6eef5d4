"""Small random rotations, shifts and changes of size: the same picture, held a little otherwise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomAffine:
    """Rotates, shifts and scales an image; what enters at its borders repeats their pixels.

    No reflection: that turns b into d, and one arrow into another.

    Attributes:
        degrees: largest angle of the rotation.
        shift: largest shift along either axis, as a fraction of the side.
        scale: range of the factor by which the content grows, drawn evenly on a logarithmic scale.
    """

    degrees: float = 12.0
    shift: float = 0.08
    scale: tuple[float, float] = (0.85, 1.25)

    def __call__(self, image: Tensor) -> Tensor:
        """Float image [channels, H, W] -> the same shape; draws from torch's default generator."""
        angle, across, down, size = torch.rand(4, dtype=torch.float64).tolist()
        angle = math.radians(self.degrees) * (2 * angle - 1)
        low, high = (math.log(bound) for bound in self.scale)
        inverse = math.exp(-(low + (high - low) * size))
        cosine, sine = inverse * math.cos(angle), inverse * math.sin(angle)
        # of coordinates in -1..1, where a shift by the whole side is 2
        x, y = 2 * self.shift * (2 * across - 1), 2 * self.shift * (2 * down - 1)
        matrix = torch.tensor([[[cosine, -sine, x], [sine, cosine, y]]], dtype=image.dtype)
        batch = image[None]
        grid = torch.nn.functional.affine_grid(matrix, list(batch.shape), align_corners=False)
        return torch.nn.functional.grid_sample(
            batch, grid, padding_mode="border", align_corners=False
        )[0]
