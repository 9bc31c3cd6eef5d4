"""Headers tell what an image needs and what is wrong with it, before anything is decoded."""

import os

import numpy as np
import pytest
from PIL import Image

from vmf_embeddings.untrusted.image_formats import is_picture, not_an_image, readable_suffixes
from vmf_embeddings.untrusted.image_headers import probe

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def saved(path, image=None, **more):
    (Image.fromarray(NOISE) if image is None else image).save(path, **more)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "bmp", "gif", "ppm", "avif"])
def test_a_whole_file_has_no_fault_and_its_size_is_known(tmp_path, ending):
    header = probe(saved(tmp_path / f"a.{ending}"))
    assert (header.fault, header.size, header.orientation) == (None, (60, 40), 1)
    assert not header.has_opacity and not header.has_more_frames


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.98])
@pytest.mark.parametrize(
    "ending", ["jpg", "png", "webp", "tif", "bmp", "gif", "ppm", "avif", "jp2", "tga", "ico"]
)
def test_a_truncated_file_is_found_without_training(tmp_path, ending, share):
    path = saved(tmp_path / f"a.{ending}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    fault = probe(path).fault
    assert str(path) in fault


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp"])
def test_what_follows_a_whole_image_is_no_fault(tmp_path, ending):
    path = saved(tmp_path / f"a.{ending}")
    path.write_bytes(path.read_bytes() + bytes(500))
    assert probe(path).fault is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_orientation_is_read(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert probe(saved(tmp_path / f"a.{ending}", exif=exif)).orientation == orientation


@pytest.mark.parametrize("value", [0, 9, 700])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert probe(saved(tmp_path / "a.jpg", exif=exif)).orientation == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_opacity_is_seen_in_every_mode_that_has_it(tmp_path, mode):
    more = {"P": {"transparency": 0}, "L": {"transparency": 5}, "RGB": {"transparency": (1, 2, 3)}}
    image = Image.fromarray(NOISE).convert(mode)
    assert probe(saved(tmp_path / "a.png", image, **more.get(mode, {}))).has_opacity


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png"])
def test_further_frames_are_seen(tmp_path, ending):
    second = [Image.fromarray(NOISE[::-1].copy())]
    path = saved(tmp_path / f"a.{ending}", save_all=True, append_images=second)
    assert probe(path).has_more_frames


def test_what_is_no_file_is_a_fault_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png", tmp_path / "missing.png", "/dev/zero", "a\0b"):
        assert probe(path).fault


def test_too_many_pixels_are_counted_and_may_be_allowed(tmp_path):
    path = saved(tmp_path / "a.png")
    header = probe(path, most_pixels=2399)
    assert header.n_pixels_refused == 2400 and str(path) in header.fault
    assert probe(path, most_pixels=2400).fault is None


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"", "empty"),
        (bytes(64), "zeros"),
        (b"%PDF-1.7", "PDF"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\xff\x0a..", "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"hello", "convert it"),
    ],
)
def test_other_content_is_called_by_its_name(tmp_path, start, words):
    assert words in not_an_image(start)
    (tmp_path / "a.jpg").write_bytes(start)
    assert words in probe(tmp_path / "a.jpg").fault


def test_names_of_images_are_known_in_any_case_and_hidden_files_are_none():
    for name in (
        "a.JPG",
        "a.jfif",
        "a.avif",
        "a.jpe",
        "a.webp",
        "a.jp2",
        "a.tga",
        "a.ico",
        "a.pnm",
    ):
        assert is_picture(f"folder.d/{name}")
    for name in ("a.txt", ".DS_Store", "._a.jpg", "Thumbs.db", "a.eps", "a.pdf", "a.mp4", "a.h5"):
        assert not is_picture(name)
    assert list(readable_suffixes()) == sorted(readable_suffixes())
