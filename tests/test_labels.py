"""Labels of any type: one rule for folders, tables, lists and arrays."""

import math

import numpy as np
import pytest

from vmf_embeddings.labels import is_whole_number, read_labels, spelling

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "labels",
    [
        ["3", "-1", "10"],
        [3, -1, 10],
        [3.0, -1.0, 10.0],
        np.array([3, -1, 10], np.int8),
        np.array([3, -1, 10], ">f4"),
        np.array(["3", "-1", "10"]),
        np.array([b"3", b"-1", b"10"]),
        [3, "-1", np.int64(10)],
        [" 3", "-1 ", "\ufeff10"],
    ],
    ids=lambda labels: repr(labels)[:40],
)
def test_whole_numbers_stay_the_numbers_they_are(labels):
    numbers, names = read_labels(labels)
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [3, -1, 10]
    assert names is None


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1", "01", "001"], ["001", "01", "1"]),
        (["1", "1.0", "2"], ["1", "1.0", "2"]),
        (["1.0", "2.0"], ["1.0", "2.0"]),
        (["+1", "1"], ["+1", "1"]),
        (["1_0", "10"], ["10", "1_0"]),
        (["-0", "0"], ["-0", "0"]),
        (["\u0661", "1"], ["1", "\u0661"]),
        (["1", "cat"], ["1", "cat"]),
        ([1, "cat"], ["1", "cat"]),
        (["true", "false"], ["false", "true"]),
        ([True, False], ["False", "True"]),
        (["9" * 30, "1"], ["1", "9" * 30]),
        ([2**63, 1], ["1", str(2**63)]),
        (["1e3", "1"], ["1", "1e3"]),
        (["NA", "DE"], ["DE", "NA"]),
        (["A", "a"], ["A", "a"]),
        ([b"cat", "dog"], ["cat", "dog"]),
        ([" cat", "cat ", "dog"], ["cat", "dog"]),
    ],
    ids=repr,
)
def test_everything_else_is_text_and_keeps_its_name(labels, names):
    numbers, found = read_labels(labels)
    assert found == names
    written = [str(x.decode() if isinstance(x, bytes) else x).strip() for x in labels]
    assert [found[i] for i in numbers] == written


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1.0, 1.6], "row 1: expected a class, got 1.6"),
        ([1.0, math.nan], "row 1: expected a class, got nan"),
        ([math.inf, 1.0], "row 0: expected a class, got inf"),
        (["a", math.nan], "row 1: expected a class, got nan"),
        (["a", None], "row 1: expected a number or a text, got None"),
        ([1, None], "row 1: expected a number or a text, got None"),
        (["a", " "], "row 1: the label is empty"),
        (["1", "2", "nan"], "row 2: 'nan' among numbers"),
        (["1.5", "NA"], "row 1: 'NA' among numbers"),
        ([b"\xff", b"a"], "is not UTF-8"),
        ([[1, 2]], "expected one label per row"),
        ([], "expected one label per row"),
        (np.array(["2020-01-01"], "datetime64[D]"), "expected numbers or text"),
        ([NFC, NFD], "look the same"),
        ([(1, 2), "a"], "expected a number or a text, got tuple"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_names_no_class_is_refused_with_its_row(labels, said):
    if labels and isinstance(labels[0], tuple):
        pairs = np.empty(2, object)
        pairs[:] = labels
        labels = pairs
    with pytest.raises(ValueError, match=said):
        read_labels(labels)


def test_the_place_is_the_callers():
    with pytest.raises(ValueError, match="^t.csv line 3: the label is empty"):
        read_labels(["a", ""], place=lambda row: f"t.csv line {row + 2}")


@pytest.mark.parametrize("number", [0, 7, -7, 2**63 - 1, -(2**63)])
def test_a_number_is_whole_exactly_as_python_writes_it(number):
    assert is_whole_number(str(number))
    assert not is_whole_number(f"0{number}")
    assert not is_whole_number(f"{number}.0")
    assert not is_whole_number(str(2**63))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), (NFC, NFD), ("1", "01"), ("1", "1.0"), ("a  b", "A b"), ("x\u200b", "x")],
)
def test_spellings_of_one_name_are_equal(one, other):
    assert spelling(one) == spelling(other)


@pytest.mark.parametrize(("one", "other"), [("cat", "cats"), ("1", "10"), ("0", "00a")])
def test_spellings_of_two_names_differ(one, other):
    assert spelling(one) != spelling(other)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_whole_numbers_of_any_type_of_float_are_read_without_a_warning(kind):
    assert read_labels(np.array([3, 0, 3], kind))[0].tolist() == [3, 0, 3]
