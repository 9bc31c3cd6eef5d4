"""The batched augmentation has the distribution of the one per image."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.datasets.augment import (
    AUGMENTATIONS,
    Augmentation,
    augmentation_named,
    random_crop_flip,
    random_cutout,
    random_occlusion,
)

PAD = 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def variants():
    """Bytes of every crop and mirrored image that torchvision can make of an image -> number."""
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import functional

    image = torch.arange(32 * 32, dtype=torch.int32).view(1, 32, 32)
    padded = functional.pad(image.float(), PAD, padding_mode="reflect").int()
    crops = [
        padded[:, top : top + 32, left : left + 32]
        for top in range(2 * PAD + 1)
        for left in range(2 * PAD + 1)
    ]
    both = [image.contiguous() for crop in crops for image in (crop, functional.hflip(crop))]
    return image, {image.numpy().tobytes(): i for i, image in enumerate(both)}


@pytest.fixture(scope="module")
def drawn(variants):
    image, number = variants
    batch = image.expand(9720, 1, 32, 32)
    moved = random_crop_flip(batch, PAD, seeded())
    return np.array([number[image.numpy().tobytes()] for image in moved])


def test_all_offsets_and_mirror_images_are_equally_likely(drawn):
    """Jointly: rows, columns and mirror are independent of one another."""
    counts = np.bincount(drawn, minlength=162)
    assert chisquare(counts).pvalue > 1e-3


def test_neighbours_in_a_batch_are_independent(drawn):
    for part in (drawn % 2, drawn // 2 % 9 // 3, drawn // 18 // 3):
        pairs = part[0::2] * 3 + part[1::2]
        assert chisquare(np.unique(pairs, return_counts=True)[1]).pvalue > 1e-3


def test_channels_move_together():
    images = torch.arange(8 * 32 * 32).view(8, 1, 32, 32).repeat(1, 3, 1, 1)
    moved = random_crop_flip(images, PAD, seeded())
    assert torch.equal(moved[:, 0], moved[:, 2])


def test_images_need_not_be_square():
    images = torch.arange(2 * 5 * 9, dtype=torch.uint8).view(2, 1, 5, 9)
    assert random_crop_flip(images, 2, seeded()).shape == images.shape
    assert random_crop_flip(images, 2, seeded()).dtype == torch.uint8


def test_without_padding_only_mirror_images_remain():
    images = torch.rand(64, 3, 6, 6, generator=seeded())
    moved = random_crop_flip(images, 0, seeded())
    mirrored = (moved == images.flip(3)).flatten(1).all(1)
    same = (moved == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert mirrored.any()
    assert same.any()


def test_occlusion_is_one_square_uniform_over_all_positions():
    hidden = random_occlusion(torch.ones(12_500, 1, 32, 32), 8, seeded())[:, 0] == 0
    assert (hidden.sum((1, 2)) == 64).all()
    rows, columns = hidden.any(2), hidden.any(1)
    assert (rows.sum(1) == 8).all()
    assert (columns.sum(1) == 8).all()
    position = rows.int().argmax(1) * 25 + columns.int().argmax(1)
    assert chisquare(torch.bincount(position, minlength=625).numpy()).pvalue > 1e-3


def test_occlusion_hides_all_channels_alike_and_nothing_else():
    images = torch.rand(16, 3, 32, 32, generator=seeded()) + 1
    before = images.clone()
    occluded = random_occlusion(images, 8, seeded())
    assert torch.equal(occluded[:, 0] == 0, occluded[:, 2] == 0)
    assert torch.equal(occluded[occluded != 0], before[occluded != 0])


def test_a_black_border_is_torchvisions_and_its_offsets_are_equally_likely():
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import functional

    image = torch.arange(1, 37, dtype=torch.int32).view(1, 6, 6)
    padded = functional.pad(image, 2)
    crops = [padded[:, t : t + 6, left : left + 6] for t in range(5) for left in range(5)]
    number = {crop.numpy().tobytes(): i for i, crop in enumerate(crops)}
    assert len(number) == 25
    moved = random_crop_flip(image.expand(2500, 1, 6, 6), 2, seeded(), border="black", flip=False)
    counts = np.bincount([number[image.numpy().tobytes()] for image in moved], minlength=25)
    assert chisquare(counts).pvalue > 1e-3


def test_a_black_border_is_mirrored_with_the_image():
    images = torch.ones(400, 3, 6, 6, dtype=torch.uint8)
    moved = random_crop_flip(images, 2, seeded(), border="black")
    assert torch.equal(moved[:, 0], moved[:, 2])
    left, right = (moved[:, 0, :, column].amax(1) == 0 for column in (0, -1))
    assert not (left & right).any()
    assert abs(int(left.sum()) - int(right.sum())) < 6 * 400**0.5


def test_cutout_is_a_square_around_any_pixel_clipped_at_the_border():
    """Every pixel is the centre equally often, which no square inside has."""
    hidden = random_cutout(torch.ones(20_000, 2, 6, 6, dtype=torch.uint8), 4, seeded()) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    hidden = hidden[:, 0]
    reference = {}
    for row in range(6):
        for column in range(6):
            mask = torch.zeros(6, 6, dtype=torch.bool)
            mask[max(0, row - 2) : row + 2, max(0, column - 2) : column + 2] = True
            reference[mask.numpy().tobytes()] = 6 * row + column
    assert len(reference) == 36
    counts = np.bincount([reference[mask.numpy().tobytes()] for mask in hidden], minlength=36)
    assert chisquare(counts).pvalue > 1e-3


def test_cutout_leaves_its_argument_and_the_other_pixels_alone():
    images = torch.randint(1, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=seeded())
    before = images.clone()
    cut = random_cutout(images, 16, seeded())
    assert torch.equal(images, before)
    assert torch.equal(cut[cut != 0], before[cut != 0])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_named_augmentation_keeps_shape_type_and_reproducibility(name):
    augmentation = augmentation_named(name)
    if augmentation is None:
        return
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=seeded())
    first, again = (augmentation.before_normalising(images, seeded(4)) for _ in range(2))
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, images)


@pytest.mark.parametrize("step", ["before_normalising", "after_normalising"])
def test_a_generator_decides_everything(step):
    images = torch.rand(16, 3, 32, 32, generator=seeded())
    apply = getattr(Augmentation(occlusion=8), step)
    first = apply(images.clone(), seeded(1))
    torch.manual_seed(5)
    assert torch.equal(apply(images.clone(), seeded(1)), first)
    assert not torch.equal(apply(images.clone(), seeded(2)), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["shift", "crop_flip", "balms", "cifar"])
def test_it_runs_where_the_images_are(name):
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    augment = augmentation_named(name)
    moved = augment.before_normalising(images, generator)
    assert augment.after_normalising(moved.float(), generator).device == images.device
