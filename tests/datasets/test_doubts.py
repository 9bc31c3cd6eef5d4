"""What may be a mistake in the classes of splits is said."""

import pytest

from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.wording import counted

FULL = {"train": ["a", "b"], "valid": ["a", "b"], "test": ["a", "b"]}


def test_splits_that_have_the_classes_of_train_need_no_word():
    assert doubts(FULL, open_set=False) == []
    assert doubts({"train": ["a", "b"], "test": ["c", "d"]}, open_set=True) == []


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_closed_split_without_a_class_of_train_is_named(split):
    (said,) = doubts(FULL | {split: ["b"]}, open_set=False)
    assert said.startswith(f"{split} lacks 1 class of train: a;")


def test_an_open_split_with_classes_of_train_is_named():
    (said,) = doubts(FULL | {"test": ["c", "d"]}, open_set=True)
    assert said.startswith("2 valid classes in train too: a, b.")


def test_an_open_split_of_one_class_is_named():
    (said,) = doubts({"train": ["a", "b"], "valid": ["c", "d"], "test": ["e"]}, open_set=True)
    assert said.startswith("test has one class, e:") and "dataset.params.test_share" in said


@pytest.mark.parametrize("other", ["A", " a", "a ", "\u200ba"])
def test_classes_of_one_split_that_are_spelled_nearly_alike_are_named(other):
    classes = ["a", other, "b"]
    (said,) = doubts({"train": classes, "test": classes}, open_set=False)
    assert repr(other) in said and "'a'" in said and "1 group" in said


def test_long_lists_are_cut():
    (said,) = doubts({"train": list("abcdefgh"), "test": ["a"]}, open_set=False)
    assert "7 classes of train: b, c, d, e, f and 2 more" in said


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [(1, "train image", "1 train image"), (3, "class", "3 classes"), (2, "copy", "2 copies")],
)
def test_the_last_word_takes_the_plural(n, noun, said):
    assert counted(n, noun) == said
