"""Cars196, CUB200 and SOP from list files over images that the test draws."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from tests.datasets.benchmarks import build
from tests.datasets.images import draw
from vmf_embeddings.datasets.image_list import read_list

CLASSES = {"train": range(0, 12), "val": range(12, 16), "test": range(40, 52)}


def write_lists(root, images, n_images=3):
    """Three list files below `root`, their images below `images`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, classes in CLASSES.items():
        lines = []
        for label in classes:
            for i in range(n_images):
                path = f"images/kind, no. {label}/{i}.jpg"  # a comma in the path
                draw(images / path, seed=i, label=label)
                lines.append(f"{path},{label}")
        (root / f"{name}.txt").write_text("\n".join(lines))
    return root


def cub(path, image_size=32):
    return build("cub200", path, image_size=image_size)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cub") / "CUB_200_2011"
    return write_lists(root, root)


def test_splits_hold_what_the_lists_say(root):
    data = cub(root)
    data.check()
    for name, list_name in (("train", "train"), ("valid", "val"), ("test", "test")):
        split, classes = data.split(name), CLASSES[list_name]
        assert len(split) == 3 * len(classes)
        assert split.n_classes == len(classes)
        assert split.labels.unique().tolist() == list(range(len(classes)))
        assert split.original_labels.unique().tolist() == list(classes)
        assert split.class_counts.tolist() == [3] * len(classes)


def test_items_carry_image_class_and_original_class(root):
    item = cub(root).split("test")[4]
    assert item["examples"].shape == (3, 32, 32)
    assert item["examples"].dtype == torch.float32
    assert (item["ids"], item["original_ids"]) == (1, 41)


def test_training_images_are_random_and_evaluated_ones_are_not(root):
    data = cub(root)
    plain, augmented = data.split("train"), data.split("train", augment=True)
    assert torch.equal(plain[0]["examples"], plain[0]["examples"])
    assert not torch.equal(augmented[0]["examples"], augmented[0]["examples"])
    assert plain.identity == augmented.identity


def test_augmentation_follows_the_default_generator(root):
    split = cub(root).split("train", augment=True)
    torch.manual_seed(3)
    first = split[0]["examples"]
    torch.manual_seed(3)
    assert torch.equal(split[0]["examples"], first)


def test_worker_processes_can_load_it(root):
    split = cub(root).split("test")
    batches = list(DataLoader(split, batch_size=20, num_workers=1))
    assert torch.cat([batch["ids"] for batch in batches]).equal(split.labels)
    assert torch.equal(
        batches[0]["examples"], default_collate([split[i] for i in range(20)])["examples"]
    )
    assert len(pickle.loads(pickle.dumps(split))) == len(split)


def test_the_folder_or_its_parent_may_be_named(root):
    inside, above = cub(root).split("test"), cub(root.parent).split("test")
    assert inside.paths == above.paths
    assert inside.identity == above.identity


def test_sop_paths_start_in_the_folder_of_its_archive(tmp_path):
    write_lists(tmp_path, tmp_path / "Stanford_Online_Products")
    data = build("sop", tmp_path, image_size=16)
    data.check()
    assert data.name == "stanfordonlineproducts"
    start = str(tmp_path / "Stanford_Online_Products" / "images")
    assert all(path.startswith(start) for path in data.split("test").paths)
    assert data.split("train", augment=True)[0]["examples"].shape == (3, 16, 16)


def test_identity_hangs_on_the_lists_alone(root, tmp_path):
    other = write_lists(tmp_path / "elsewhere", tmp_path / "elsewhere")
    assert cub(other).split("test").identity == cub(root).split("test").identity
    (other / "test.txt").write_text("images/kind, no. 40/0.jpg,40")
    assert cub(other).split("test").identity != cub(root).split("test").identity


@pytest.mark.parametrize("config", ["cars196", "cub200", "sop"])
def test_a_missing_list_is_named_with_what_to_type(tmp_path, config):
    with pytest.raises(FileNotFoundError) as caught:
        build(config, tmp_path).check()
    message = str(caught.value)
    assert str(tmp_path / "train.txt") in message
    assert f"download_and_process_{config} {tmp_path}" in message
    assert f"dataset={config} dataset.params.dataset_path=PATH" in message


def test_missing_and_empty_images_are_named_before_training(tmp_path):
    write_lists(tmp_path, tmp_path)
    first = tmp_path / "images" / "kind, no. 3" / "1.jpg"
    first.write_bytes(b"")
    with pytest.raises(ValueError, match=f"empty: 1 train image, the first is {first}"):
        cub(tmp_path).check()
    first.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 36 train images does not exist.*{first}"):
        cub(tmp_path).check()


def test_an_undecodable_image_is_named(tmp_path):
    write_lists(tmp_path, tmp_path)
    bad = tmp_path / "images" / "kind, no. 0" / "0.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 not an image")
    with pytest.raises(ValueError, match=f"cannot decode {bad}"):
        cub(tmp_path).split("train")[0]
    bad.write_bytes((bad.parent / "1.jpg").read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"cannot decode {bad}"):
        cub(tmp_path).split("train")[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg,0\nb.jpg,x", "line 2: expected an integer label, got 'x'"),
        ("a.jpg", "line 1: expected relative/path,label, got 'a.jpg', which has no label"),
        ("a.jpg,01", "line 1: expected an integer label, got '01'"),
        ("a.jpg,0\n,1", "line 2: no path"),
        ("\n\n", "lists no images"),
    ],
)
def test_malformed_lists_are_refused_by_line(tmp_path, content, message):
    path = tmp_path / "train.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_list(path)


def test_line_ends_blank_lines_and_byte_order_marks_do_no_harm(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeffa, b.jpg,3\r\n\r\nc.jpg, 4\r\n".encode())
    files, labels = read_list(path)
    assert files == ["a, b.jpg", "c.jpg"]
    assert labels.tolist() == [3, 4]
    assert labels.dtype == np.int64


def test_lists_cannot_lead_out_of_their_folder(tmp_path):
    write_lists(tmp_path, tmp_path)
    (tmp_path / "test.txt").write_text("images/../../secret.jpg,1")
    with pytest.raises(ValueError, match=r"test.txt: 'images/\.\./\.\./secret.jpg' leads out"):
        cub(tmp_path).check()


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    from PIL import Image

    write_lists(tmp_path, tmp_path)
    lines = []
    for i, mode in enumerate(["L", "P", "RGBA", "1", "I;16", "CMYK"]):
        path = tmp_path / f"{i}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (20, 10)).save(path)
        lines.append(f"{path.name},{40 + i}")
    (tmp_path / "test.txt").write_text("\n".join(lines))
    split = cub(tmp_path).split("test")
    assert all(split[i]["examples"].shape == (3, 32, 32) for i in range(len(split)))


def test_files_have_no_batches(root):
    with pytest.raises(TypeError, match="DataLoader"):
        cub(root).split("test").batch(torch.arange(2))
