"""The recipes of `dataset.params.augment`: how training images are cropped and changed."""

import difflib
from dataclasses import dataclass, replace


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
