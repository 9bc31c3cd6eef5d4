"""Text that fits: measured widths, wrapped titles, short names that stay different."""

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vmf_embeddings.evaluation.figures.style import INK, MUTED, font_families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_GLYPH = "▯"  # stands for a character that no font can draw
MOST_TITLE_LINES = 3
_LONGEST_TEXT = 600  # characters
_MARGIN = 0.02  # of the figure's width, on both sides of a title
_LINE_HEIGHT = 1.3  # in units of the font size
# a line may end after a space, or in a long word after one of these
_PIECES = re.compile(r"\s+|[^\s_/=,;+]+[_/=,;+]*|[_/=,;+]+")


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of one line of text in the figures' font, `size` points high."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=list(font_families()), size=size, weight=weight)
    return _renderer().get_text_width_height_descent(text, font, ismath=False)[0] / 100


@lru_cache(maxsize=1)
def _renderer() -> object:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, 100)


def wrap(text: str, width: float, size: float, most_lines: int = MOST_TITLE_LINES) -> list[str]:
    """Lines of the text that are at most `width` inches wide; an ellipsis ends a text cut off.

    Lines end between words, words that are too long after a punctuation mark, others anywhere.

    Args:
        text: without line breaks.
        width: inches, at least that of two characters.
        size: of the font, points.
        most_lines: lines that may be used, >= 1.
    """
    lines = [""]
    for piece in _PIECES.findall(text[:_LONGEST_TEXT]):
        if text_width((lines[-1] + piece).rstrip(), size) <= width:
            lines[-1] += piece
            continue
        lines.append("")
        for character in piece if text_width(piece, size) > width else [piece.lstrip()]:
            if text_width(lines[-1] + character, size) > width:
                lines.append("")
            lines[-1] += character
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > most_lines:
        last = lines[most_lines - 1]
        while last and text_width(f"{last}…", size) > width:
            last = last[:-1]
        lines[most_lines - 1 :] = [f"{last}…"]
    return lines


def add_title(figure: "Figure", title: str, below: str = "", size: float = 12) -> None:
    """Puts the title, and in smaller letters a text below it, at the upper left of the figure.

    Both are wrapped at the figure's width; the figure grows by the lines beyond the first of each.
    """
    width = (1 - 2 * _MARGIN) * figure.get_figwidth()
    lines = wrap(drawable(title), width, size)
    rest = wrap(drawable(below), width, size) if below else []
    n_more = max(0, len(lines) - 1) + max(0, len(rest) - 1)
    figure.set_figheight(figure.get_figheight() + n_more * _LINE_HEIGHT * size / 72)
    figure.suptitle("\n".join([*lines, *rest]), x=_MARGIN, ha="left", fontsize=size, color=INK)


def add_footnote(figure: "Figure", text: str, size: float = 9) -> None:
    """Puts a wrapped text at the lower left of the figure."""
    width = (1 - 2 * _MARGIN) * figure.get_figwidth()
    text = "\n".join(wrap(drawable(text), width, size))
    figure.supxlabel(text, x=_MARGIN, ha="left", fontsize=size, color=MUTED)


def drawable(text: str) -> str:
    r"""The text with a box for every character that no installed font has, without line breaks.

    >>> drawable("one\ntwo")
    'one two'
    """
    text = " ".join(re.split(r"[\n\r]+", text))
    lacking = missing(text)
    return "".join(NO_GLYPH if c in lacking else c for c in text if not _is_invisible(c))


def missing(text: str) -> set[str]:
    """Visible characters of the text that no installed font of the figures can draw."""
    return {c for c in set(text) if not (c.isspace() or _is_invisible(c) or _has_glyph(c))}


def _is_invisible(character: str) -> bool:
    """Whether it changes how others look only: joiners, and variation selectors of emoji."""
    selector = "\ufe00" <= character <= "\ufe0f"
    return selector or unicodedata.category(character) in ("Cf", "Cc")


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = (findfont(FontProperties(family=[family])) for family in font_families())
    return any(get_font(path).get_char_index(ord(character)) for path in paths)


