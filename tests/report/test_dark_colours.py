"""Colours of classes on a dark page: everybody can tell them apart, and from the ground."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from tests.evaluation.test_colours import SIGHT, oklab
from vmf_embeddings import report
from vmf_embeddings.evaluation.figures.style import COLOURS
from vmf_embeddings.report.page import DARK_COLOURS

STYLE = (Path(report.__file__).parent / "page" / "style.css").read_text()


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_are_far_apart(sight):
    places = oklab(DARK_COLOURS, SIGHT[sight])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert apart[~np.eye(len(DARK_COLOURS), dtype=bool)].min() >= 10
    assert len(DARK_COLOURS) == len(COLOURS)


@pytest.mark.parametrize("ground", ["paper", "globe"])
def test_each_has_a_contrast_of_three_with_the_ground(ground):
    dark = STYLE.partition('data-theme="dark"')[2]
    below = luminance(re.search(rf"--{ground}: (#\w+)", dark)[1])
    for colour in DARK_COLOURS:
        assert (luminance(colour) + 0.05) / (below + 0.05) >= 3, colour
