"""Laws and golden numbers of standard errors over rows and classes."""

import numpy as np
import pytest

from tests.conftest import load_golden
from vmf_embeddings.metrics.standard_errors import error_over_classes, error_over_rows

GOLDEN = load_golden("significance")


@pytest.mark.parametrize("case", ["s0", "s1"])
@pytest.mark.parametrize("score", ["hit", "ap"])
def test_golden_numbers(case, score):
    a, b = (GOLDEN[f"{case}/{score}/{run}"] for run in "ab")
    for name, values in (("a", a), ("b", b), ("difference", b - a)):
        place = f"{case}/{score}/{name}"
        assert error_over_rows(values) == pytest.approx(GOLDEN[f"{place}/se_rows"], rel=1e-9)
        over_classes = error_over_classes(values, GOLDEN[f"{case}/labels"])
        assert over_classes == pytest.approx(GOLDEN[f"{place}/se_classes_linearised"], rel=1e-9)


def test_classes_of_one_row_give_the_error_over_rows():
    values = np.random.default_rng(0).normal(size=50)
    expected = error_over_rows(values)
    assert error_over_classes(values, np.arange(50)) == pytest.approx(expected, rel=1e-12)


def test_unknown_values_are_left_out():
    values, classes = np.array([1.0, np.nan, 0.0, 3.0]), ["a", "b", "a", "c"]
    known = [0, 2, 3]
    assert error_over_rows(values) == error_over_rows(values[known])
    expected = error_over_classes(values[known], ["a", "a", "c"])
    assert error_over_classes(values, classes) == expected


def test_equal_rows_of_a_class_are_one_observation():
    values, classes = np.repeat([0.1, 0.4, 0.9], 20), np.repeat([0, 1, 2], 20)
    expected = error_over_rows([0.1, 0.4, 0.9])
    assert error_over_classes(values, classes) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("values", [[1.0], [np.nan, 2.0]])
def test_one_value_has_no_error(values):
    assert np.isnan(error_over_rows(values))
    assert np.isnan(error_over_classes(values, [0] * len(values)))
