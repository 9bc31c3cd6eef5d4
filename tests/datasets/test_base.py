"""The hash that says what a split holds."""

import numpy as np

from vmf_embeddings.datasets.base import identity_of


def test_identity_depends_on_every_part_and_on_where_parts_end():
    base = ["mnist", np.array([1, 2]), np.array([0, 1])]
    assert identity_of(base) == identity_of(["mnist", np.array([1, 2]), np.array([0, 1])])
    others = [
        ["mnist", np.array([2, 1]), np.array([0, 1])],
        ["mnist", np.array([1, 2]), np.array([1, 0])],
        ["mnis", "t", np.array([1, 2]), np.array([0, 1])],
        ["mnist", np.array([1, 2, 0]), np.array([1])],
    ]
    assert len({identity_of(parts) for parts in [base, *others]}) == 5


def test_identity_does_not_depend_on_the_integer_type():
    assert identity_of([np.array([1, 2], np.int32)]) == identity_of([np.array([1, 2], ">i8")])
