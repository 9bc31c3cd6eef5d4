"""The batched augmentation has the law of the per-picture one."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.datasets.augment import Augmentation, random_crop_flip, random_occlusion

PAD = 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def variants():
    """Bytes of every crop and mirror image that torchvision can make of a picture -> number."""
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import functional

    picture = torch.arange(32 * 32, dtype=torch.int32).view(1, 32, 32)
    padded = functional.pad(picture.float(), PAD, padding_mode="reflect").int()
    crops = [
        padded[:, top : top + 32, left : left + 32]
        for top in range(2 * PAD + 1)
        for left in range(2 * PAD + 1)
    ]
    both = [image.contiguous() for crop in crops for image in (crop, functional.hflip(crop))]
    return picture, {image.numpy().tobytes(): i for i, image in enumerate(both)}


@pytest.fixture(scope="module")
def drawn(variants):
    picture, number = variants
    batch = picture.expand(9720, 1, 32, 32)
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


def test_pictures_need_not_be_square():
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


@pytest.mark.parametrize("step", ["before_normalising", "after_normalising"])
def test_a_generator_decides_everything(step):
    images = torch.rand(16, 3, 32, 32, generator=seeded())
    apply = getattr(Augmentation(occlusion=8), step)
    first = apply(images.clone(), seeded(1))
    torch.manual_seed(5)
    assert torch.equal(apply(images.clone(), seeded(1)), first)
    assert not torch.equal(apply(images.clone(), seeded(2)), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_runs_where_the_images_are():
    images = torch.rand(16, 3, 32, 32, device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    augment = Augmentation(occlusion=8)
    moved = augment.before_normalising(images, generator)
    assert augment.after_normalising(moved, generator).device == images.device
