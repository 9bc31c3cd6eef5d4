"""Images whose parts are far larger than their header states: refused before memory is taken."""

import resource
import struct

import pytest
from PIL import Image

from tests.security.hostile_images import chunk, icon, jpeg2000, png, tiff_of_tiles
from vmf_embeddings.untrusted.images import TooManyPixels, read_image
from vmf_embeddings.untrusted.refused import Refused

MEGABYTE = 1024  # of ru_maxrss


def refused_without_memory(path, words, error=Refused):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error, match=words):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * MEGABYTE


def png_that_hides(path, way):
    """A large PNG whose first 24 bytes state another size."""
    content = png(path, 13_000, 13_000).read_bytes()
    small = struct.pack(">IIBBBBB", 8, 8, 1, 0, 0, 0, 0)
    first = chunk(b"IHDR", small) if way == "two headers" else chunk(b"tEXt", b"a\0" + small)
    return content[:8] + first + content[8:]


@pytest.mark.parametrize("way", ["two headers", "text first"])
@pytest.mark.parametrize("kind", ["ICO", "ICNS"])
def test_an_icon_cannot_hide_the_size_of_its_image(tmp_path, kind, way):
    content = icon(kind, png_that_hides(tmp_path / "bomb.png", way))
    (tmp_path / "icon").write_bytes(content)
    refused_without_memory(tmp_path / "icon", "13000 x 13000")


@pytest.mark.parametrize("before", [b"", bytes(100)])
def test_an_icon_cannot_hold_a_jpeg_2000_that_is_a_bomb(tmp_path, before):
    content = icon("ICNS", jpeg2000(13_000, n_channels=4, before=before))
    (tmp_path / "icon").write_bytes(content)
    refused_without_memory(tmp_path / "icon", "13000 x 13000")


def test_an_icon_whose_jpeg_2000_states_no_size_is_refused(tmp_path):
    content = jpeg2000(64).replace(b"jp2c", b"free")
    (tmp_path / "icon").write_bytes(icon("ICNS", content))
    refused_without_memory(tmp_path / "icon", "does not state its size")


BOMBS = {
    "precincts": {"side": 2048, "precinct": 1},
    "blocks": {"side": 4096, "n_channels": 4, "block": 0},
    "tiles": {"side": 4096, "n_channels": 4, "tile": 17},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_jpeg_2000_of_countless_parts_is_refused(tmp_path, name):
    (tmp_path / "a.jp2").write_bytes(jpeg2000(**BOMBS[name]))
    refused_without_memory(tmp_path / "a.jp2", "bytes of memory", TooManyPixels)


def test_usual_jpeg_2000_files_are_read_in_all_sizes_of_blocks_and_tiles(tmp_path):
    image = Image.effect_noise((300, 260), 50).convert("RGB")
    for i, options in enumerate(
        ({}, {"codeblock_size": (4, 4)}, {"tile_size": (32, 32)}, {"precinct_size": (64, 64)})
    ):
        path = tmp_path / f"{i}.jp2"
        image.save(path, **options)
        assert read_image(path).size == (300, 260)


def test_a_jpeg_2000_of_small_blocks_is_read_if_the_caller_vouches_for_it(tmp_path):
    (tmp_path / "a.jp2").write_bytes(jpeg2000(720, precinct=1))
    with pytest.raises(TooManyPixels) as refusal:
        read_image(tmp_path / "a.jp2")
    image = read_image(tmp_path / "a.jp2", most_pixels=refusal.value.n_pixels)
    assert image.size == (720, 720)


def test_a_small_tiff_cannot_be_cut_from_a_large_tile(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of_tiles(16, 4096))
    refused_without_memory(tmp_path / "a.tif", "tiles of 4096 x 4096 pixels for an image of 16 x")


@pytest.mark.parametrize("tile", [16, 256, 1024])
def test_tiles_of_usual_sizes_are_read(tmp_path, tile):
    (tmp_path / "a.tif").write_bytes(tiff_of_tiles(10, tile))
    assert read_image(tmp_path / "a.tif").size == (10, 10)
