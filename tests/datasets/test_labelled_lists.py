"""Closed sets from lists of paths and labels, and ImageNet's folders, over drawn images."""

from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.datasets.images import draw
from vmf_embeddings.datasets.imagenet import ImageNet
from vmf_embeddings.datasets.labelled_lists import ImageNetLT, INat2018, LabelledLists, PlacesLT

IMAGES = {"background": "white", "max_pixels": None, "on_error": "refuse"}
IMAGES |= {"image_size": 16, "augment": "inat", "mean": [0.0] * 3, "std": [1.0] * 3}
COUNTS = {"train": (8, 4, 2), "val": (2, 2, 2), "test": (3, 3, 3)}


def lists(root, kind=LabelledLists, **changes):
    params = {"train_list": "train.txt", "valid_list": "val.txt", "test_list": "test.txt"}
    params |= {"valid_share": 0.25, "views": 1, "margin_warmup_epochs": 0} | IMAGES
    return kind(root, **params | changes)


@pytest.fixture
def root(tmp_path):
    for part, counts in COUNTS.items():
        lines = []
        for label, count in enumerate(counts):
            for i in range(count):
                path = f"my images/{part}/kind  {label}/no {i}.jpg"  # spaces, also two in a row
                draw(tmp_path / path, seed=i, label=label, size=(20, 20))
                lines.append(f"{'/' if i % 2 else ''}{path} {label}")
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def test_splits_hold_what_the_lists_say(root):
    data = lists(root)
    data.check()
    for name, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        split = data.split(name)
        assert split.class_counts.tolist() == list(COUNTS[part])
        assert split.paths[1] == str(root / f"my images/{part}/kind  0/no 1.jpg")
        assert split[0]["examples"].shape == (3, 16, 16)
    assert not data.open_set


def test_without_a_validation_list_train_gives_a_share_of_its_classes(root):
    data, whole = lists(root, valid_list=None), lists(root)
    train, valid = data.split("train"), data.split("valid")
    assert sorted(train.paths + valid.paths) == sorted(whole.split("train").paths)
    assert not set(valid.paths) & set(data.split("test").paths)
    assert (train.class_counts > 0).all()
    assert len(valid) == round(0.25 * 14)
    assert lists(root, valid_list=None).split("train").identity == train.identity


def test_a_share_of_zero_leaves_train_whole(root):
    data = lists(root, valid_list=None, valid_share=0.0)
    assert data.split("train").class_counts.tolist() == list(COUNTS["train"])
    with pytest.raises(ValueError, match="no valid images"):
        data.split("valid")


def test_views_are_of_training_alone_and_decode_once(root):
    data = lists(root, views=2)
    one, other = data.split("train", augment=True)[3]["examples"]
    assert not torch.equal(one, other)
    assert data.split("test")[3]["examples"].shape == (3, 16, 16)
    batch = torch.utils.data.default_collate([data.split("train", augment=True)[i] for i in (0, 1)])
    assert batch["examples"].shape == (2, 2, 3, 16, 16)


@pytest.mark.parametrize("swap", ["train.txt", "val.txt"])
def test_a_validation_list_that_is_a_copy_of_another_is_refused(root, swap):
    names = {"train.txt": "train", "val.txt": "valid"}
    (root / "test.txt").write_text((root / swap).read_text())
    helps = r"valid_list=null" if swap == "val.txt" else r"from the others$"
    with pytest.raises(ValueError, match=rf"{names[swap]} and test share .*{helps}"):
        lists(root).check()


def test_the_order_of_a_list_is_part_of_its_identity(root):
    before = lists(root).split("train").identity
    path = root / "train.txt"
    path.write_text("\n".join(reversed(path.read_text().split("\n"))))
    assert lists(root).split("train").identity != before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a b.jpg", "line 1: expected relative/path label, got 'a b.jpg', which has no"),
        ("7", "line 1: no path before the label in '7'"),
        ("/ 7", "line 1: no path before the label"),
        ("../a.jpg 7", "leads out of the data set's folder"),
        ("", "lists no images; expected lines relative/path label"),
    ],
)
def test_malformed_lists_are_named(root, line, said):
    (root / "train.txt").write_text(line)
    with pytest.raises(ValueError, match=said):
        lists(root).check()


