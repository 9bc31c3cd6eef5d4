"""Scores of variants of an embedding file: shorter, coarser, or ranked once more."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class VariantScores:
    """Scores by variant.

    Args:
        rows: variant -> name -> score, in the order in which they are shown.
        about: what they depend on, as JSON values: parameters, files, ranges.
        notes: to print, without the full stop.
    """

    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def flat(self) -> dict[str, float]:
        """All scores as one mapping, `variant/name` -> score.

        >>> VariantScores({"16/int8": {"recall@1": 0.9}}).flat()
        {'16/int8/recall@1': 0.9}
        """
        return {
            f"{row}/{name}": value for row, own in self.rows.items() for name, value in own.items()
        }
