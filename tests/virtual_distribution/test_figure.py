"""What the pictures of virtual examples show."""

import pytest
import torch

from vmf_embeddings.metrics import Thresholds
from vmf_embeddings.virtual_distribution.distribution import Groups, Series
from vmf_embeddings.virtual_distribution.figure import draw

GROUPS = Groups(torch.tensor([10, 400, 50, 200, 40]), Thresholds())
SERIES = [
    Series("tau=1", torch.tensor([12.0, 390, 60, 190, 48])),
    Series("tau=20", torch.full((5,), 140.0)),
]


@pytest.mark.parametrize("ordered", (True, False))
def test_bars_are_the_means_of_the_groups(ordered):
    figure = draw("a run", GROUPS, SERIES, ordered=ordered)
    top, bottom = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in top.containers]
    assert heights == [[300, 45, 10], [290, 54, 12], [140, 140, 140]]
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["training images", "tau=1", "tau=20", "uniform: 140 each"]
    assert len({bars[0].get_facecolor() for bars in top.containers}) == 3
    curve = next(line for line in bottom.lines if len(line.get_xdata()) == 5)
    assert curve.get_ydata().tolist() == [390, 190, 60, 48, 12]  # the most frequent class first


def test_series_whose_colours_repeat_differ_in_hatch_and_line():
    many = [Series(f"_run {n}", torch.full((5,), 10.0 + n)) for n in range(12)]
    figure = draw("a run", GROUPS, many, ordered=False)
    top, bottom = figure.axes
    bars = [(bars[0].get_facecolor(), bars[0].get_hatch()) for bars in top.containers[1:]]
    lines = [line for line in bottom.lines if len(line.get_xdata()) == 5]
    assert len(set(bars)) == len({(x.get_color(), x.get_linestyle()) for x in lines}) == 12
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][1:-1] == [s.label for s in many]