def class_labels(
    classes: Sequence[int], names: Mapping[int, str] | None, length: int = 18
) -> list[str]:
    """Different names for the classes [C], at most `length` columns wide.

    The label itself stands for a class without a name, "class 7" for a name that cannot be drawn.

    >>> class_labels([0, 1, 2], {0: "cat", 1: "猫" if missing("猫") else "class 1"})
    ['cat', 'class 1', '2']
    """
    texts = [(names or {}).get(c, str(c)) for c in classes]
    texts = [f"class {c}" if missing(t) else t for c, t in zip(classes, texts, strict=True)]
    return different_names(texts, length)


def different_names(
    texts: Sequence[str],
    length: int,
    cuts: Sequence[Callable[[str, int], str]] | None = None,
) -> list[str]:
    """Texts of at most `length` columns that differ from one another.

    Beginnings are kept; of texts that begin alike, beginnings and ends; where these are alike too,
    what follows the part that all of them begin with; the place in the list tells equal ones apart.

    Args:
        texts: names.
        length: columns, 8 or more.
        cuts: how to shorten, in order of preference; None = as above.

    >>> different_names(["great black gull, adult", "great black gull, juvenile", "owl"], 11)
    ['great…adult', 'great…enile', 'owl']
    """
    texts = [drawable(text) for text in texts]
    shown = [""] * len(texts)
    for cut in cuts or (shorten, shorten_middle):
        for same in _equal(shown):
            shown = _replaced(shown, same, [cut(texts[n], length) for n in same])
    for same in _equal(shown):
        shown = _replaced(shown, same, _after_beginning([texts[n] for n in same], length))
    for same in _equal(shown):
        tails = [f" ({n})" for n in same]
        named = [shorten(texts[n], length - len(t)) + t for n, t in zip(same, tails, strict=True)]
        shown = _replaced(shown, same, named)
    return shown


def _equal(shown: Sequence[str]) -> list[list[int]]:
    """Places of texts that are equal to another one, by text; of empty ones in any case."""
    places: dict[str, list[int]] = {}
    for number, text in enumerate(shown):
        places.setdefault(text, []).append(number)
    return [same for text, same in places.items() if len(same) > 1 or not text]


def _replaced(shown: Sequence[str], places: Sequence[int], texts: Sequence[str]) -> list[str]:
    new = list(shown)
    for place, text in zip(places, texts, strict=True):
        new[place] = text
    return new


def _after_beginning(texts: Sequence[str], length: int) -> list[str]:
    """The texts without the words that all of them begin with, an ellipsis in their place."""
    common = len(os.path.commonprefix(list(texts)))
    start = max((texts[0].rfind(mark, 0, common) + 1 for mark in " /_,="), default=0)
    return [shorten(f"…{text[start:]}" if start else text, length) for text in texts]


def columns(text: str) -> int:
    """Width of the text in columns: wide characters (Chinese, Japanese, emoji) take two."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def shorten(text: str, length: int = 18) -> str:
    """The text, cut with an ellipsis if it is wider than `length` columns.

    >>> shorten("a long name", 7), shorten("日本語の名前", 7)
    ('a long…', '日本語…')
    """
    if columns(text) <= length:
        return text
    return _first(text, length - 1).rstrip() + "…"


def shorten_middle(text: str, length: int) -> str:
    """The text, with an ellipsis in its middle if it is wider than `length` columns."""
    if columns(text) <= length:
        return text
    n_last = (length - 1) // 2
    return f"{_first(text, length - 1 - n_last)}…{_first(text[::-1], n_last)[::-1]}"


def _first(text: str, length: int) -> str:
    """The longest beginning that is at most `length` columns wide."""
    end = width = 0
    while end < len(text) and (width := width + columns(text[end])) <= length:
        end += 1
    return text[:end]
