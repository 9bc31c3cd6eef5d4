"""Image files become the same inputs as the images that Pillow opens from them."""

import numpy as np
import pytest
import torch
from PIL import Image

from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.library.trained_inputs import ImageBatches, image_files
from vmf_embeddings.untrusted.refused import Refused

TRANSFORMS = [
    ImageTransform((8, 8)),
    ImageTransform((8, 8), channels=1, mean=(0.0,), std=(1.0,), background=(0, 0, 255)),
]


def inputs(images, transform):
    return torch.cat(list(ImageBatches(images, transform, 4)))


@pytest.fixture
def folder(tmp_path):
    """A turned photograph, a logo on nothing and a deep grey image, under unusual endings."""
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = np.zeros((10, 20, 3), np.uint8)
    tall[:, :5] = (250, 0, 0)
    Image.fromarray(tall).save(tmp_path / "a.jfif", exif=exif)
    logo = np.zeros((12, 12, 4), np.uint8)
    logo[3:9, 3:9, 3] = 255
    Image.fromarray(logo).save(tmp_path / "b.APNG", format="PNG")
    deep = np.linspace(0, 65535, 144).reshape(12, 12).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "c.tif")
    (tmp_path / ".d.png").write_bytes(b"no image")
    (tmp_path / "e.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_files_and_opened_images_give_the_same_inputs(folder, transform):
    paths = image_files(folder)
    assert [path.name for path in paths] == ["a.jfif", "b.APNG", "c.tif"]
    of_files = inputs(folder, transform)
    assert torch.equal(inputs([Image.open(path) for path in paths], transform), of_files)
    assert of_files[0, 0, 0].mean() > of_files[0, 0, -1].mean() + 0.05  # red is on top
    corner, centre = of_files[1, :, 0, 0], of_files[1, :, 4, 4]
    assert torch.equal(centre, torch.zeros_like(centre)) and corner.max() > 0.1
    assert len(of_files[2].unique()) > 20


def test_a_file_of_too_many_pixels_says_how_to_give_it(tmp_path, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.untrusted.images.MOST_PIXELS", 99)
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    with pytest.raises(Refused, match=r"a\.png.*MAX_IMAGE_PIXELS=100"):
        inputs([tmp_path / "a.png"], TRANSFORMS[0])


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_reading_ahead_keeps_order_and_leaves_out_what_is_broken(readers, batch_size, tmp_path):
    broken, transform = {0, 7, 8, 22}, TRANSFORMS[1]
    paths = [tmp_path / f"{number}.png" for number in range(23)]
    for number, path in enumerate(paths):
        Image.new("L", (8, 8), 10 * number).save(path)
        if number in broken:
            path.write_bytes(b"no image")
    reported: list[int] = []
    batches = ImageBatches(
        paths, transform, batch_size, readers=readers,
        on_broken=lambda number, error: reported.append(number),
    )  # fmt: skip
    numbers, values = [], []
    for some, inputs in batches.numbered():
        assert len(some) == len(inputs) <= batch_size
        numbers += some
        values += inputs[:, 0, 0, 0].mul(25.5).round().int().tolist()
    assert reported == sorted(broken)
    assert numbers == values == sorted(set(range(23)) - broken)
    with pytest.raises(Refused, match=r"0\.png"):
        list(ImageBatches(paths, transform, batch_size, readers=readers))


def test_a_long_generator_is_not_read_to_its_end_at_once():
    taken = []
    images = (taken.append(n) or np.zeros((8, 8), np.uint8) for n in range(1000))
    batches = iter(ImageBatches(images, TRANSFORMS[1], 4))
    next(batches)
    assert len(taken) <= 4 * 4
    batches.close()
