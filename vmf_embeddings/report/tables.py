"""Tables of a report, as data: the page's template writes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vmf_embeddings.untrusted.text import printable

NONE = "–"
_LONGEST_WORD = 24


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: that is shown.
        value: by which a column is sorted; None where there is none, which comes last.
        best: whether it is the best of its row.
        interval: of a number, such as "(74.2 to 88.0)".
    """

    text: str
    value: float | str | None = None
    best: bool = False
    interval: str = ""

    @property
    def is_long(self) -> bool:
        """Whether its text may be broken anywhere, as a path or a hash, for the table to fit."""
        return max(map(len, self.text.split()), default=0) > _LONGEST_WORD

    @property
    def is_number(self) -> bool:
        """Whether it is sorted as a number."""
        return isinstance(self.value, float | int)


@dataclass(frozen=True)
class Table:
    """A table: the first cell of every row names it.

    Args:
        key: different for all tables of a page; part of the names of its elements.
        caption: above it.
        head: of its columns.
        rows: cells, as many as `head` in each.
        about: below it, one paragraph each.
    """

    key: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    about: Sequence[str] = field(default_factory=tuple)

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, and stand to the right."""
        return [
            any(row[n].is_number for row in self.rows)
            and all(row[n].is_number or row[n].value is None for row in self.rows)
            for n in range(len(self.head))
        ]


def words(value: Any, longest: int = 2000) -> Cell:
    """A cell of text from any value; control characters are written out."""
    text = printable("" if value is None else str(value)[: longest + 1])
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return Cell(text or NONE, text or None)


def number(value: float | None, scale: float = 1, digits: int = 4, *, sign: bool = False) -> Cell:
    """A cell of a number; a dash where it is None or NaN.

    >>> number(0.98765, 100, 2).text, number(None).text, number(0.5, sign=True).text
    ('98.77', '–', '+0.5000')
    """
    if value is None or not math.isfinite(value):
        return Cell(NONE)
    shown = scale * float(value)
    form = f"{'+' if sign else ''}z"
    text = f"{shown:{form}.{digits}f}" if abs(shown) < 1e5 else f"{shown:{form}.2e}"
    return Cell(text, shown)


def count(value: float | None) -> Cell:
    """A cell of a whole number."""
    return Cell(NONE) if value is None else Cell(f"{int(value):,}", int(value))
