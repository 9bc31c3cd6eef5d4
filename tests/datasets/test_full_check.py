"""A full check decodes all images before work starts, and finds equal ones."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from tests.datasets.images import draw
from tests.datasets.test_csv_table import table, write
from tests.datasets.test_folder import folder
from tests.datasets.test_image_reading import flip_bits
from tests.datasets.test_labelled_lists import lists
from vmf_embeddings.untrusted.refused import Refused


def images(root):
    """Sixteen images of two classes in {train,test}/<class>, and their (label, path, split)."""
    rows = []
    for split, n_images in (("train", 6), ("test", 2)):
        for label in "ab":
            for i in range(n_images):
                path = f"{split}/{label}/{i}.png"
                draw(root / path, seed=len(rows), label=ord(label), size=(80, 80))
                rows.append((label, path, split))
    return rows


def in_a_folder(root, rows, **options):
    return folder(root, **options)


def in_a_table(root, rows, **options):
    return table(write(root / "t.csv", rows), **options)


def in_lists(root, rows, **options):
    for split in ("train", "test"):
        lines = [f"{path} {label}" for label, path, own in rows if own == split]
        (root / f"{split}.txt").write_text("\n".join(lines))
    return lists(root, valid_list=None, **options)


KINDS = pytest.mark.parametrize("make", [in_a_folder, in_a_table, in_lists])


@KINDS
@pytest.mark.parametrize("broken", ["train/a/0.png", "test/b/1.png"])
def test_what_only_decoding_finds_is_refused_before_work_starts(tmp_path, make, broken):
    rows = images(tmp_path)
    flip_bits(tmp_path / broken)
    make(tmp_path, rows).check()
    with pytest.raises(Refused, match=f"1 of .* images cannot be read; .*{broken}.*on_error=skip"):
        make(tmp_path, rows, check="full").check()
    make(tmp_path, rows, check="full", on_error="skip").check()


@KINDS
def test_copies_in_two_splits_are_named_by_a_full_check_alone(tmp_path, make, caplog):
    rows = images(tmp_path)
    (tmp_path / "test/a/0.png").write_bytes((tmp_path / "train/a/0.png").read_bytes())
    make(tmp_path, rows).check()
    assert "copies" not in caplog.text
    make(tmp_path, rows, check="full").check()
    assert "1 image has copies in two splits, such as" in caplog.text
    assert "train/a/0.png (" in caplog.text and "test/a/0.png (test, a)" in caplog.text


@pytest.mark.parametrize("how", ["other format", "metadata", "hard link"])
def test_images_are_equal_by_their_pixels_whatever_their_files(tmp_path, caplog, how):
    rows = images(tmp_path)
    source, copy = tmp_path / "train/a/0.png", tmp_path / "test/b/copy.bmp"
    if how == "hard link":
        os.link(source, copy)
    elif how == "metadata":
        Image.open(source).save(copy, format="PNG", dpi=(300, 300))
    else:
        Image.open(source).save(copy)
    in_a_table(tmp_path, [*rows, ("b", "test/b/copy.bmp", "test")], check="full").check()
    assert "1 image has copies in two splits" in caplog.text and "copy.bmp (test, b)" in caplog.text


def test_rows_that_repeat_an_image_are_no_copies(tmp_path, caplog):
    rows = images(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "train/a/0.png")
    repeated = [*rows, ("a", "link.png", "train"), ("a", "train/a/0.png", "train")]
    with caplog.at_level(logging.WARNING):
        in_a_table(tmp_path, repeated, check="full").check()
    assert "copies" not in caplog.text


def test_two_labels_of_equal_images_are_named(tmp_path, caplog):
    rows = images(tmp_path)
    (tmp_path / "copy.png").write_bytes((tmp_path / "train/a/0.png").read_bytes())
    data = in_a_table(tmp_path, [*rows, ("b", "copy.png", "train")], check="full")
    data.check()
    assert "copies under two labels" in caplog.text


def test_a_word_that_is_no_check_is_refused(tmp_path):
    with pytest.raises(ValueError, match="check must be one of cheap, full, got 'fully'"):
        folder(tmp_path, check="fully")


def test_values_without_a_range_and_narrow_images_are_found_by_the_cheap_check(tmp_path):
    rows = images(tmp_path)
    path = tmp_path / "train/a/0.png"
    Image.fromarray(np.full((9, 9), 255.0, np.float32)).save(path, format="TIFF")
    with pytest.raises(Refused, match=r"1 of .* train/a/0|train/a/0.png: floating-point"):
        in_a_table(tmp_path, rows).check()
    Image.new("RGB", (1, 60_000)).save(path)
    with pytest.raises(Refused, match=r"train/a/0.png: an image of 1 x 60000 pixels .*crop it"):
        in_a_table(tmp_path, rows, image_size=224).check()
