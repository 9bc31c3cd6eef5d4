"""Corrupted images: strengths mean what they say, and pixels depend on the image and seed alone."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from vmf_embeddings.datasets.corruption import (
    GREY,
    LEVELS,
    CorruptedSplit,
    Corruptions,
    blurred,
    corrupted_split,
    noisy,
    occluded,
)
from vmf_embeddings.datasets.digits import Digits
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.untrusted.refused import Refused

EVERY = {"crop": (0.2, 0.5), "blur": (0.5, 2.0), "occlusion": (0.1, 0.4), "noise": (0.1, 0.3)}


def split(**options):
    return corrupted_split(Digits(margin_warmup_epochs=0, views=1), "valid",
                           Corruptions(EVERY, **options))  # fmt: skip


def test_rows_are_the_clean_images_then_every_level_of_every_corruption():
    found = split()
    n = len(found.clean)
    assert len(found) == 9 * n
    assert found.source.tolist() == list(range(n)) * 9
    assert found.corruption[::n].tolist() == ["clean", *(name for name in EVERY for _ in "12")]
    levels = [level for own in EVERY.values() for level in own]
    assert found.level[::n].tolist() == pytest.approx([0, *levels])
    assert torch.equal(found.labels, found.clean.labels.repeat(9))
    for row in (0, n - 1):
        assert torch.equal(found.example(row), found.clean.example(row))
        assert not torch.equal(found.example(n + row), found.clean.example(row))


def test_pixels_depend_on_the_image_and_the_seed_alone():
    once, again, other = split(), split(), split(seed=1)
    assert once.identity == again.identity != other.identity
    n = len(once.clean)
    items = torch.arange(5 * n, 9 * n, n // 2)
    alone = [once.pixels(i) for i in items.tolist()]
    backwards = reversed([*enumerate(items.tolist())])
    assert all(torch.equal(again.pixels(i), alone[k]) for k, i in backwards)
    assert not all(torch.equal(other.pixels(i), alone[k]) for k, i in enumerate(items.tolist()))
    of_two = [None] * len(items)
    for rank in (0, 1):
        rows = SequentialBatches(once, items, 3, num_workers=0, rank=rank, world=2)
        of_two[rank::2] = [one for batch in rows for one in batch["examples"]]
    wanted = [once.transform.normalised(pixels) for pixels in alone]
    assert all(map(torch.equal, of_two, wanted))


@pytest.mark.slow
def test_worker_processes_make_the_same_pixels():
    found = split()
    items = torch.arange(len(found) - 6, len(found))
    here, there = (SequentialBatches(found, items, 2, num_workers=n) for n in (0, 2))
    assert torch.equal(*(torch.cat([b["examples"] for b in one]) for one in (here, there)))


@pytest.mark.parametrize("sigma", (0.7, 1.5, 3.0))
def test_a_blurred_point_has_the_standard_deviation_that_was_asked_for(sigma):
    point = torch.zeros(1, 61, 61, dtype=torch.uint8)
    # a line of white: what is spread across it is large enough for whole numbers
    point[:, 30] = 255
    profile = blurred(point, sigma)[0, :, 30].double()
    place = torch.arange(61) - 30.0
    assert float((profile * place**2).sum() / profile.sum()) == pytest.approx(sigma**2, rel=0.06)
    assert float(profile.sum()) == pytest.approx(255, rel=0.02)


def test_a_rectangle_covers_the_share_and_grows_at_its_place():
    image = torch.zeros(3, 60, 90, dtype=torch.uint8)
    before = torch.zeros(60, 90, dtype=torch.bool)
    for level in (0.05, 0.2, 0.5):
        covered = occluded(image, level, torch.Generator().manual_seed(3))[0] == GREY
        assert float(covered.double().mean()) == pytest.approx(level, abs=0.01)
        assert covered.sum() > before.sum()
        before = covered


def test_noise_has_the_standard_deviation_that_was_asked_for():
    image = torch.full((3, 80, 80), 128, dtype=torch.uint8)
    found = noisy(image, 0.1, torch.Generator().manual_seed(0)).double() / 255
    assert float(found.std()) == pytest.approx(0.1, rel=0.02)


def test_a_crop_keeps_the_centre_of_the_decoded_image():
    height, width = 120, 200
    image = np.zeros((height, width, 3), np.uint8)
    side = math.sqrt(1 - 0.75)  # a quarter of the area is kept: half of each side
    image[30:90, 50:150] = 200
    transform = ImageTransform(size=(40, 40), resize=48)
    pixels = transform.pixels(Image.fromarray(image), side=side)
    assert int(pixels.min()) == 200  # nothing but the centre, enlarged
    assert int(transform.pixels(Image.fromarray(image)).min()) == 0
    whole = transform.pixels(Image.fromarray(image), side=1.0)
    assert torch.equal(transform.normalised(whole), transform(Image.fromarray(image)))


def test_image_files_and_images_in_memory_are_corrupted_alike(tmp_path):
    from vmf_embeddings.datasets.image_file_split import ImageFileSplit

    rng = np.random.default_rng(0)
    files = [tmp_path / f"{k}.png" for k in range(2)]
    images = rng.integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    transform = ImageTransform(size=(24, 24))
    clean = ImageFileSplit(
        torch.tensor([0, 1]), transform=transform, identity="x", n_classes=2,
        paths=[str(file) for file in files],
    )  # fmt: skip
    found = CorruptedSplit(clean, transform, Corruptions({"blur": (1.0,)}))
    assert torch.equal(found.example(1), clean.example(1))
    assert torch.equal(found.pixels(3), blurred(transform.pixels(Image.fromarray(images[1])), 1.0))


def test_what_is_no_image_is_refused():
    vectors = type("Vectors", (), {
        "image_transform": None, "name": "features", "example_shape": (5,), "split": lambda *_: 0,
    })()  # fmt: skip
    with pytest.raises(Refused, match="mode=corrupt .*feature vectors"):
        corrupted_split(vectors, "test", Corruptions(EVERY))


@pytest.mark.parametrize(
    ("levels", "words"),
    (
        ({}, "crop, blur, occlusion, noise"),
        ({"fog": (1.0,)}, "got 'fog'"),
        ({"crop": (0.5, 1.0)}, "mode.strengths.crop.*above 0 and below 1"),
        ({"blur": (0.0,)}, "mode.strengths.blur.*above 0"),
        ({"noise": (0.2, 0.1)}, "rising"),
        ({"noise": ()}, "rising"),
    ),
)
def test_levels_that_mean_nothing_are_refused(levels, words):
    with pytest.raises(ValueError, match=words):
        Corruptions(levels)
    assert set(LEVELS) == {"crop", "blur", "occlusion", "noise"}
