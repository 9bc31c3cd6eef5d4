"""Images become 8-bit grey or RGB as viewers show them, whatever their files hold."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from vmf_embeddings.untrusted.image_pixels import convert_mode
from vmf_embeddings.untrusted.images import read_image
from vmf_embeddings.untrusted.refused import Refused

RED, BLUE = (200, 30, 10), (0, 0, 255)
RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (4, 1))  # 16 bits, [4, 256]


def rgb(path, **more):
    return np.asarray(convert_mode(read_image(path), "RGB", **more))


def icon():
    """A red square on nothing, whose hidden pixels are black; RGBA [16, 16]."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:12, 4:12] = (*RED, 255)
    return Image.fromarray(pixels)


def on(background):
    seen = np.full((16, 16, 3), background, np.uint8)
    seen[4:12, 4:12] = RED
    return seen


def as_palette(image, *, alphas=False):
    """The icon with two colours; the transparent one by its number, or by a list of opacities."""
    palette = Image.new("P", image.size, 0)
    palette.putpalette([0, 0, 0, *RED])
    palette.paste(1, (4, 4, 12, 12))
    palette.info["transparency"] = bytes([0, 255]) if alphas else 0
    return palette


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 20, 30)])
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.ico", "a.tga", "a.gif", "a.avif"])
def test_what_is_transparent_shows_the_background(tmp_path, name, background):
    more = {"a.webp": {"lossless": True}, "a.avif": {"quality": 100, "subsampling": "4:4:4"}}
    icon().save(tmp_path / name, **more.get(name, {}))
    difference = rgb(tmp_path / name, background=background).astype(int) - on(background)
    assert np.abs(difference).max() <= (3 if name == "a.avif" else 0)


@pytest.mark.parametrize("alphas", [False, True])
def test_a_palette_with_transparent_colours_shows_the_background(tmp_path, alphas):
    as_palette(icon(), alphas=alphas).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").mode == "P"
    assert np.array_equal(rgb(tmp_path / "a.png", background=BLUE), on(BLUE))


@pytest.mark.parametrize("mode", ["PA", "RGBa", "La", "LA"])
def test_other_modes_with_opacity_show_the_background(mode):
    source = icon().convert("RGBA" if mode == "RGBa" else "LA" if mode == "La" else "RGBA")
    if mode == "PA":
        converted = as_palette(icon()).convert("RGBA").convert("PA")
    else:
        converted = source.convert(mode)
    seen = np.asarray(convert_mode(converted, "RGB", BLUE))
    assert (seen[0, 0] == BLUE).all() and (seen[8, 8] != BLUE).any()


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("1", 0), ("RGB", (0, 0, 0))])
def test_a_single_transparent_colour_shows_the_background(tmp_path, mode, key):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6] = 255
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png", transparency=key)
    seen = rgb(tmp_path / "a.png", background=BLUE)
    assert (seen[:2] == BLUE).all() and (seen[2:6] == 255).all()


