"""Colours of classes can be told apart, by everybody and from the greys around them."""

import numpy as np
import pytest

from vmf_embeddings.evaluation.figures.style import COLOURS, MARKERS, MUTED, PAPER

# what is left of linear RGB without red, green or blue cones (Machado, Oliveira, Fernandes 2009)
SIGHT = {
    "all cones": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_CONES = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
TO_LAB = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]


def oklab(colours, sight=SIGHT["all cones"]):
    """OKLab coordinates [C, 3], black at 0 and white at 100 of the first."""
    from matplotlib.colors import to_rgb

    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(sight)).clip(0, 1)
    return 100 * np.cbrt(seen @ np.transpose(TO_CONES)) @ np.transpose(TO_LAB)


def test_white_is_a_hundred_and_has_no_colour():
    np.testing.assert_allclose(oklab([PAPER]), [[100, 0, 0]], atol=0.1)


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colours_of_classes_are_far_apart(sight):
    places = oklab(COLOURS, SIGHT[sight])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert apart[~np.eye(len(COLOURS), dtype=bool)].min() >= 10


def test_no_colour_of_a_class_is_grey_or_as_light_as_paper():
    lightness, a, b = oklab(COLOURS).T
    assert np.hypot(a, b).min() >= 8  # a grey has 0
    assert np.hypot(*oklab([MUTED])[0, 1:]) < 3
    assert lightness.max() <= 90


def test_a_hundred_classes_differ_in_colour_or_marker():
    assert len(set(COLOURS)) * len(set(MARKERS)) == 100
