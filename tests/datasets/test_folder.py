"""People's own folders."""

import pytest

from tests.datasets.images import draw
from vmf_embeddings.datasets.folder import Folder

OPTIONS = {
    "layout": "auto",
    "open_set": None,
    "valid_share": 0.2,
    "test_share": 0.25,
    "image_size": 16,
    "augment": "none",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "margin_warmup_epochs": 0,
    "background": "white",
    "max_pixels": None,
    "on_error": "refuse",
}
NAMES = ("train", "valid", "test")


def folder(path, **options):
    return Folder(path, **(OPTIONS | options))


def fill(root, classes, n_images):
    for label, name in enumerate(classes):
        for i in range(n_images):
            draw(root / name / f"{i}.png", seed=i, label=label)


@pytest.fixture
def plain(tmp_path):
    fill(tmp_path, [f"class{i}" for i in range(8)], 5)
    return tmp_path


def test_classes_are_sorted_folder_names(plain):
    data = folder(plain)
    data.check()
    assert data.split("train").class_names == [f"class{i}" for i in range(8)]
    assert data.open_set is False


def test_closed_splits_are_disjoint_complete_and_hold_every_class_in_train(plain):
    parts = [folder(plain).split(name) for name in NAMES]
    paths = [path for part in parts for path in part.paths]
    assert len(paths) == len(set(paths)) == 40
    assert parts[0].class_counts.min() >= 1
    assert [part.n_classes for part in parts] == [8, 8, 8]
    assert len(parts[2]) == 10


def test_open_splits_are_disjoint_in_classes(plain):
    data = folder(plain, open_set=True)
    parts = [set(data.split(name).class_names) for name in NAMES]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 8
    assert len(parts[2]) == 2
    assert data.split("test")[0]["original_ids"] == data.split("test").original_labels[0]


def test_splits_are_the_same_every_time(plain):
    for open_set in (False, True):
        one, two = folder(plain, open_set=open_set), folder(plain, open_set=open_set)
        assert one.split("test").identity == two.split("test").identity


def test_single_images_stay_in_train(plain):
    draw(plain / "lonely" / "only.png", seed=0)
    data = folder(plain)
    assert data.split("train").class_counts[data.split("train").class_names.index("lonely")] == 1


def test_subfolders_of_splits_are_honoured(tmp_path):
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        fill(tmp_path / split, ["cat", "dog"], n)
    data = folder(tmp_path)
    data.check()
    assert [len(data.split(name)) for name in NAMES] == [8, 4, 6]
    assert all(f"{tmp_path}/val/" in path for path in data.split("valid").paths)
    assert data.open_set is False


def test_subfolders_with_new_classes_are_an_open_set(tmp_path):
    fill(tmp_path / "train", ["cat", "dog", "emu"], 3)
    fill(tmp_path / "test", ["ant", "bee"], 3)
    data = folder(tmp_path)
    assert data.open_set is True
    assert data.split("test").class_names == ["ant", "bee"]
    assert len(data.split("valid").class_names) == 1
    assert not set(data.split("valid").class_names) & set(data.split("train").class_names)


def test_images_in_deeper_folders_count_and_other_files_do_not(plain):
    draw(plain / "class0" / "more" / "x.JPG", seed=0)
    (plain / "class0" / "notes.txt").write_text("")
    (plain / ".hidden").mkdir()
    (plain / "empty").mkdir()
    data = folder(plain)
    assert sum(len(data.split(name)) for name in NAMES) == 41
    assert len(data.split("train").class_names) == 8


def test_a_missing_folder_and_one_without_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone is not a folder.*dataset_path=PATH"):
        folder(tmp_path / "gone").check()
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match="no images in class folders"):
        folder(tmp_path).check()


def test_what_cannot_be_split_says_so(tmp_path):
    fill(tmp_path, ["cat"], 5)
    with pytest.raises(ValueError, match="cannot hold out whole classes: there is only 1"):
        folder(tmp_path, open_set=True).check()
    fill(tmp_path / "more", ["x"], 0)
    for name in ("1", "2", "3", "4"):
        (tmp_path / "cat" / f"{name}.png").unlink()
    with pytest.raises(ValueError, match="cannot hold out 25% of 1 images"):
        folder(tmp_path).check()
