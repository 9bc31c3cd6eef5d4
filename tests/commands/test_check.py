"""`check DATA` finds what is wrong with data before anyone trains on them."""

import json
import os
import shlex

import numpy as np
import pytest

from tests.commands.run import MAIN, command, refused, succeeds
from tests.datasets.images import draw
from tests.datasets.test_csv_table import write
from tests.datasets.test_folder import fill
from tests.datasets.test_folder_layout import tree

PROGRAM = "vmf_embeddings"
QUICK = ["dataset.params.image_size=16", "mode.epochs=1", "arch.params.embedding_dim=4"]


def found(path, *arguments, code, cwd):
    done = command(PROGRAM, "check", str(path), "--json", *arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def table_of(root, extra=()):
    tree(root, "a", "b", n_images=8)
    splits = ["train"] * 5 + ["valid"] + ["test"] * 2
    rows = [(name, f"{name}/{i}.png", split) for name in "ab" for i, split in enumerate(splits)]
    return write(root / "t.csv", [*rows, *extra])


def lists_of(root):
    tree(root, "a", "b", n_images=8)
    for split, part in (("train", range(6)), ("test", (6, 7))):
        lines = [f"{name}/{i}.png {name}" for name in "ab" for i in part]
        (root / f"{split}.txt").write_text("\n".join(lines))
    return root


def folder_of(root):
    return tree(root, "Train/a", "Train/b", "Test/a", "Test/b", n_images=8)


@pytest.mark.slow
@pytest.mark.parametrize("make", [table_of, lists_of, folder_of])
def test_the_suggested_command_trains(tmp_path, make):
    data = make(tmp_path / "my data (1)")
    said = succeeds(PROGRAM, "check", str(data), cwd=tmp_path)
    typed = shlex.split(said.rstrip().split("fine; next: ")[1])
    assert typed[:3] == ["python", "-m", MAIN]
    done = command(MAIN, *typed[3:], *QUICK[1:], "sampler.batch_size=8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_counts_are_per_split_and_class(tmp_path):
    said = found(table_of(tmp_path), code=0, cwd=tmp_path)
    assert said["counts"] == {
        "train": {"a": 5, "b": 5}, "valid": {"a": 1, "b": 1}, "test": {"a": 2, "b": 2},
    }  # fmt: skip
    assert said["fine"] and said["faults"] == [] and said["broken"] == {}


def test_every_fault_is_found_at_once(tmp_path):
    extra = [
        ("a", "./a/0.png", "test"),  # in train too
        ("b", "a/1.png", "train"),  # under two labels
        ("a", "copy.png", "test"),  # content of b/0.png
        ("a", "cut.jpg", "test"),
        ("a", "empty.png", "train"),
        ("a", "b", "train"),  # a folder
        ("a", "gone.png", "valid"),
        ("c", "a/7.png", "test"),  # a class that train lacks
    ]
    table = table_of(tmp_path, extra)
    (tmp_path / "copy.png").write_bytes((tmp_path / "b" / "0.png").read_bytes())
    draw(tmp_path / "cut.jpg", seed=5)
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").touch()
    said = found(table, "--open-set=false", code=1, cwd=tmp_path)
    assert {os.path.basename(path) for path in said["broken"]} == {
        "cut.jpg", "empty.png", "b",
    }  # fmt: skip
    faults = "\n".join(said["faults"])
    assert "train and test share 1 image" in faults
    assert "copies in two splits, such as" in faults and "copy.png" in faults
    assert "1 test image of classes that train lacks: c" in faults
    assert "1 of 3 valid images does not exist; the first is" in faults and "gone.png" in faults


def test_two_labels_are_found_where_no_split_is_shared(tmp_path):
    said = found(table_of(tmp_path, [("b", "a/1.png", "train")]), code=1, cwd=tmp_path)
    assert "1 image with two labels" in said["faults"][0]


@pytest.mark.parametrize(("split", "code"), [("train", 0), ("test", 1)])
def test_copies_are_noted_in_one_split_and_a_fault_in_two(tmp_path, split, code):
    table = table_of(tmp_path, [("a", "copy.png", split)])
    (tmp_path / "copy.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    said = found(table, code=code, cwd=tmp_path)
    assert "1 image has copies in" in "".join(said["notes"] if code == 0 else said["faults"])


def test_classes_with_one_image_and_files_passed_over_are_noted(tmp_path):
    root = folder_of(tmp_path / "d")
    draw(root / "Train" / "lonely" / "0.png", seed=707)
    (root / "Train" / "a" / "notes.txt").write_text("")
    said = found(root, code=0, cwd=tmp_path)
    assert "1 train class has a single image: lonely" in said["notes"]
    assert any("1 .txt" in note for note in said["notes"])


def test_an_emptied_class_is_to_be_mended(tmp_path):
    root = folder_of(tmp_path / "d")
    (root / "Train" / "empty").mkdir()
    assert "without an image: Train/empty" in found(root, code=1, cwd=tmp_path)["faults"][0]


def test_what_training_would_refuse_is_said(tmp_path):
    root = tree(tmp_path / "d", "train/a", "train/b", "val/a", "validation/a")
    assert "both name the valid split" in found(root, code=1, cwd=tmp_path)["faults"][0]
    fill(tmp_path / "one", ["a"], 8)
    assert "fewer than two classes" in found("one", code=1, cwd=tmp_path)["faults"][0]


def test_embeddings_are_counted_by_class(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.savez(tmp_path / "f.npz", features=rows, labels=np.array(list("aabbcc")))
    said = found("f.npz", code=0, cwd=tmp_path)
    assert said["counts"] == {"rows": {"a": 2, "b": 2, "c": 2}}
    assert "vmf_embeddings.evaluate f.npz" in said["command"]
    rows[2] = 0
    np.savez(tmp_path / "f.npz", features=rows, labels=np.array(list("aabbcc")))
    assert "1 row of zeros" in found("f.npz", code=1, cwd=tmp_path)["faults"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing does not exist; expected a folder"),
        (["list.txt"], "list.txt is one list; give the folder"),
        (["x.zip"], "x.zip"),
        ([], "DATA"),
        (["list.txt", "--jsn"], "did you mean --json?"),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_a_mistake(tmp_path, arguments, said):
    (tmp_path / "list.txt").write_text("a.png 1")
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert said in refused(PROGRAM, "check", *arguments, cwd=tmp_path)


def test_training_on_one_class_is_refused(tmp_path):
    fill(tmp_path / "one", ["cat"], 8)
    own = ["dataset=folder", "dataset.params.dataset_path=one", "arch=resnet18", *QUICK]
    said = " ".join(refused(MAIN, *own, cwd=tmp_path).split())
    assert "training images belong to one class, 'cat': training needs at least two" in said


@pytest.mark.parametrize("name", ["val.txt", "valid.txt", "validation.txt"])
def test_a_validation_list_is_found_by_its_usual_names(tmp_path, name):
    root = lists_of(tmp_path)
    draw(root / "v.png", seed=77)
    (root / name).write_text("v.png a")
    said = found(root, code=0, cwd=tmp_path)
    assert said["counts"]["valid"] == {"a": 1} and f"valid_list={name}" in said["command"]
    assert any("valid lacks 1 class of train: b" in note for note in said["notes"])


@pytest.mark.parametrize("header", ["id,class", "a,0.png", "# images"])
def test_tables_of_images_are_told_by_their_paths(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n0.png,cat\n1.png,dog\n")
    (said,) = found("t.csv", code=1, cwd=tmp_path)["faults"]
    assert "has no column '" in said and "Expected" in said


def test_a_table_without_train_says_so(tmp_path):
    tree(tmp_path, "a", "b")
    table = write(tmp_path / "t.csv", [(c, f"{c}/{i}.png", "test") for c in "ab" for i in (0, 1)])
    assert "there are no train images, only test" in found(table, code=1, cwd=tmp_path)["faults"]
