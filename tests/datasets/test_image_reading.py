"""Broken images are known before work starts, and how images are read is part of identities."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.benchmarks import build
from tests.datasets.images import draw
from vmf_embeddings.datasets.base import identity_of
from vmf_embeddings.datasets.image_reading import background_colour
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.checkpoint import refuse_other_configuration
from vmf_embeddings.untrusted.refused import Refused


@pytest.fixture
def root(tmp_path):
    """Twenty images of two classes and their table."""
    lines = ["label,path,split"]
    for label in "ab":
        for i in range(10):
            draw(tmp_path / f"{label}{i}.jpg", seed=i, label=ord(label))
            split = "train" if i < 6 else "valid" if i < 8 else "test"
            lines.append(f"{label},{label}{i}.jpg,{split}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path


def data(root, **options):
    return build("csv", root, **{"image_size": 16, "augment": "none"} | options)


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def flip_bits(path):
    """Breaks the compressed pixels of a PNG, and nothing that a header or an ending shows."""
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_truncated_image_is_refused_before_work_starts(root, split):
    victim = {"train": "a0.jpg", "valid": "b6.jpg", "test": "b9.jpg"}[split]
    cut(root / victim)
    with pytest.raises(Refused, match=f"1 of .* {split} images .*{victim}.*on_error=skip"):
        data(root).check()


def test_skipping_leaves_out_every_kind_of_broken_image_and_no_label_shifts(root, caplog):
    whole = data(root)
    cut(root / "a1.jpg")
    draw(root / "png.png", seed=3, size=(80, 80))
    flip_bits(root / "png.png")
    (root / "png.png").replace(root / "b2.jpg")
    (root / "b8.jpg").write_bytes(b"%PDF-1.7")
    with caplog.at_level(logging.WARNING):
        skipping = data(root, on_error="skip")
        skipping.check()
    said = caplog.text
    assert "2 of 12 train images cannot be read" in said and "1 of 4 test images" in said
    assert all(str(root / name) in said for name in ("a1.jpg", "b2.jpg", "b8.jpg"))
    for split in ("train", "valid", "test"):
        kept, all_rows = skipping.split(split), whole.split(split)
        wanted = [i for i, path in enumerate(all_rows.paths) if path in kept.paths]
        assert kept.paths == [all_rows.paths[i] for i in wanted]
        assert torch.equal(kept.labels, all_rows.labels[wanted])
        batches = SequentialBatches(kept, torch.arange(len(kept)), batch_size=3, num_workers=2)
        ids = torch.cat([batch["ids"] for batch in batches])
        assert torch.equal(ids, kept.labels)
    assert skipping.split("train").identity != whole.split("train").identity


def test_a_split_without_a_readable_image_is_refused(root):
    for name in ("a8", "a9", "b8", "b9"):
        cut(root / f"{name}.jpg")
    with pytest.raises(Refused, match="no test image can be read: .*a8.jpg"):
        data(root, on_error="skip").check()


def test_what_decoding_alone_finds_names_the_file_and_the_remedy(root):
    draw(root / "p.png", seed=1, size=(80, 80))
    flip_bits(root / "p.png")
    (root / "p.png").replace(root / "a0.jpg")
    with pytest.raises(Refused, match=r"a0\.jpg: .*mend or remove it.*on_error=skip"):
        data(root).split("train").example(0)


def test_the_limit_of_pixels_is_raised_by_what_the_message_says(root):
    data(root, max_pixels=1200).check()  # 40 x 30
    with pytest.raises(Refused, match=r"dataset\.params\.max_pixels=1200") as refusal:
        data(root, max_pixels=1199).check()
    assert str(root / "a0.jpg") in str(refusal.value)


def test_the_log_says_once_what_is_done_with_images_that_need_it(root, caplog):
    Image.new("LA", (9, 9), (0, 100)).save(root / "a0.jpg", format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 9)).save(root / "b7.jpg", exif=exif)
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(root / "b9.jpg", format="GIF", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.INFO):
        data(root, background="black").check()
    assert caplog.text.count("1 of 20 images can be transparent (1 LA)") == 1
    assert "[0, 0, 0]" in caplog.text
    assert caplog.text.count("1 of 20 images are turned as their EXIF orientation says") == 1
    assert caplog.text.count("1 of 20 images have several frames or pages") == 1
    caplog.clear()
    with caplog.at_level(logging.INFO):
        data(root, background=None).check()
    assert "opacity is dropped and the orientation ignored" in caplog.text


def test_plain_images_need_no_word(root, caplog):
    with caplog.at_level(logging.INFO):
        data(root).check()
    assert not any(word in caplog.text for word in ("transparent", "turned", "frames"))


def test_how_images_are_read_is_part_of_the_identity_and_null_is_that_of_before(root):
    identities = [
        data(root, background=colour).split("train").identity
        for colour in ("white", [255, 255, 255], "#ffffff", "black", None)
    ]
    assert identities[0] == identities[1] == identities[2]
    assert len({identities[0], *identities[3:]}) == 3
    rows = data(root).rows["train"]
    assert identities[-1] == identity_of(["csv", "train", "\n".join(rows.files), rows.labels])


def test_training_and_evaluation_see_the_same_background(root):
    Image.new("RGBA", (40, 40)).save(root / "a0.jpg", format="PNG")
    clear = np.zeros((40, 40, 4), np.uint8)
    clear[10:30, 10:30, 3] = 255
    Image.fromarray(clear).save(root / "a0.jpg", format="PNG")
    split = {"mean": [0.0] * 3, "std": [1.0] * 3, "background": [0, 0, 255]}
    for augment in (False, True):
        image = data(root, **split).split("train", augment=augment).example(0)
        assert image[:, 0, 0].tolist() == [0, 0, 1] and image[:, 8, 8].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", ["nocolour", [1, 2], [0, 0, 256], 7, True, "#00000080", {}])
def test_what_is_no_colour_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"dataset\.params\.background must be a colour"):
        background_colour(value)


@pytest.mark.parametrize(
    ("option", "value"), [("max_pixels", 0), ("max_pixels", "many"), ("on_error", "ignore")]
)
def test_options_without_meaning_are_refused(root, option, value):
    with pytest.raises(ValueError, match=rf"dataset\.params\.{option} must be"):
        data(root, **{option: value})


def test_a_run_from_before_says_why_it_cannot_go_on(tmp_path):
    def config(**params):
        return {"dataset": {"name": "folder", "params": params}}

    stored = '{"dataset": {"name": "folder", "params": {}}}'
    with pytest.raises(ValueError, match=r"turned as .*background=null reads them as then"):
        refuse_other_configuration(tmp_path, stored, config(background="white"))
    refuse_other_configuration(tmp_path, stored, config(background=None))
    black = '{"dataset": {"name": "folder", "params": {"background": "black"}}}'
    with pytest.raises(ValueError, match="background was 'black'") as refusal:
        refuse_other_configuration(tmp_path, black, config(background="white"))
    assert "as then" not in str(refusal.value)
