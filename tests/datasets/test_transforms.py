"""The recipes for image files."""

import numpy as np
import pytest
import torch
from PIL import Image

from vmf_embeddings.datasets.augmentation_recipes import RECIPES, recipe_named
from vmf_embeddings.datasets.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Blur,
    Cutout,
    Lighting,
    build_transform,
)


def random_image(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [(300, 200), (20, 31), (1, 1)])
def test_every_image_gets_the_wanted_size(name, augment, size):
    transform = build_transform(recipe_named(name), image_size=24, augment=augment)
    result = transform(random_image(*size))
    assert result.shape == (3, 24, 24)
    assert result.isfinite().all()


@pytest.mark.parametrize("name", ["cub", "cars", "sop"])
def test_evaluation_at_224_is_that_of_2021(name):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    reference = transforms.Compose(
        [
            transforms.Resize(256 if name == "cub" else (256, 256)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    ours = build_transform(recipe_named(name), image_size=224, augment=False)
    image = random_image(400, 300)
    assert torch.equal(ours(image), reference(image))


REFERENCE_2021 = {
    "cub": (256, (0.25, 0.25, 0.25, 0.0), (3 / 4, 4 / 3)),
    "cars": ((256, 256), (0.3, 0.3, 0.3, 0.1), (1.0, 1.0)),
    "sop": ((256, 256), None, (3 / 4, 4 / 3)),
}


@pytest.mark.parametrize("name", REFERENCE_2021)
def test_training_at_224_is_that_of_2021(name):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    resize, jitter, ratio = REFERENCE_2021[name]
    reference = transforms.Compose(
        [
            transforms.Resize(resize),
            *([transforms.ColorJitter(*jitter)] if jitter else []),
            transforms.RandomResizedCrop(224, scale=(0.16, 1.0), ratio=ratio),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    ours = build_transform(recipe_named(name), image_size=224, augment=True)
    image = random_image(400, 300)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = reference(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)


def test_lighting_moves_along_the_colour_axes_by_normal_numbers():
    values = torch.tensor([0.2175, 0.0188, 0.0045])
    first, second, third = (
        torch.tensor(axis)
        for axis in [
            (-0.5675, -0.5808, -0.5836),
            (0.7192, -0.0045, -0.6948),
            (0.4009, -0.8140, 0.4203),
        ]
    )
    torch.manual_seed(0)
    a = 0.1 * torch.randn(3) * values
    expected = a[0] * first + a[1] * second + a[2] * third
    torch.manual_seed(0)
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    shift = Lighting(0.1)(image) - image
    assert expected.abs().min() > 1e-4
    torch.testing.assert_close(shift, expected.view(3, 1, 1).expand(3, 4, 5), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", ["inat", "decoupling", "tvmf"])
def test_large_sets_are_cropped_from_the_whole_image(name):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    reference = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            *([transforms.ColorJitter(0.4, 0.4, 0.4)] if name != "inat" else []),
            transforms.ToTensor(),
            *([Lighting(0.1)] if name == "tvmf" else []),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    ours = build_transform(recipe_named(name), image_size=224, augment=True)
    image = random_image(400, 300)
    torch.manual_seed(1)
    expected = reference(image)
    torch.manual_seed(1)
    assert torch.equal(ours(image), expected)


@pytest.mark.parametrize("name", ["inat", "decoupling", "tvmf", "glmc"])
def test_large_sets_are_evaluated_at_256_cut_to_224(name):
    image = random_image(400, 300)
    plain = build_transform(recipe_named("none"), image_size=224, augment=False)
    ours = build_transform(recipe_named(name), image_size=224, augment=False)
    assert torch.equal(ours(image), plain(image))


def test_glmc_loses_colour_in_a_fifth_of_the_images():
    transform = build_transform(
        recipe_named("glmc"), image_size=8, augment=True, mean=[0.0] * 3, std=[1.0] * 3
    )
    torch.manual_seed(0)
    image = random_image(20, 20)
    grey = sum(bool((y := transform(image))[0].equal(y[1])) for _ in range(200))
    assert abs(grey - 40) < 4 * (200 * 0.2 * 0.8) ** 0.5


def test_blur_happens_as_often_as_it_should_and_keeps_flat_images():
    image = random_image(9, 9)
    torch.manual_seed(0)
    blurred = sum(Blur(0.5)(image) is not image for _ in range(400))
    assert abs(blurred - 200) < 4 * 10
    assert np.ptp(np.asarray(Blur(1.0)(image)).astype(int)) <= np.ptp(np.asarray(image).astype(int))
    flat = Image.new("RGB", (9, 9), (10, 20, 30))
    assert np.array_equal(np.asarray(Blur(1.0)(flat)), np.asarray(flat))


def test_balms_cuts_out_before_normalising():
    transform = build_transform(recipe_named("balms"), image_size=32, augment=True)
    kinds = [type(step).__name__ for step in transform.transforms]
    assert kinds[-4:] == ["AutoAugment", "ToTensor", "Cutout", "Normalize"]
    assert transform.transforms[-2] == Cutout(16)
    black = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    hidden = (transform(random_image(32, 32)) - black.view(3, 1, 1)).abs().amax(0) < 1e-5
    assert hidden.sum() >= 64


def test_the_recipe_none_is_not_random():
    transform = build_transform(recipe_named("none"), image_size=24, augment=True)
    assert torch.equal(transform(random_image(30, 40)), transform(random_image(30, 40)))


def test_the_recipe_cifar_occludes_a_quarter_of_the_side():
    transform = build_transform(recipe_named("cifar"), image_size=32, augment=True)
    hidden = (transform(random_image(32, 32)) == 0).all(0)
    assert hidden.sum() == 64
    assert hidden.any(0).sum() == hidden.any(1).sum() == 8


def test_normalisation_is_the_one_asked_for():
    grey = Image.new("RGB", (8, 8), (51, 102, 255))
    transform = build_transform(
        recipe_named("none"), image_size=8, augment=False, mean=(0.2, 0.0, 0.5), std=(1, 0.2, 0.25)
    )
    expected = torch.tensor([0.0, 2.0, 2.0])
    torch.testing.assert_close(transform(grey)[:, 3, 3], expected, rtol=0, atol=1e-6)


def test_unknown_recipes_get_a_hint():
    with pytest.raises(ValueError, match=r"augment=car; did you mean 'cars'\? Known: none, cub"):
        recipe_named("car")
