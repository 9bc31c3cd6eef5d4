"""Random rotations, shifts and scales: range, repeated borders, and no reflection."""

import math

import torch
from PIL import Image

from vmf_embeddings.datasets.affine import RandomAffine
from vmf_embeddings.datasets.augmentation_recipes import recipe_named
from vmf_embeddings.datasets.transforms import build_transform


def ramps(side: int = 65) -> torch.Tensor:
    """Channels whose values are the coordinates of a pixel in -1..1, across and down."""
    line = torch.linspace(-1, 1, side)
    return torch.stack([line.expand(side, side), line[:, None].expand(side, side)])


def matrices(transform: RandomAffine, draws: int = 300) -> torch.Tensor:
    """The linear part of each draw, from differences of the coordinates around the centre."""
    found = []
    for seed in range(draws):
        torch.manual_seed(seed)
        moved = transform(ramps())
        across, down = moved[:, 32, 40] - moved[:, 32, 24], moved[:, 40, 32] - moved[:, 24, 32]
        found.append(torch.stack([across, down], 1) / 0.5)
    return torch.stack(found)


def test_angles_and_sizes_fill_their_ranges_and_nothing_is_reflected():
    found = matrices(RandomAffine(degrees=10, shift=0.0, scale=(0.8, 1.25)))
    determinants = torch.linalg.det(found)
    assert (determinants > 0).all()  # a reflection would make it negative
    size = determinants.rsqrt()
    assert 0.8 - 1e-3 <= size.min() < 0.83 and 1.2 < size.max() <= 1.25 + 1e-3
    angle = torch.atan2(found[:, 1, 0], found[:, 0, 0]) * 180 / math.pi
    assert -10.01 < angle.min() < -9.5 and 9.5 < angle.max() < 10.01


def test_without_ranges_the_image_stays_and_borders_are_repeated():
    image = torch.rand(3, 9, 9)
    same = RandomAffine(degrees=0, shift=0, scale=(1, 1))(image)
    torch.testing.assert_close(same, image)
    white = torch.ones(1, 9, 9)
    for seed in range(20):
        torch.manual_seed(seed)
        torch.testing.assert_close(RandomAffine(shift=0.5)(white), white)


def test_the_gentle_recipe_keeps_the_whole_image_at_evaluation():
    picture = Image.new("RGB", (40, 40), "black")
    picture.paste((255, 255, 255), (1, 1, 39, 39))  # a border of one pixel
    wanted = build_transform(recipe_named("gentle"), image_size=40, augment=False)(picture)
    assert wanted[:, 0].max() < wanted[:, 20, 20].min()
    assert build_transform(recipe_named("gentle"), image_size=40, augment=True)(picture).shape == (
        3,
        40,
        40,
    )
