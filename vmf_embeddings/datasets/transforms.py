"""The transforms of image files by recipe: that of training, and that of evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.datasets.affine import RandomAffine
from vmf_embeddings.datasets.augment import random_cutout, random_occlusion
from vmf_embeddings.datasets.augmentation_recipes import Recipe
from vmf_embeddings.datasets.autoaugment_operations import FILL
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.normalisation import IMAGENET_MEAN, IMAGENET_STD, ReverseChannels
from vmf_embeddings.untrusted.image_pixels import WHITE, Colour

# Eigenvalues and eigenvectors of the covariance of ImageNet's RGB values in [0, 1]; a row of
# COLOUR_AXES is a channel, a column an eigenvector.
COLOUR_VARIANCES = (0.2175, 0.0188, 0.0045)
COLOUR_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
ENLARGE = 256 / 224  # size before the crop over the size of the crop


@dataclass(frozen=True)
class Occlusion:
    """Sets a random square of a normalised image [channels, H, W] to 0."""

    size: int

    def __call__(self, image: Tensor) -> Tensor:
        """The image itself, changed in place."""
        return random_occlusion(image[None], self.size)[0]


@dataclass(frozen=True)
class Cutout:
    """Sets a random square of an image [channels, H, W] to 0 (black), before normalisation."""

    size: int

    def __call__(self, image: Tensor) -> Tensor:
        """A copy with the square, same shape."""
        return random_cutout(image[None], self.size)[0]


@dataclass(frozen=True)
class Lighting:
    """Shifts the colour of an image along the principal components of ImageNet's colours.

    Krizhevsky et al. 2012 (https://doi.org/10.1145/3065386), section 4.1: c + P (a * l), where the
    three a are normal, and P and l are eigenvectors and eigenvalues of RGB covariances in [0, 1].

    Attributes:
        std: standard deviation of a.
    """

    std: float

    def __call__(self, image: Tensor) -> Tensor:
        """A shifted copy of [3, H, W]; values may leave [0, 1]."""
        weights = self.std * torch.randn(3) * torch.tensor(COLOUR_VARIANCES)
        return image + (torch.tensor(COLOUR_AXES) @ weights).view(3, 1, 1)


@dataclass(frozen=True)
class Blur:
    """Blurs a Pillow image by a Gaussian of random width with a given probability."""

    probability: float
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels

    def __call__(self, image: Any) -> Any:
        """A blurred copy, or the image itself."""
        from PIL import ImageFilter

        chance, position = torch.rand(2).tolist()
        if chance >= self.probability:
            return image
        low, high = self.sigma
        return image.filter(ImageFilter.GaussianBlur(low + (high - low) * position))


def build_transform(
    recipe: Recipe,
    *,
    image_size: int,
    augment: bool,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    bgr: bool = False,
    background: Colour | None = WHITE,
    interpolation: str = "bilinear",
    crop_fraction: float | None = None,
) -> Callable[[Any], Tensor]:
    """The transform of RGB Pillow images of any size.

    Small images are enlarged. Random numbers come from torch's default generator, which a
    DataLoader seeds anew in every worker and epoch.

    Args:
        recipe: options, see `RECIPES`.
        image_size: side of the result in pixels, >= 1.
        augment: True for the random training transform, False for `evaluation_transform`.
        mean: per channel, of values in [0, 1].
        std: per channel, > 0.
        bgr: whether the channels are reversed after normalising.
        background: see `ImageTransform`; used where the transform is that of the evaluation, the
            others take images that are RGB.
        interpolation: of all resizing, see `ImageTransform`.
        crop_fraction: side of the centre crop over the short side of the resized image at
            evaluation, in (0, 1]; None = as the recipe says, mostly 7/8.

    Returns:
        A picklable callable that gives float32 [3, image_size, image_size].
    """
    if not augment or recipe.crop == "centre":
        return evaluation_transform(
            recipe,
            image_size=image_size,
            mean=mean,
            std=std,
            bgr=bgr,
            background=background,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
        )
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    colours = _colour_steps(recipe)
    resampling = transforms.InterpolationMode(interpolation)
    crop = _crop_steps(recipe, image_size, resampling)
    steps: list[Any] = []
    if recipe.resize_first:
        larger = size_before_crop(recipe, image_size)
        size = (larger, larger) if recipe.squash else larger
        steps.append(transforms.Resize(size, resampling))
        steps += colours + crop
    else:
        steps += crop + colours
    if recipe.autoaugment:
        policy = transforms.AutoAugmentPolicy.CIFAR10
        steps.append(transforms.AutoAugment(policy, fill=[int(FILL)] * 3))
    steps.append(transforms.ToTensor())
    steps += _steps_of_values(recipe, image_size)
    steps.append(transforms.Normalize(tuple(mean), tuple(std)))
    if bgr:
        steps.append(ReverseChannels())
    if recipe.occlusion:
        steps.append(Occlusion(max(1, round(image_size * recipe.occlusion))))
    return transforms.Compose(steps)


def evaluation_transform(
    recipe: Recipe,
    *,
    image_size: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    bgr: bool = False,
    background: Colour | None = WHITE,
    interpolation: str = "bilinear",
    crop_fraction: float | None = None,
) -> ImageTransform:
    """Resize as the recipe says, then centre crop; for the arguments see `build_transform`."""
    return ImageTransform(
        size=(image_size, image_size),
        resize=size_before_crop(recipe, image_size)
        if crop_fraction is None
        else int(image_size / crop_fraction),
        squash=recipe.squash,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        bgr=bgr,
        background=background,
        interpolation=interpolation,
    )


def size_before_crop(recipe: Recipe, image_size: int) -> int:
    """Side in pixels that the recipe resizes an image to before it crops `image_size`."""
    if recipe.crop in ("shifted", "affine"):
        return image_size
    usual = round(image_size * ENLARGE)
    fits = recipe.resize is not None and image_size <= recipe.resize <= usual
    return recipe.resize if fits else usual


def _crop_steps(recipe: Recipe, image_size: int, resampling: Any) -> list[Any]:
    from torchvision import transforms

    if recipe.crop == "affine":
        return [transforms.CenterCrop(image_size)]
    steps: list[Any] = []
    if recipe.crop == "random_resized":
        steps.append(
            transforms.RandomResizedCrop(
                image_size, scale=recipe.scale, ratio=recipe.ratio, interpolation=resampling
            )
        )
    elif recipe.crop == "random":
        steps.append(transforms.RandomCrop(image_size))
    else:
        shift = {"padding": image_size // 8, "padding_mode": recipe.border}
        steps.append(transforms.CenterCrop(image_size))
        steps.append(transforms.RandomCrop(image_size, **shift))
    steps.append(transforms.RandomHorizontalFlip())
    return steps


def _colour_steps(recipe: Recipe) -> list[Any]:
    from torchvision import transforms

    steps: list[Any] = []
    if recipe.jitter is not None:
        steps.append(transforms.ColorJitter(*recipe.jitter))
    if recipe.grey:
        steps.insert(0 if recipe.grey_first else 1, transforms.RandomGrayscale(recipe.grey))
    if recipe.blur:
        steps.append(Blur(recipe.blur))
    return steps


def _steps_of_values(recipe: Recipe, image_size: int) -> list[Any]:
    """What is done with values in 0..1, before normalising."""
    steps: list[Any] = [RandomAffine()] if recipe.crop == "affine" else []
    if recipe.lighting:
        steps.append(Lighting(recipe.lighting))
    if recipe.cutout:
        steps.append(Cutout(round(image_size * recipe.cutout)))
    return steps
