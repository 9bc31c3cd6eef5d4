"""The embedding map of three-dimensional embeddings."""

import numpy as np

from vmf_embeddings.evaluation.figures.items import Items
from vmf_embeddings.evaluation.figures.sphere import draw_sphere
from vmf_embeddings.evaluation.figures.style import styled


def test_embeddings_that_all_lie_on_one_side_of_the_sphere_are_drawn():
    rows = np.tile([0.0, 0.6, 0.8], (6, 1))
    numbers, classes = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1])
    with styled():
        figure = draw_sphere(Items(rows, numbers, classes, None, None, "one side", 6))
    points = [len(axes.collections[0].get_offsets()) for axes in figure.axes[:2]]
    assert sorted(points)[-1] == 6
