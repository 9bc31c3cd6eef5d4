"""Places of embeddings on a map, where rows are alike."""

import numpy as np
import pytest

from vmf_embeddings.evaluation.map_positions import tsne_positions
from vmf_embeddings.geometry import from_meta


@pytest.mark.parametrize("geometry", [{"name": "euclidean"}, {"name": "poincare", "c": 1.0}])
def test_rows_that_are_all_equal_are_at_one_place(geometry):
    places = tsne_positions(np.full((6, 5), 0.1), from_meta(geometry), 0)
    np.testing.assert_array_equal(places, np.zeros((6, 2)))


def test_all_rows_but_one_may_be_equal():
    rows = np.zeros((8, 5))
    rows[0] = 1
    places = tsne_positions(rows, from_meta({"name": "euclidean"}), 0)
    assert places.shape == (8, 2) and np.isfinite(places).all()
