"""Colours and style of all figures, and how they are written."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.progress import Progress
from vmf_embeddings.untrusted.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Ten colours for classes and recipes. In OKLab (https://bottosson.github.io/posts/oklab), on the
# scale where black and white are 100 apart, any two are 10 or more apart, also as people without
# red, green or blue cones see them (Machado 2009). None is as grey as the sphere or a caption.
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#4bf0c3", "#832db6",
    "#b46987", "#e76300", "#2dc3d2", "#78000f", "#5a1e69",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
INK, MUTED, PAPER = "#22262b", "#7b838c", "#ffffff"
ACCENT, SECOND = COLOURS[0], COLOURS[6]
HIT, MISS = "#009e73", "#d55e00"  # bluish green and vermilion of Okabe and Ito

# for scripts that DejaVu Sans lacks; matplotlib takes each character from the first that has it
_FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans KR", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Heiti TC", "Microsoft YaHei", "SimHei",
    "Yu Gothic", "MS Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI", "Noto Sans",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai",
    "Noto Emoji", "Noto Sans Symbols2", "Segoe UI Emoji", "Segoe UI Symbol", "Symbola",
    "Arial Unicode MS", "Unifont",
)  # fmt: skip

_STYLE = {
    "figure.facecolor": PAPER,
    "figure.dpi": 100,
    "savefig.dpi": 150,
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

    with matplotlib.rc_context({**_STYLE, "font.family": list(font_families())}):
        yield


@lru_cache(maxsize=1)
def font_families() -> tuple[str, ...]:
    """The font of the figures, and installed fonts for the characters that it lacks."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ("DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed))


def new_figure(width: float, height: float) -> "Figure":
    """A new figure, `width` x `height` inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: Path) -> Path:
    """Writes the PNG under a temporary name and renames it; a link of that name is replaced."""
    with Progress(f"Drawing {path.name}"), replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
