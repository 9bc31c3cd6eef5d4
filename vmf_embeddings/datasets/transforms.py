"""From a decoded picture to the tensor a network wants: the recipes of the image-file data sets."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.datasets.augment import random_occlusion

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ENLARGE = 256 / 224  # pictures are resized to this times the size of the final crop


@dataclass(frozen=True)
class Recipe:
    """How pictures are cut for training, and resized for both training and evaluation.

    Attributes:
        squash: resize to a square, whatever the aspect ratio; otherwise the short side is resized.
        jitter: largest change of brightness, contrast, saturation and hue; None leaves colours
            alone.
        ratio: range of aspect ratios of the random crop, which covers 16% to 100% of the picture.
        crop: "random_resized", "shifted" (centre crop, moved by up to an eighth) or "centre".
        occlusion: side of a square that is set to the mean colour, as a share of the image; 0 =
            none.
    """

    squash: bool = False
    jitter: tuple[float, float, float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop: str = "random_resized"
    occlusion: float = 0.0


RECIPES = {
    "none": Recipe(crop="centre"),
    "cub": Recipe(jitter=(0.25, 0.25, 0.25, 0.0)),
    "cars": Recipe(squash=True, jitter=(0.3, 0.3, 0.3, 0.1), ratio=(1.0, 1.0)),
    "sop": Recipe(squash=True),
    "cifar": Recipe(crop="shifted", occlusion=0.25),
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
    """Sets a random square of a normalised picture [channels, H, W] to 0."""

    size: int

    def __call__(self, image: Tensor) -> Tensor:
        """The occluded copy, same shape."""
        return random_occlusion(image[None], self.size)[0]


def build_transform(
    recipe: Recipe,
    *,
    image_size: int,
    augment: bool,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Callable[[Any], Tensor]:
    """Transform of a PIL image of any size, in RGB.

    Small pictures are enlarged. Randomness comes from torch's default generator, which a DataLoader
    seeds anew in every worker and epoch.

    Args:
        recipe: what to do.
        image_size: side of the result in pixels, >= 1.
        augment: the training version; otherwise resize and cut out the centre.
        mean: per channel, of values in [0, 1].
        std: per channel, > 0.

    Returns:
        A picklable callable that gives float32 [3, image_size, image_size].
    """
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    larger = image_size if recipe.crop == "shifted" else round(image_size * ENLARGE)
    steps: list[Any] = [transforms.Resize((larger, larger) if recipe.squash else larger)]
    if augment and recipe.crop != "centre":
        steps += _random_steps(recipe, image_size)
    else:
        steps.append(transforms.CenterCrop(image_size))
    steps += [transforms.ToTensor(), transforms.Normalize(tuple(mean), tuple(std))]
    if augment and recipe.occlusion:
        steps.append(Occlusion(max(1, round(image_size * recipe.occlusion))))
    return transforms.Compose(steps)


def _random_steps(recipe: Recipe, image_size: int) -> list[Any]:
    from torchvision import transforms

    steps: list[Any] = []
    if recipe.jitter is not None:
        steps.append(transforms.ColorJitter(*recipe.jitter))
    if recipe.crop == "random_resized":
        steps.append(
            transforms.RandomResizedCrop(image_size, scale=(0.16, 1.0), ratio=recipe.ratio)
        )
    else:
        steps.append(transforms.CenterCrop(image_size))
        steps.append(
            transforms.RandomCrop(image_size, padding=image_size // 8, padding_mode="reflect")
        )
    steps.append(transforms.RandomHorizontalFlip())
    return steps


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and standard deviations that are not three numbers, the latter positive."""
    if len(mean) != 3 or len(std) != 3 or not (torch.tensor(list(std)) > 0).all():
        raise ValueError(
            "dataset.params.mean and dataset.params.std need three numbers each, std > 0; "
            f"got mean={list(mean)}, std={list(std)}"
        )