def test_lists_may_lie_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists") / "mine.txt"
    (root / "train.txt").rename(elsewhere)
    assert len(lists(root, train_list=str(elsewhere)).split("train")) == 14
    with pytest.raises(FileNotFoundError, match=r"train.txt does not exist.*train_list=FILE"):
        lists(root).check()


def published(root, kind, sizes, n_classes):
    """Lists of the published lengths; the images need not exist to be counted."""
    for name, size in sizes.items():
        rows = (f"{name}/{i}.jpg {i % n_classes}" for i in range(size))
        (root / f"{name}.txt").write_text("\n".join(rows))
    params = {"train_list": "train.txt", "test_list": "test.txt", "valid_share": 0.05}
    return lists(root, kind, valid_list="valid.txt" if "valid" in sizes else None, **params)


class FewSpecies(INat2018):
    sizes: ClassVar = {"train": 400, "test": 60}
    n_published_classes = 20


class FewImages(ImageNetLT):
    sizes: ClassVar = {"train": 300, "valid": 200, "test": 500}
    n_published_classes = 10


@pytest.mark.parametrize("kind", [PlacesLT, FewSpecies])
def test_published_sizes_are_accepted(tmp_path, kind):
    rows = published(tmp_path, kind, kind.sizes, kind.n_published_classes).rows
    n_train, n_valid = len(rows["train"].files), len(rows["valid"].files)
    assert len(rows["test"].files) == kind.sizes["test"]
    if "valid" in kind.sizes:
        assert (n_train, n_valid) == (kind.sizes["train"], kind.sizes["valid"])
    else:
        assert n_train + n_valid == kind.sizes["train"]
        assert n_valid == pytest.approx(0.05 * kind.sizes["train"], abs=1)
        assert len(np.unique(rows["train"].labels)) == kind.n_published_classes


def test_the_test_list_under_the_name_of_validation_is_refused(tmp_path):
    data = published(tmp_path, FewImages, {**FewImages.sizes, "valid": 500}, 10)
    with pytest.raises(ValueError, match="has 500 valid images.*has 200; .* the test list"):
        data.check()


def test_lists_of_other_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has 364 classes, and places_lt has 365"):
        published(tmp_path, PlacesLT, PlacesLT.sizes, 364).check()


def imagenet(root, **changes):
    params = {"valid_share": 0.25, "views": 1, "margin_warmup_epochs": 0} | IMAGES
    return ImageNet(root, **params | changes)


@pytest.mark.parametrize("test_folder", ["val", "val_dir"])
def test_imagenets_validation_folder_is_test(tmp_path, test_folder):
    for part, count in (("train", 8), (test_folder, 3)):
        for label, name in enumerate(("n01", "n02")):
            for i in range(count):
                draw(tmp_path / part / name / f"{i}.JPEG", seed=i, label=label, size=(20, 20))
    data = imagenet(tmp_path)
    data.check()
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    assert train.class_counts.tolist() == [6, 6]
    assert valid.class_counts.tolist() == [2, 2]
    assert test.class_counts.tolist() == [3, 3]
    assert test.class_names == train.class_names == ["n01", "n02"]
    assert all(path.startswith(str(tmp_path / test_folder)) for path in test.paths)
    whole = imagenet(tmp_path, valid_share=0.0).split("train")
    assert sorted(train.paths + valid.paths) == sorted(whole.paths)


def test_what_imagenets_folder_lacks_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folders train and val_dir or val"):
        imagenet(tmp_path).check()
    draw(tmp_path / "train" / "n01" / "0.jpg", seed=0)
    draw(tmp_path / "val" / "0.jpg", seed=0)
    with pytest.raises(ValueError, match=r"no test images .* must be sorted into"):
        imagenet(tmp_path).check()
    draw(tmp_path / "val" / "n09" / "0.jpg", seed=0)
    with pytest.raises(ValueError, match="1 class folders that train lacks, the first is n09"):
        imagenet(tmp_path).check()
