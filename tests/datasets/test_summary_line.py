"""One line says what was found in a data set and what was taken for what."""

import logging

import pytest

from tests.datasets.test_csv_table import table, write
from tests.datasets.test_folder import fill, folder
from tests.datasets.test_folder_layout import tree
from tests.datasets.test_labelled_lists import lists


def line_of(data, caplog):
    caplog.set_level(logging.INFO)
    data.check()
    found = [m for m in caplog.messages if m.startswith(f"{data.dataset_path}: train")]
    assert len(found) == 1
    return found[0]


def test_split_folders_are_named_as_they_are_called(tmp_path, caplog):
    tree(tmp_path, "Train/a", "Train/b", "Testing/a", "Testing/b", n_images=5)
    (tmp_path / "Train" / "a" / "notes.txt").write_text("")
    said = line_of(folder(tmp_path), caplog)
    assert "train 8 images of 2 classes (folder Train), " in said
    assert "valid 2 images of 2 classes (held out of train), " in said
    assert "test 10 images of 2 classes (folder Testing); classification" in said
    assert "1 file passed over, no images by their names: 1 .txt" in said


def test_class_folders_alone_are_said_to_be_split_here(tmp_path, caplog):
    fill(tmp_path, ["a", "b"], 10)
    said = line_of(folder(tmp_path), caplog)
    assert "(held out of the class folders)" in said


def test_an_open_set_is_called_what_it_is(tmp_path, caplog):
    tree(tmp_path, "train/a", "train/b", "train/c", "test/d", "test/e")
    assert "; retrieval of classes that train lacks" in line_of(folder(tmp_path), caplog)


@pytest.mark.parametrize("kind", ["csv", "lists"])
def test_tables_and_lists_say_what_is_held_out(tmp_path, caplog, kind):
    fill(tmp_path, ["a", "b"], 8)
    rows = [(c, f"{c}/{i}.png", "train" if i < 6 else "test") for c in "ab" for i in range(8)]
    if kind == "csv":
        data = table(write(tmp_path / "t.csv", rows))
    else:
        for split in ("train", "test"):
            own = "\n".join(f"{path} {label}" for label, path, s in rows if s == split)
            (tmp_path / f"{split}.txt").write_text(own)
        data = lists(tmp_path, valid_list=None)
    assert "valid 3 images of 2 classes (held out of train)" in line_of(data, caplog).replace(
        "valid 2 images", "valid 3 images"
    )
