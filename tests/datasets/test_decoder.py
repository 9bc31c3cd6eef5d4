"""decoder=draft decodes JPEGs at a fraction of their size, not below what they are resized to."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.test_image_reading import data
from vmf_embeddings.training.checkpoint import refuse_other_configuration
from vmf_embeddings.untrusted.images import TooManyPixels, decoded_image
from vmf_embeddings.untrusted.refused import Refused


def photo(path, width, height, **options):
    """A smooth image, as photographs are."""
    y, x = np.mgrid[:height, :width] / 40.0
    pixels = np.stack([np.sin(x) + np.cos(y + c) for c in range(3)], axis=2)
    Image.fromarray((63 * (pixels + 2)).astype(np.uint8)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    lines = ["label,path,split"]
    for number, split in enumerate(("train", "train", "train", "valid", "test")):
        for label in "ab":
            photo(tmp_path / f"{label}{number}.jpg", 300 + 20 * number, 200, quality=95)
            lines.append(f"{label},{label}{number}.jpg,{split}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (515, 333), (2000, 90)])
@pytest.mark.parametrize("side", [1, 32, 90, 120, 241, 333, 1000])
def test_the_fraction_is_the_smallest_that_leaves_both_sides(tmp_path, size, side):
    path = photo(tmp_path / "a.jpg", *size)
    with decoded_image(path, draft_side=side) as image:
        found = image.size
    fractions = [n for n in (8, 4, 2, 1) if n == 1 or min(size) // n >= side]
    assert found == tuple(-(-length // fractions[0]) for length in size)


@pytest.mark.parametrize("changes", [{}, {"augment": "cars"}])
def test_draft_shows_the_same_picture_with_other_pixels(root, changes):
    whole, draft = (
        data(root, image_size=64, decoder=decoder, **changes) for decoder in ("pillow", "draft")
    )
    one, other = (d.split("test")[0]["examples"] for d in (whole, draft))
    assert one.shape == other.shape and not torch.equal(one, other)
    assert float((one - other).abs().mean()) < 0.02 * float(one.std())
    assert draft.split("test").identity != whole.split("test").identity
    assert data(root, image_size=64).split("test").identity == whole.split("test").identity


def test_images_that_cannot_be_smaller_and_other_formats_are_as_they_were(root, tmp_path):
    one, other = (data(root, image_size=160, decoder=d).split("test") for d in ("pillow", "draft"))
    assert torch.equal(one[0]["examples"], other[0]["examples"])
    with decoded_image(photo(tmp_path / "a.png", 300, 200), draft_side=8) as image:
        assert image.size == (300, 200)


def test_what_a_header_states_is_limited_before_it_is_made_smaller(tmp_path):
    path = photo(tmp_path / "a.jpg", 300, 200)
    with pytest.raises(TooManyPixels), decoded_image(path, most_pixels=50_000, draft_side=8):
        pass


def test_a_cut_file_is_refused_and_a_camera_s_orientation_applied(root):
    victim = root / "a0.jpg"
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    photo(victim, 300, 200, exif=exif)
    reader = data(root, image_size=64, decoder="draft").reader
    with reader.image(str(victim)) as image:
        assert image.size == (100, 150)
    victim.write_bytes(victim.read_bytes()[:-1500])
    with pytest.raises(Refused, match="a0.jpg"), reader.image(str(victim)):
        pass


def test_copies_are_found_by_all_their_pixels(root):
    pixels = np.asarray(Image.open(root / "a0.jpg")).copy()
    content = io.BytesIO()
    pixels[::2, ::2] ^= 1
    Image.fromarray(pixels).save(content, "JPEG", quality=100)
    (root / "b4.jpg").write_bytes(content.getvalue())
    digests = [data(root, image_size=8, decoder=d).contents.digests for d in ("pillow", "draft")]
    assert digests[0] == digests[1]


def test_a_run_goes_on_with_its_own_decoder_alone(tmp_path):
    def config(**params):
        return {"dataset": {"name": "folder", "params": {"image_size": 8, **params}}}

    def goes_on(then, now):
        refuse_other_configuration(tmp_path, json.dumps(config(**then)), config(**now))

    goes_on({}, {"decoder": "pillow"})  # a run from before the key
    goes_on({"decoder": "draft"}, {"decoder": "draft"})
    for then, now in (({}, "draft"), ({"decoder": "draft"}, "pillow")):
        with pytest.raises(ValueError, match=r"dataset\.params\.decoder"):
            goes_on(then, {"decoder": now})


def test_an_unknown_decoder_is_refused(root):
    with pytest.raises(ValueError, match="decoder must be one of pillow, draft, got 'dali'"):
        data(root, decoder="dali")
