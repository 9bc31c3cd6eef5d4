"""The transforms of the metric-learning benchmarks, against compositions of torchvision's."""

import pytest
import torch

from tests.datasets.benchmarks import build
from tests.datasets.test_transforms import random_image
from vmf_embeddings.datasets.augmentation_recipes import recipe_named
from vmf_embeddings.datasets.normalisation import NORMALISATIONS, normalisation_named
from vmf_embeddings.datasets.transforms import build_transform


def compose(*steps):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    made = [getattr(transforms, name)(*arguments) for name, *arguments in steps]
    normal = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return transforms.Compose([*made, transforms.ToTensor(), normal])


TRAINING = {
    "base": [("RandomResizedCrop", 224), ("RandomHorizontalFlip", 0.5)],
    "adv": [
        ("RandomResizedCrop", 224),
        ("RandomHorizontalFlip", 0.5),
        ("RandomGrayscale", 0.2),
        ("ColorJitter", 0.2, 0.2, 0.2, 0.2),
    ],
    "red": [("Resize", 256), ("RandomCrop", 224), ("RandomHorizontalFlip", 0.5)],
    "eval": [("Resize", 256), ("CenterCrop", 224)],
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_images_at_224(name):
    ours = build_transform(recipe_named(name), image_size=224, augment=True)
    reference, image = compose(*TRAINING[name]), random_image(400, 300)
    for seed in range(5):  # adv is grey in a fifth of the draws
        torch.manual_seed(seed)
        expected = reference(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)


@pytest.mark.parametrize(("name", "size"), [("base", 224), ("red", 227), ("big", 256)])
def test_evaluated_images_are_cut_from_256(name, size):
    ours = build_transform(recipe_named(name), image_size=size, augment=False)
    reference, image = compose(("Resize", 256), ("CenterCrop", size)), random_image(400, 300)
    assert torch.equal(ours(image), reference(image))


@pytest.mark.parametrize(("size", "between"), [(28, 32), (112, 128), (448, 512)])
def test_other_sizes_are_cut_from_an_eighth_more(size, between):
    ours = build_transform(recipe_named("base"), image_size=size, augment=False)
    reference, image = compose(("Resize", between), ("CenterCrop", size)), random_image(600, 500)
    assert torch.equal(ours(image), reference(image))


def test_a_net_from_caffe_gets_bytes_less_the_mean_and_blue_first(tmp_path):
    image = random_image(224, 224)
    for label, name in enumerate(("train", "val", "test")):
        image.save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"{name}.png,{label}")
    data = build("cub200", tmp_path, normalisation="bninception", augment="eval")
    seen = data.split("train")[0]["examples"]
    for step in compose(("Resize", 256), ("CenterCrop", 224)).transforms[:-1]:
        image = step(image)
    blue_first = 255 * image[[2, 1, 0]] - torch.tensor([104.0, 117.0, 128.0]).view(3, 1, 1)
    torch.testing.assert_close(seen, blue_first, rtol=0, atol=1e-4)


def test_normalisations_have_names():
    assert set(NORMALISATIONS) == {"imagenet", "clip", "bninception"}
    clip = normalisation_named("clip")
    assert [round(x, 4) for x in (*clip.mean, *clip.std)] == [
        *(0.4815, 0.4578, 0.4082),
        *(0.2686, 0.2613, 0.2758),
    ]
    with pytest.raises(ValueError, match=r"normalisation=caffe. Known: imagenet, clip"):
        normalisation_named("caffe")
