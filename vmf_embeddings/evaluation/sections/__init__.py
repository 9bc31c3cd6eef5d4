"""Sections of scores that words of `metrics=` add, one module for each word.

A module has `TABLE`, how its scores are printed, and `score(context)`, which computes them.
"""

import importlib
from typing import Protocol, cast

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.corrupted_rows import corrupted_beside
from vmf_embeddings.evaluation.options import SECTIONS
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText


class Section(Protocol):
    """The module of a section."""

    TABLE: TableText

    def score(self, context: Context) -> ScoreTable:
        """Computes the scores of a file.

        Raises:
            ValueError: the file lacks what they need.
        """


def is_section(word: str) -> bool:
    """Whether a name is that of a section."""
    return word in SECTIONS


def wanted(context: Context) -> tuple[str, ...]:
    """The sections of a file: those of the options, and corruption where its file lies beside."""
    words = context.options.sections
    if "uncertainty" in words and "corruption" not in words and corrupted_beside(context):
        words = tuple(word for word in SECTIONS if word in (*words, "corruption"))
    return words


def section(word: str) -> Section:
    """The module of a section, by the word of `metrics=`, one of `options.SECTIONS`."""
    if word not in SECTIONS:
        raise ValueError(f"expected one of {', '.join(SECTIONS)}, got {word!r}")
    return cast("Section", importlib.import_module(f"{__name__}.{word}"))
