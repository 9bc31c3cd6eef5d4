"""The transforms of image files: training recipes, and the evaluation transform of each."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.datasets.affine import RandomAffine
from vmf_embeddings.datasets.augment import random_cutout, random_occlusion
from vmf_embeddings.datasets.autoaugment import FILL
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.normalisation import IMAGENET_MEAN, IMAGENET_STD, ReverseChannels
from vmf_embeddings.untrusted.image_pixels import WHITE, Colour

# Eigenvalues and eigenvectors of the covariance of ImageNet's RGB values in [0, 1]; a row of
# COLOUR_AXES is a channel, a column an eigenvector.
COLOUR_VARIANCES = (0.2175, 0.0188, 0.0045)
COLOUR_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
ENLARGE = 256 / 224  # size before the crop over the size of the crop


@dataclass(frozen=True)
class Recipe:
    """Options of the training augmentation, and how images are resized in training and evaluation.

    Attributes:
        squash: resize to a square, whatever the aspect ratio; otherwise resize the short side.
        resize_first: whether training resizes, changes colours and then crops; otherwise it crops
            from the original image and changes colours afterwards.
        jitter: largest change of brightness, contrast, saturation and hue, as in torchvision's
            `ColorJitter`; None = none.
        scale: range of the area of the random crop, as a fraction of the image.
        ratio: range of its aspect ratio.
        crop: "random_resized", "shifted" (centre crop, shifted by up to an eighth), "random" (of
            the resized image), "centre", or "affine" (the whole image, turned, shifted and scaled a
            little, see `RandomAffine`); all but the last two also reflect half of the images.
        resize: size in pixels before the crop; used where it lies between `image_size` and 8/7 of
            it, otherwise images are resized to 8/7 of `image_size`.
        size: the only `image_size` that the recipe supports; None = any.
        border: how "shifted" pads the image: "reflect" or "constant" (black).
        autoaugment: whether AutoAugment's policies for CIFAR10 are applied.
        grey: probability of the conversion to grey.
        grey_first: whether that precedes the jitter.
        blur: probability of a Gaussian blur with a standard deviation of 0.1 to 2 pixels.
        lighting: standard deviation of the shift along ImageNet's colour axes; 0 = none.
        cutout: side of a black square, as a fraction of the image's side; it is cut at the border.
            0 = none.
        occlusion: side of a square of the mean colour inside the image, as a fraction of its side;
            0 = none.
    """

    squash: bool = False
    resize_first: bool = True
    jitter: tuple[float, float, float, float] | None = None
    scale: tuple[float, float] = (0.16, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop: str = "random_resized"
    resize: int | None = None
    size: int | None = None
    border: str = "reflect"
    autoaugment: bool = False
    grey: float = 0.0
    grey_first: bool = False
    blur: float = 0.0
    lighting: float = 0.0
    cutout: float = 0.0
    occlusion: float = 0.0


_JITTER = (0.4, 0.4, 0.4, 0.0)
_INAT = Recipe(resize_first=False, scale=(0.08, 1.0))
_BASE = replace(_INAT, resize=256)

RECIPES = {
    "none": Recipe(crop="centre"),
    "cub": Recipe(jitter=(0.25, 0.25, 0.25, 0.0)),
    "cars": Recipe(squash=True, jitter=(0.3, 0.3, 0.3, 0.1), ratio=(1.0, 1.0)),
    "sop": Recipe(squash=True),
    "cifar": Recipe(crop="shifted", occlusion=0.25),
    "gentle": Recipe(crop="affine", jitter=(0.2, 0.2, 0.2, 0.0)),
    "crop_flip": Recipe(crop="shifted", border="constant"),
    "balms": Recipe(crop="shifted", border="constant", autoaugment=True, cutout=0.5),
    "inat": _INAT,
    "decoupling": replace(_INAT, jitter=_JITTER),
    "tvmf": replace(_INAT, jitter=_JITTER, lighting=0.1),
    "glmc": replace(_INAT, jitter=_JITTER, grey=0.2, blur=0.5),
    "base": _BASE,
    "big": replace(_BASE, size=256),
    "adv": replace(_BASE, jitter=(0.2,) * 4, grey=0.2, grey_first=True),
    "red": Recipe(crop="random", resize=256),
    "eval": Recipe(crop="centre", resize=256),
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name, or a ValueError that lists the names."""
    if name in RECIPES:
        return RECIPES[name]
    close = difflib.get_close_matches(str(name), RECIPES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"unknown dataset.params.augment={name}{hint} Known: {', '.join(RECIPES)}.")


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
        larger = _size_before_crop(recipe, image_size)
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
        resize=_size_before_crop(recipe, image_size)
        if crop_fraction is None
        else int(image_size / crop_fraction),
        squash=recipe.squash,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        bgr=bgr,
        background=background,
        interpolation=interpolation,
    )


def _size_before_crop(recipe: Recipe, image_size: int) -> int:
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
