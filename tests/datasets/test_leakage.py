"""One image is in one split, under one label: the same for every data set of files."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.benchmarks import build
from tests.datasets.images import draw
from tests.datasets.test_csv_table import table, write
from tests.datasets.test_folder import fill, folder
from tests.datasets.test_labelled_lists import lists
from vmf_embeddings.datasets.holdout import hold_out, hold_out_images
from vmf_embeddings.datasets.leakage import refuse_shared_images
from vmf_embeddings.datasets.rows import Rows

SPLITS = ("train", "train", "train", "valid", "test")


@pytest.fixture
def rows(tmp_path):
    """Rows (label, path, split) of a table, whose images exist."""
    found = []
    for label, name in enumerate("ab"):
        for i, split in enumerate(SPLITS):
            draw(tmp_path / name / f"{i}.png", seed=i, label=label)
            found.append((name, f"{name}/{i}.png", split))
    return found


def parts_of(root, **files):
    return {
        split: Rows(list(paths), np.array(list(paths.values())), root)
        for split, paths in files.items()
    }


def check(parts):
    return refuse_shared_images(parts, "t", str)


def of_csv(root, rows):
    table(write(root / "t.csv", rows)).check()


def of_lists(root, rows):
    for split in ("train", "valid", "test"):
        own = [f"{path} {'ab'.index(label)}" for label, path, s in rows if s == split]
        (root / {"valid": "val"}.get(split, split)).with_suffix(".txt").write_text("\n".join(own))
    lists(root).check()


@pytest.mark.parametrize("check_data", [of_csv, of_lists])
@pytest.mark.parametrize("spelled", ["a/0.png", "./a/0.png", "a//0.png", "b/../a/0.png"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_one_path_in_two_splits_is_refused_however_it_is_written(
    rows, tmp_path, check_data, spelled, split
):
    check_data(tmp_path, rows)
    with pytest.raises(ValueError, match=f"train and {split} share 1 image, such as .*a/0.png"):
        check_data(tmp_path, [*rows, ("a", spelled, split)])


@pytest.mark.parametrize("check_data", [of_csv, of_lists])
def test_a_symbolic_link_is_the_image_that_it_leads_to(rows, tmp_path, check_data):
    (tmp_path / "b" / "again.png").symlink_to(tmp_path / "a" / "0.png")
    with pytest.raises(ValueError, match=r"share 1 image, .*a/0.png, which is also .*b/again.png"):
        check_data(tmp_path, [*rows, ("a", "b/again.png", "test")])


@pytest.mark.parametrize("check_data", [of_csv, of_lists])
def test_one_image_with_two_labels_is_refused_with_both(rows, tmp_path, check_data):
    with pytest.raises(ValueError, match=r"1 image with two labels, .*a/1.png, once . and once ."):
        check_data(tmp_path, [*rows, ("b", "a/1.png", "train")])


def test_an_image_twice_in_one_split_under_one_label_is_allowed(rows, tmp_path):
    of_csv(tmp_path, [*rows, rows[-1], rows[0]])


@pytest.mark.parametrize("seed", range(5))
def test_all_rows_of_an_image_are_held_out_together(rows, tmp_path, seed):
    order = np.random.default_rng(seed).permutation(6)
    train = [rows[i] for i in (0, 1, 2, 5, 6, 7)]
    thrice = [train[i] for i in [*order, *order[::-1], *order]]
    test = [row for row in rows if row[2] == "test"]
    data = table(write(tmp_path / "t.csv", [*thrice, *test]), valid_share=0.4)
    data.check()
    train, valid = (set(data.split(name).paths) for name in ("train", "valid"))
    assert not train & valid
    assert len(train | valid) == 6
    assert len(data.split("train")) + len(data.split("valid")) == 18


def test_without_repeated_images_the_choice_is_the_one_by_rows(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, 200)
    files = {f"{i}.png": int(label) for i, label in enumerate(labels)}
    rows = parts_of(tmp_path, train=files)["train"]
    held_out = hold_out(rows, 0.2, by_class=False)
    assert (held_out == hold_out_images(labels, 0.2)).all()


def test_linked_folders_do_not_hide_that_splits_are_one(tmp_path):
    fill(tmp_path / "train", ["a", "b"], 4)
    (tmp_path / "test").symlink_to(tmp_path / "train")
    with pytest.raises(ValueError, match="train and (valid|test) share . image"):
        folder(tmp_path).check()


def test_published_lists_are_held_to_it_too(tmp_path):
    for split, line in (("train", "a.jpg,0"), ("val", "b.jpg,1"), ("test", "./a.jpg,2")):
        (tmp_path / f"{split}.txt").write_text(line)
    with pytest.raises(ValueError, match=r"train and test share 1 image, such as .*a.jpg"):
        build("cars196", tmp_path).split("test")


def test_query_and_gallery_of_a_published_set_may_be_one_image(tmp_path):
    lines = ["x 1 train", "y 2 train", "q 3 query", "q 3 gallery"]
    text = "\n".join(["4", "image_name item_id evaluation_status", *lines])
    (tmp_path / "list_eval_partition.txt").write_text(text)
    build("inshop", tmp_path, validation="by_class", valid_share=0.5).split("test")


def test_hard_links_are_copies_and_are_warned_of(tmp_path):
    draw(tmp_path / "a.png", seed=0)
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    said = check(parts_of(tmp_path, train={"a.png": 0}, test={"b.png": 0}))
    assert "1 image in two splits or under two labels as hard links" in said
    assert check(parts_of(tmp_path, train={"a.png": 0, "b.png": 0}, test={"c.png": 0})) is None


def test_missing_images_are_told_apart_by_their_paths(tmp_path):
    check(parts_of(tmp_path, train={"a.png": 0}, test={"b.png": 0}))
    with pytest.raises(ValueError, match="share 1 image"):
        check(parts_of(tmp_path, train={"a.png": 0}, test={"./a.png": 0}))


def test_rows_chosen_from_others_do_not_ask_the_file_system_again(tmp_path, monkeypatch):
    draw(tmp_path / "a.png", seed=0)
    rows = parts_of(tmp_path, train={"a.png": 0, "b.png": 1})["train"]
    assert rows.states.sizes[0] == Path(tmp_path / "a.png").stat().st_size
    monkeypatch.setattr("vmf_embeddings.datasets.rows.states_of", lambda paths: 1 / 0)
    assert rows.chosen(np.array([False, True])).states.sizes.tolist() == [-2]
