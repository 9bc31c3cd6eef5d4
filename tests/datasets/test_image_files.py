"""Images in every mode that files come in."""

import numpy as np
import pytest
from PIL import Image

from vmf_embeddings.datasets.decoded import convert_mode

RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))


def test_sixteen_bits_look_as_their_upper_eight(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert image.mode.startswith("I;16")
        assert np.array_equal(np.asarray(convert_mode(image, "RGB")), np.stack([RAMP] * 3, axis=-1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_other_mode_of_eight_bits_becomes_rgb(mode):
    colours = Image.fromarray(np.stack([RAMP, RAMP[:, ::-1], RAMP], axis=-1))
    source = colours if mode != "LAB" else Image.new("LAB", (256, 4))
    assert convert_mode(source.convert(mode) if mode != "LAB" else source, "RGB").mode == "RGB"


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_fixed_range_are_refused(dtype):
    with pytest.raises(ValueError, match="save it with 8 bits"):
        convert_mode(Image.fromarray(RAMP.astype(dtype)), "RGB")
