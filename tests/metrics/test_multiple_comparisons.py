"""Laws and golden numbers of adjusted p-values."""

import numpy as np
import pytest

from tests.conftest import load_golden
from vmf_embeddings.metrics.multiple_comparisons import holm


def test_golden_numbers():
    golden = load_golden("significance")
    np.testing.assert_allclose(holm(golden["holm/p"]), golden["holm/adjusted"], rtol=1e-12)


def test_one_test_is_left_as_it_is():
    assert holm([0.04]).tolist() == [0.04]


def test_families_without_an_effect_are_rejected_as_rarely_as_promised():
    p = np.random.default_rng(0).random((4000, 5))
    rejected = np.mean([bool((holm(row) <= 0.05).any()) for row in p])
    # the share of 4000 families has a standard error of 0.35 %
    assert rejected == pytest.approx(1 - (1 - 0.05 / 5) ** 5, abs=0.011)


def test_the_order_of_tests_changes_nothing():
    p = np.random.default_rng(1).random(7)
    order = np.random.default_rng(2).permutation(7)
    np.testing.assert_array_equal(holm(p)[order], holm(p[order]))
