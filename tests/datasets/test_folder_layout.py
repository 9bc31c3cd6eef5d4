"""What a folder is taken for: a split, a class, or a reason to ask."""

import pytest

from tests.datasets.images import draw
from tests.datasets.test_folder import fill, folder
from vmf_embeddings.datasets.folder_layout import read_layout
from vmf_embeddings.datasets.split_names import looks_like_split

NFC, NFD = "caf\u00e9", "cafe\u0301"
SPELLINGS = [("Cat", "cat"), (NFC, NFD), ("1", "01"), ("a b", "a  b")]


def tree(root, *folders, n_images=4):
    """Images in each folder, all different."""
    for number, name in enumerate(folders):
        for i in range(n_images):
            draw(root / name / f"{i}.png", seed=100 * number + i, label=number % 2)
    return root


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training"])
@pytest.mark.parametrize(
    ("other", "split"),
    [
        ("test", "test"), ("Testing", "test"), ("EVAL", "test"), ("evaluation", "test"),
        ("val", "valid"), ("Valid", "valid"), ("VALIDATION", "valid"), ("dev", "valid"),
    ],
)  # fmt: skip
def test_splits_are_known_by_their_usual_names_in_any_case(tmp_path, train, other, split):
    tree(tmp_path, f"{train}/cat", f"{train}/dog", f"{other}/cat", f"{other}/dog")
    data = folder(tmp_path)
    data.check()
    assert data.found.folders == {"train": train, split: other}
    assert data.folder_names == ["cat", "dog"]
    assert len(data.split(split)) == 8


