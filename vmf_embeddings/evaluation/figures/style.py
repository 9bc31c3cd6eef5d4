"""Colours and style of all figures, and how they are written."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.untrusted.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ten colours that can be told apart with colour vision deficiency (Petroff 2021, https://arxiv.org/abs/2107.02270)
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
MOST_NAMED_CLASSES = len(COLOURS)
INK, MUTED, PAPER = "#22262b", "#7b838c", "#ffffff"
ACCENT, SECOND = COLOURS[0], COLOURS[6]
HIT, MISS = "#009e73", "#d55e00"  # bluish green and vermilion of Okabe and Ito

_STYLE = {
    "figure.facecolor": PAPER,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    # dollar signs and backslashes in names from files are no formulas
    "text.parse_math": False,
    "text.usetex": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Applies the style to figures made within; matplotlib's global settings are restored."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """A new figure, `width` x `height` inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: Path) -> Path:
    """Writes the PNG under a temporary name and renames it; a link of that name is replaced."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def class_colours(n_classes: int) -> np.ndarray:
    """One RGBA colour [n_classes, 4] per class: the palette, or for more than ten a colour map."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if n_classes <= MOST_NAMED_CLASSES:
        return to_rgba_array(COLOURS[:n_classes])
    return colormaps["turbo"](np.linspace(0.03, 0.97, n_classes))


def class_labels(classes: Sequence[int], names: Mapping[int, str] | None) -> list[str]:
    """Names of the classes; the label itself where there is no name."""
    return [(names or {}).get(c, str(c)) for c in classes]


def shorten(text: str, length: int = 18) -> str:
    """The text, cut with an ellipsis if it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
