"""What figures show of similarities: cosines, and distances in the order of the similarities."""

import numpy as np
import pytest
import torch

from vmf_embeddings.evaluation.similarities import as_shown, number_in_words
from vmf_embeddings.geometry import Cosine, Euclidean, Poincare

ROWS = 0.4 * torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(
    ("geometry", "name", "wanted"),
    (
        (Cosine(), "cosine", lambda x, y: x @ y / (x.norm() * y.norm())),
        (Euclidean(), "Euclidean distance", lambda x, y: (x - y).norm()),
        (
            Poincare(0.5),
            "geodesic distance",
            lambda x, y: torch.acosh(
                1 + (x - y).square().sum() / ((1 - 0.5 * x @ x) * (1 - 0.5 * y @ y))
            ) / 0.5**0.5,
        ),
    ),
)  # fmt: skip
def test_numbers_are_those_of_the_definition(geometry, name, wanted):
    rows = geometry.project(ROWS)
    values, found = as_shown(geometry, geometry.similarity(rows, rows).numpy())
    assert found == name
    others = ~np.eye(len(rows), dtype=bool)
    exact = np.array([[float(wanted(x, y)) for y in rows] for x in rows])
    assert values[others] == pytest.approx(exact[others], rel=1e-9)


def test_numbers_have_fewer_digits_after_the_point_the_larger_they_are():
    assert [number_in_words(x) for x in (-0.25, 12.34, 12345.6)] == ["-0.250", "12.3", "12346"]