def test_with_train_alone_its_folders_are_the_classes(tmp_path):
    data = folder(tree(tmp_path, "train/cat", "train/dog", "train/owl"))
    data.check()
    assert data.split("train").class_names == ["cat", "dog", "owl"]
    assert len(data.split("train")) + len(data.split("valid")) == 12
    with pytest.raises(ValueError, match="has no test images; it has train, valid"):
        data.split("test")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["train/a", "train/b", "val/a", "validation/a"], "val and validation both name the valid"),
        (["train/a", "train/b", "Train/a"], "Train and train both name the train split"),
        (["train/a", "train/b", "test2/a"], "test2 lies beside split folders and looks like"),
        (["train/a", "train/b", "tset/a"], "tset lies beside split folders and looks like"),
        (["train/a", "train/b", "owl"], "owl lies beside split folders and is no split"),
        (["test/a", "test/b"], "has no train folder .* only test"),
        (["train", "test"], "test looks like a split, but its images lie in no class"),
        (["train", "cat", "dog"], "train looks like a split, but its images lie in no class"),
        (["train_images/a", "train_images/b", "test_images/a"], "test_images looks like a split"),
        (["train2017", "val2017"], "train2017 looks like a split"),
        (["trian/a", "trian/b", "tset/a"], "trian looks like a split"),
        (["cat/train", "cat/test", "dog/train"], "cat would be taken .* the split folder test"),
        (["birds/train/a", "birds/train/b"], "dataset.params.dataset_path=.*/birds"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_what_may_be_a_split_and_is_not_taken_for_one_is_refused(tmp_path, folders, said):
    tree(tmp_path, *folders)
    with pytest.raises(ValueError, match=said) as refusal:
        folder(tmp_path).check()
    assert "split" in str(refusal.value)


def test_the_option_in_the_message_takes_every_folder_as_a_class(tmp_path):
    tree(tmp_path, "train", "bus", "car")
    with pytest.raises(ValueError, match="dataset.params.layout=classes"):
        folder(tmp_path).check()
    data = folder(tmp_path, layout="classes")
    data.check()
    assert data.folder_names == ["bus", "car", "train"]
    with pytest.raises(ValueError, match="layout is one of auto, classes"):
        folder(tmp_path, layout="class")


@pytest.mark.parametrize(
    "name", ["bullet train", "train_station", "test_tube", "rain/x", "trainer"]
)
def test_classes_that_only_contain_such_a_word_are_classes(tmp_path, name):
    assert not looks_like_split(name)
    data = folder(tree(tmp_path, name, "cat"))
    data.check()
    assert data.folder_names == sorted([name.split("/")[0], "cat"])


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_a_class_that_is_spelled_otherwise_in_another_split_is_refused(tmp_path, one, other):
    tree(tmp_path, f"train/{one}", "train/dog", f"test/{other}", "test/dog")
    for open_set in (None, False):
        with pytest.raises(ValueError, match="is written|look the same"):
            folder(tmp_path, open_set=open_set).check()


def test_where_the_user_says_that_classes_differ_another_spelling_is_logged(tmp_path, caplog):
    tree(tmp_path, "train/folder-new", "train/dog", "test/folder_new", "test/cat")
    folder(tmp_path, open_set=True).check()
    assert "'folder_new' of test is written 'folder-new' in train" in caplog.text


def test_classes_that_differ_in_case_in_every_split_are_two(tmp_path):
    tree(tmp_path, *(f"{split}/{name}" for split in ("train", "test") for name in "aAb"))
    data = folder(tmp_path)
    data.check()
    assert data.split("train").class_names == ["A", "a", "b"]


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    tree(tmp_path, "a", "b", "c")
    for path in (tmp_path / "c").glob("*.png"):
        path.rename(path.with_suffix(".heic"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    draw(tmp_path / "loose.png", seed=1)
    draw(tmp_path / "a" / ".thumbnails" / "0.png", seed=1)
    draw(tmp_path / "b" / "@eaDir" / "0.png", seed=1)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    found = read_layout(tmp_path)
    assert {name: len(files) for name, files in found.files[""].items()} == {"a": 4, "b": 4}
    said = "; ".join(found.passed_over.sentences)
    assert "6 files passed over, no images by their names: 4 .heic" in said
    assert "1 .txt" in said and "1 .DS_Store" in said
    assert "1 image outside class folders passed over: loose.png" in said
    assert "2 class folders without an image: c, empty" in said
    assert "1 link to folders not followed: b/link" in said


def test_a_test_folder_without_classes_is_said_to_be_unused(tmp_path):
    tree(tmp_path, "train/a", "train/b", "test")
    found = read_layout(tmp_path)
    assert list(found.files) == ["train"]
    assert "test holds 4 images without class folders" in "; ".join(found.passed_over.sentences)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".avif", ".webp", ".tga", ".jp2", ".ico"])
def test_whatever_pillow_reads_here_is_read(tmp_path, suffix):
    fill(tmp_path, ["a", "b"], 3)
    from PIL import Image

    image = Image.open(tmp_path / "a" / "0.png")
    kind = {".jfif": "JPEG", ".JPE": "JPEG"}.get(suffix)
    image.save(tmp_path / "a" / f"other{suffix}", format=kind)
    data = folder(tmp_path)
    assert sum(len(data.split(name)) for name in ("train", "valid", "test")) == 7
    paths = [path for name in ("train", "valid", "test") for path in data.split(name).paths]
    assert any(path.endswith(suffix) for path in paths)


@pytest.mark.parametrize(
    "names",
    [
        ["bounding_box_train", "bounding_box_test", "query"],
        ["image_train", "image_test"],
        ["cat_train", "cat_test", "dog_train", "dog_test"],
        ["trainA", "trainB", "testA", "testB"],
        ["train-b", "other"],
    ],
    ids="-".join,
)
def test_folders_that_differ_in_the_word_for_a_split_are_no_classes(tmp_path, names):
    tree(tmp_path, *names)
    with pytest.raises(ValueError, match=r"look.*like.*split.*layout=classes"):
        read_layout(tmp_path)
    assert set(read_layout(tmp_path, "classes").files[""]) == set(names)


def test_folders_around_a_data_set_are_not_its_only_class(tmp_path):
    tree(tmp_path / "my data", "photos/a", "photos/b", "photos/c")
    with pytest.raises(ValueError, match="only class, and holds the folders a, b, c") as refusal:
        read_layout(tmp_path / "my data")
    assert f"'dataset.params.dataset_path={tmp_path}/my data/photos'" in str(refusal.value)
    assert len(read_layout(tmp_path / "my data", "classes").files[""]["photos"]) == 12


@pytest.mark.parametrize("outer", [["fold1", "fold2"], ["seen", "unseen"]])
def test_class_folders_with_the_same_folders_inside_are_noted(tmp_path, outer):
    tree(tmp_path, *(f"{name}/{inner}" for name in outer for inner in ("cat", "dog")))
    (said,) = read_layout(tmp_path).passed_over.sentences
    assert "every class folder holds the folders cat, dog" in said
    draw(tmp_path / outer[0] / "loose.png", seed=99)
    assert read_layout(tmp_path).passed_over.sentences == []
