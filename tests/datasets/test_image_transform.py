"""The evaluation transform as plain values gives a data set's own tensors to the last bit."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.datasets.benchmarks import CONF, build
from tests.datasets.images import draw
from tests.datasets.test_cifar import write_binary
from tests.datasets.test_mnist import write_mnist
from vmf_embeddings.datasets.augmentation_recipes import RECIPES
from vmf_embeddings.datasets.cifar import Cifar10, Cifar100
from vmf_embeddings.datasets.digits import Digits, DigitsOpen
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.long_tailed import LongTailed
from vmf_embeddings.datasets.long_tailed_sets import DigitsLT
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.datasets.transforms import evaluation_transform
from vmf_embeddings.untrusted.images import read_image
from vmf_embeddings.untrusted.refused import Refused

PHOTOGRAPHS = ("cars196", "csv", "cub200", "folder", "image_list", "imagenet", "imagenet_lt")
PHOTOGRAPHS += ("inat2018", "inat2019", "inshop", "places_lt", "sop")
CIFAR = {"cifar10": Cifar10, "cifar100": Cifar100, "cifar10_lt": Cifar10, "cifar100_lt": Cifar100}
MNIST = {"mnist": "MNIST", "mnist_open": "MNIST", "mnist_lt": "MNIST"}
MNIST |= {"fashion_mnist": "FashionMNIST"}
TRANSFORM = ImageTransform(size=(24, 32), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


def pixels(height, width, channels=3, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    return values.astype(np.uint8)


def photographs(name, root, **overrides):
    """A data set of image files over three drawn files, whatever its lists look like."""
    sizes = {"0.png": (40, 30), "1.jpg": (300, 241), "2.png": (17, 90)}
    for number, (file, size) in enumerate(sizes.items()):
        draw(root / file, seed=number, size=size)
    if name in ("csv", "folder"):
        overrides |= {"open_set": False}
    data = build(name, root, **overrides)
    data.rows = {"train": Rows(list(sizes), np.zeros(3, dtype=np.int64), root)}
    data._class_name = lambda label: None
    return data


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_image_files_become_the_examples_of_their_split(name, tmp_path):
    data = photographs(name, tmp_path)
    split = data.split("train")
    for i, path in enumerate(split.paths):
        assert torch.equal(data.image_transform(read_image(path)), split.example(i))
    assert data.image_transform.size == data.image_shape[1:]


@pytest.mark.parametrize("normalisation", ["clip", "bninception"])
def test_normalisations_of_other_networks_are_kept(normalisation, tmp_path):
    data = photographs("cub200", tmp_path, normalisation=normalisation, image_size=32)
    split = data.split("train")
    back = ImageTransform.from_meta(json.loads(json.dumps(data.image_transform.to_meta())))
    assert torch.equal(back(read_image(split.paths[1])), split.example(1))
    assert back.bgr == (normalisation == "bninception")


def assert_raw_images_become_examples(data):
    for name in ("train", "valid", "test"):
        split = data.split(name)
        whole = split if hasattr(split, "images") else split.whole
        for i in (0, len(whole) // 2, len(whole) - 1):
            assert torch.equal(data.image_transform(whole.images[i]), whole.example(i))
    assert data.image_transform(whole.images[0]).shape == data.example_shape


@pytest.mark.parametrize("name", CIFAR)
def test_raw_images_of_cifar_become_its_examples(name, tmp_path):
    write_binary(tmp_path, CIFAR[name], n=100 if CIFAR[name] is Cifar10 else 1000)
    changes = {"validation": "own", "imbalance_factor": 4} if name.endswith("_lt") else {}
    assert_raw_images_become_examples(build(name, tmp_path, download=False, **changes))


@pytest.mark.parametrize("name", MNIST)
def test_raw_images_of_mnist_become_its_examples(name, tmp_path):
    write_mnist(tmp_path, title=MNIST[name])
    changes = {"imbalance_factor": 4} if name == "mnist_lt" else {}
    assert_raw_images_become_examples(build(name, tmp_path, download=False, **changes))


def long_tailed_digits(kind):
    params = yaml.safe_load((CONF / f"{kind}.yaml").read_text())["params"]
    del params["_target_"]
    return DigitsLT(**params) if kind == "digits_lt" else LongTailed(digits(), **params)


def digits():
    return Digits(margin_warmup_epochs=0, views=1)


def digits_open():
    return DigitsOpen(margin_warmup_epochs=0)


@pytest.mark.parametrize(
    "make",
    [
        digits,
        digits_open,
        lambda: long_tailed_digits("digits_lt"),
        lambda: long_tailed_digits("long_tailed"),
    ],
    ids=["digits", "digits_open", "digits_lt", "long_tailed"],
)
def test_raw_images_of_digits_become_their_examples(make):
    assert_raw_images_become_examples(make())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [(300, 200), (200, 301), (255, 256), (31, 20), (1, 7)])
def test_resizing_and_cropping_are_those_of_torchvision(recipe, size):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import transforms

    ours = evaluation_transform(RECIPES[recipe], image_size=224)
    resize = (ours.resize, ours.resize) if ours.squash else ours.resize
    reference = transforms.Compose(
        [
            transforms.Resize(resize),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(ours.mean, ours.std),
        ]
    )
    image = Image.fromarray(pixels(*size))
    assert torch.equal(ours(image), reference(image))


@pytest.mark.parametrize("channels", [1, 3])
def test_all_forms_of_an_image_give_the_same_tensor(channels):
    transform = ImageTransform(
        size=(20, 20), channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels
    )
    array = pixels(41, 30, 3)
    opaque = np.concatenate([array, np.full((41, 30, 1), 255, np.uint8)], axis=2)
    expected = transform(Image.fromarray(array))
    for form in (array, torch.from_numpy(array).permute(2, 0, 1), opaque):
        assert torch.equal(transform(form), expected)
    assert expected.shape == (channels, 20, 20)
    assert expected.dtype == torch.float32
    assert expected.is_contiguous()


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x[..., None], Image.fromarray])
def test_grey_images_become_three_equal_channels(form):
    grey = pixels(28, 28, 1)[..., 0]
    result = ImageTransform(size=(28, 28))(form(grey))
    assert torch.equal(result, torch.from_numpy(grey).expand(3, 28, 28) / 255)


def test_a_colour_image_becomes_grey_as_the_eye_weighs_it():
    green = np.zeros((28, 28, 3), np.uint8)
    green[..., 1] = 100
    transform = ImageTransform(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))
    assert torch.allclose(transform(green), torch.full((1, 28, 28), 59 / 255), atol=1 / 255)


@pytest.mark.parametrize("shape", [(24, 32), (48, 64), (10, 200), (200, 10), (24, 33), (1, 1)])
def test_any_image_covers_the_whole_result(shape):
    white = np.full((*shape, 3), 255, np.uint8)
    result = ImageTransform(size=(24, 32))(white)
    assert torch.equal(result, torch.ones(3, 24, 32))


def test_the_centre_is_what_is_kept():
    image = np.zeros((24, 96, 3), np.uint8)
    image[:, 32:64] = 255
    assert (ImageTransform(size=(24, 32))(image) == 1).all()


def test_squashing_keeps_the_whole_image():
    image = np.zeros((24, 96, 3), np.uint8)
    image[:, 48:] = 255
    result = ImageTransform(size=(24, 24), squash=True, interpolation="nearest")(image)
    assert (result[..., :12] == 0).all() and (result[..., 12:] == 1).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolation_is_pillows(interpolation):
    image = Image.fromarray(pixels(50, 50))
    expected = image.resize((20, 20), Image.Resampling[interpolation.upper()])
    result = ImageTransform(size=(20, 20), interpolation=interpolation)(image)
    assert np.array_equal((result * 255).round().permute(1, 2, 0), np.asarray(expected))


def test_the_input_is_left_as_it_was():
    image = torch.from_numpy(pixels(24, 32)).permute(2, 0, 1).contiguous()
    before = image.clone()
    TRANSFORM(image).zero_()
    assert torch.equal(image, before)


def test_a_transform_survives_pickling_and_json():
    assert pickle.loads(pickle.dumps(TRANSFORM)) == TRANSFORM
    assert ImageTransform.from_meta(json.loads(json.dumps(TRANSFORM.to_meta()))) == TRANSFORM


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (pixels(3, 28, 28), r"transpose\(1, 2, 0\)"),
        (torch.from_numpy(pixels(28, 28, 3)), r"permute\(2, 0, 1\)"),
        (torch.zeros(28, 28, dtype=torch.uint8), r"permute\(2, 0, 1\)"),
        (pixels(28, 28) / 255, "expected uint8 values"),
        (torch.zeros(3, 28, 28), "expected uint8 values"),
        (np.zeros((28, 28), np.uint16), "expected uint8 values"),
        (np.zeros((0, 28), np.uint8), "expected an image with pixels"),
        (Image.new("RGB", (0, 5)), "expected an image with pixels"),
        (Image.new("F", (5, 5), 7.0), "save it with 8 bits"),
        (Image.new("F", (5, 5), float("nan")), "save it with 8 bits"),
        (Image.new("I", (5, 5), 7), "save it with 8 bits"),
        ("a.png", "got str"),
        (pixels(1, 40000), "crop it first"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(Refused, match=message):
        ImageTransform(size=(224, 224))(image)


def test_a_file_too_narrow_to_be_resized_is_named(tmp_path):
    data = photographs("folder", tmp_path)
    Image.new("RGB", (1, 40000)).save(tmp_path / "0.png")
    with pytest.raises(Refused, match=r"0\.png.*crop it first"):
        data.split("train").example(0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", [28]),
        ("size", [28, 0]),
        ("size", [28.0, 28]),
        ("size", [True, 28]),
        ("size", [28, 10**9]),
        ("size", None),
        ("resize", 20),
        ("resize", 10**9),
        ("resize", "256"),
        ("squash", 1),
        ("squash", None),
        ("channels", 2),
        ("channels", True),
        ("channels", 1),
        ("mean", [0.0, 0.0]),
        ("mean", [float("nan"), 0.0, 0.0]),
        ("mean", ["0", 0.0, 0.0]),
        ("mean", [1e30, 0.0, 0.0]),
        ("mean", 0.5),
        ("std", [0.0, 1.0, 1.0]),
        ("std", [-1.0, 1.0, 1.0]),
        ("std", [10**5000, 1.0, 1.0]),
        ("std", None),
        ("bgr", "yes"),
        ("fused", 0),
        ("interpolation", "spline"),
        ("interpolation", ["bilinear"]),
        ("interpolation", None),
        ("background", "white"),
        ("background", [255, 255]),
        ("background", [0, 0, 256]),
        ("background", [0, 0, 1.0]),
        ("background", [True, 0, 0]),
    ],
)
def test_received_values_are_refused_by_key(key, value):
    with pytest.raises(Refused, match=f"^run.pt: .*{key}"):
        ImageTransform.from_meta({**TRANSFORM.to_meta(), key: value}, "run.pt")


def test_reversed_channels_need_three_of_them():
    grey = ImageTransform(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,)).to_meta()
    with pytest.raises(Refused, match="bgr needs 3 channels"):
        ImageTransform.from_meta({**grey, "bgr": True})


@pytest.mark.parametrize("meta", [None, [], "x", {}, {**TRANSFORM.to_meta(), "a\nb": 1}])
def test_received_objects_with_other_keys_are_refused(meta):
    with pytest.raises(Refused) as caught:
        ImageTransform.from_meta(meta)
    assert "\n" not in str(caught.value)


def test_a_transform_from_before_backgrounds_reads_as_then():
    meta = TRANSFORM.to_meta()
    del meta["background"]
    then = ImageTransform.from_meta(meta)
    assert then.background is None
    half = np.concatenate([pixels(24, 32, 3), pixels(24, 32, 1)], axis=2)
    assert torch.equal(then(half), TRANSFORM(half[..., :3]))
    assert not torch.equal(TRANSFORM(half), then(half))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_form_of_a_transparent_image_is_seen_on_the_background(channels):
    more = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    for background in [(255, 255, 255), (90, 90, 90), (0, 0, 0)]:
        grey = ImageTransform((8, 8), channels=channels, background=background, **more)
        clear = np.zeros((8, 8, 4), np.uint8)
        clear[2:6, 2:6, 3] = 255  # a black square on nothing
        expected = torch.full((channels, 8, 8), background[0] / 255)
        expected[:, 2:6, 2:6] = 0
        tensor = torch.from_numpy(clear).permute(2, 0, 1)
        for form in (clear, tensor, Image.fromarray(clear), Image.fromarray(clear).convert("LA")):
            assert torch.equal(grey(form), expected)


@pytest.mark.parametrize("make", [digits, digits_open])
def test_class_names_are_those_of_the_training_split(make):
    data = make()
    assert data.class_names == data.split("train").class_names
    assert len(data.class_names) == data.split("train").n_classes


def test_class_names_of_a_data_set_without_names_are_none(tmp_path: Path):
    assert photographs("sop", tmp_path).class_names is None