def deep_png(path, values, colour_type, key):
    """A PNG of 16 bits per channel with one transparent colour, written by hand."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", np.asarray(key, ">u2").tobytes())
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_a_transparent_colour_of_16_bits_shows_the_background(tmp_path):
    deep_png(tmp_path / "grey.png", RAMP, 0, [257 * 9])
    seen = rgb(tmp_path / "grey.png", background=BLUE)
    assert (seen[:, 9] == BLUE).all() and (seen[:, 8] == 8).all()
    deep_png(tmp_path / "rgb.png", np.stack([RAMP] * 3, axis=-1), 2, [257 * 9] * 3)
    seen = rgb(tmp_path / "rgb.png", background=BLUE)
    assert (seen[:, 9] == BLUE).all() and (seen[:, 8] == 8).all()


def test_half_opacity_mixes(tmp_path):
    Image.new("RGBA", (2, 2), (100, 0, 200, 51)).save(tmp_path / "a.png")
    assert rgb(tmp_path / "a.png")[0, 0].tolist() == [224, 204, 244]  # 0.2 c + 0.8 * 255


@pytest.mark.parametrize("opacity", [0, 255])
def test_opacity_that_hides_nothing_or_everything_leaves_colours(tmp_path, opacity):
    image = Image.new("RGBA", (4, 4), (*RED, opacity))
    image.save(tmp_path / "a.png")
    assert (rgb(tmp_path / "a.png") == RED).all()


def test_without_a_background_pixels_are_those_of_pillow(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    icon().save(tmp_path / "a.png", exif=exif)
    plain = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert np.array_equal(rgb(tmp_path / "a.png", background=None), plain)


MARK = np.zeros((8, 16, 3), np.uint8)
MARK[:4, :8] = 255  # upper left
UPRIGHT = {
    1: MARK, 2: MARK[:, ::-1], 3: MARK[::-1, ::-1], 4: MARK[::-1],
    5: MARK.transpose(1, 0, 2), 6: MARK[::-1].transpose(1, 0, 2),
    7: MARK[::-1, ::-1].transpose(1, 0, 2), 8: MARK[:, ::-1].transpose(1, 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_images_stand_upright_once(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100}, "a.avif": {"quality": 100}}
    Image.fromarray(MARK).save(tmp_path / name, exif=exif, **more.get(name, {}))
    once = convert_mode(read_image(tmp_path / name), "RGB")
    assert np.abs(np.asarray(once).astype(int) - UPRIGHT[orientation]).max() < 20
    assert np.array_equal(convert_mode(once, "RGB"), once)


def test_a_damaged_exif_block_turns_nothing(tmp_path):
    for block in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"nonsense"):
        Image.fromarray(MARK).save(tmp_path / "a.jpg", exif=block)
        assert rgb(tmp_path / "a.jpg").shape == MARK.shape


def test_an_orientation_in_xmp_counts(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    Image.fromarray(MARK).save(tmp_path / "a.png", pnginfo=info)
    assert np.array_equal(rgb(tmp_path / "a.png"), UPRIGHT[8])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "a.pgm", "a.jp2"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    values = RAMP.astype(">u2") if name == "big.tif" else RAMP
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 256 4 65535\n" + RAMP.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    assert np.array_equal(rgb(tmp_path / name)[..., 1], RAMP >> 8)


def test_white_is_zero_where_a_tiff_says_so(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    Image.fromarray(RAMP).save(tmp_path / "a.tif", tiffinfo=tags)
    assert np.array_equal(rgb(tmp_path / "a.tif")[..., 0], 255 - (RAMP >> 8))


def test_colours_of_16_bits_keep_their_upper_eight(tmp_path):
    values = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=-1)
    deep_png(tmp_path / "a.png", values, 2, [1, 1, 1])
    assert np.array_equal(rgb(tmp_path / "a.png"), values >> 8)
    (tmp_path / "a.ppm").write_bytes(b"P6 256 4 65535\n" + values.astype(">u2").tobytes())
    difference = rgb(tmp_path / "a.ppm").astype(int) - (values >> 8)
    assert np.abs(difference).max() <= 1


def test_floating_point_values_are_those_between_0_and_1(tmp_path):
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.array_equal(rgb(tmp_path / "a.tif")[..., 2], RAMP >> 8)
    for values, words in ((RAMP, r"\[0, 65535\]"), (RAMP * np.nan, "nan"), (-(RAMP / 65535), "-1")):
        Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(Refused, match=words):
            rgb(tmp_path / "a.tif")


def test_integers_of_32_bits_are_refused(tmp_path):
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(Refused, match=r"in \[0, 65535\]; save it with 8 bits"):
        rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_printing_inks_become_the_colours_they_print(tmp_path, name):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / name)
    assert rgb(tmp_path / name)[4, 4].tolist() == [255, 0, 0]


def test_lightness_of_one_half_is_a_middle_grey(tmp_path):
    Image.new("LAB", (4, 4), (128, 128, 128)).save(tmp_path / "a.tif")
    assert np.abs(rgb(tmp_path / "a.tif").astype(int) - 119).max() <= 1


def test_bits_and_palettes_are_what_they_stand_for(tmp_path):
    bits = Image.fromarray(np.tile([[0, 255]], (4, 4)).astype(np.uint8)).convert("1")
    bits.save(tmp_path / "bits.png")
    assert rgb(tmp_path / "bits.png")[0, :2, 0].tolist() == [0, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*BLUE, *RED])
    palette.save(tmp_path / "palette.png")
    assert (rgb(tmp_path / "palette.png") == RED).all()


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_of_several_frames_the_first_is_read(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    more = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **more)
    assert (rgb(tmp_path / name) == RED).all()
