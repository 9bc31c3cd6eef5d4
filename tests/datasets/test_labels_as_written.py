"""Labels of tables and lists are what is written there: text, unless all are whole numbers."""

import pytest

from tests.datasets.images import draw
from tests.datasets.test_csv_table import table, write
from tests.datasets.test_labelled_lists import lists

SPLITS = ("train", "train", "valid", "test")


def of_table(root, classes):
    return table(write(root / "t.csv", list(rows(root, classes))))


def of_lists(root, classes):
    lines = list(rows(root, classes))
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test")):
        own = [f"{path} {label}" for label, path, s in lines if s == split]
        (root / f"{name}.txt").write_text("\n".join(own))
    return lists(root)


def rows(root, classes):
    for label, name in enumerate(classes):
        for i, split in enumerate(SPLITS):
            draw(root / f"{label}_{i}.png", seed=i, label=label)
            yield name, f"{label}_{i}.png", split


@pytest.mark.parametrize("data", [of_table, of_lists])
@pytest.mark.parametrize(
    "classes",
    [
        ["1", "01", "001"],
        ["1", "1.0"],
        ["true", "false"],
        ["7", "cat"],
        ["9" * 25, "8" * 25],
        ["0x1", "1"],
        ["NA", "DE"],
        ["=1+1", "ä"],
    ],
    ids=repr,
)
def test_classes_keep_the_names_that_are_written(tmp_path, data, classes):
    found = data(tmp_path, classes)
    found.check()
    train = found.split("train")
    assert train.class_names == sorted(classes)
    assert train.class_counts.tolist() == [2] * len(classes)


@pytest.mark.parametrize("data", [of_table, of_lists])
def test_whole_numbers_are_class_numbers(tmp_path, data):
    found = data(tmp_path, ["10", "-2", "3"])
    found.check()
    assert sorted(set(found.split("train").original_labels.tolist())) == [-2, 3, 10]


@pytest.mark.parametrize("data", [of_table, of_lists])
def test_a_missing_label_among_numbers_is_refused_with_its_line(tmp_path, data):
    with pytest.raises(ValueError, match=r"(t.csv line 10|train.txt line 5): 'nan' among numbers"):
        data(tmp_path, ["1", "2", "nan"]).check()


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("1", "01"), ("1.0", "1")])
def test_a_class_that_another_split_spells_otherwise_is_refused(tmp_path, one, other):
    lines = [
        (one if split != "test" else other, path, split) for _, path, split in rows(tmp_path, "a")
    ]
    lines += [("dog", path, split) for _, path, split in rows(tmp_path / "dog", "b")]
    lines = [(a, b if a != "dog" else f"dog/{b}", c) for a, b, c in lines]
    with pytest.raises(ValueError, match="is written"):
        table(write(tmp_path / "t.csv", lines)).check()


@pytest.mark.parametrize("word", ["Training", "TRAIN", "development", "Eval"])
def test_splits_of_a_table_have_their_usual_names(tmp_path, word):
    lines = [*rows(tmp_path, "ab")]
    known = {"Training": "train", "TRAIN": "train", "development": "valid", "Eval": "test"}
    lines = [(a, b, word if c == known[word] else c) for a, b, c in lines]
    data = table(write(tmp_path / "t.csv", lines))
    assert [len(data.split(name)) for name in ("train", "valid", "test")] == [4, 2, 2]
