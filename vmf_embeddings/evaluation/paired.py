"""Two runs, or means over seeds of two recipes, on the same rows: differences of every score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vmf_embeddings import typed
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.row_scores import UNITS, RowScore, averaged, difference
from vmf_embeddings.evaluation.significance import drawn_scores, spread_of
from vmf_embeddings.metrics.multiple_comparisons import holm
from vmf_embeddings.metrics.paired_tests import Signs, sign_flip_p, signs
from vmf_embeddings.metrics.resampling import percentile_interval
from vmf_embeddings.metrics.standard_errors import (
    error_over_classes,
    error_over_rows,
    p_of_zero,
)
from vmf_embeddings.untrusted.text import printable

LEVEL = 0.05
FLIPS_PER_SCORE = 200  # at least
# beginnings of names of scores of which a smaller value is better
_LOWER_IS_BETTER = (
    "nll", "brier", "ece", "aurc", "e_aurc", "normalised_aurc", "lowest_aurc", "augrc", "risk",
    "fpr", "fnmr", "eer", "opis", "smece",
)  # fmt: skip


@dataclass(frozen=True)
class PairedScore:
    """The difference of one score between two runs on the same rows, b minus a.

    Args:
        key: `section/name`.
        a: score of the first.
        b: score of the second.
        unit: of UNITS, by which the test was made.
        n_rows: rows that count.
        n_units: rows or classes, by the unit.
        errors: unit -> standard error of the difference; closed forms of means of rows.
        ends: unit -> 95 % percentile interval of the difference.
        signs: rows of higher, lower and equal score in b; None unless the score is a mean of rows.
        p: two-sided probability of such a difference by chance, over the unit: by random flips of
            signs for means of rows, else by the normal distribution.
        p_holm: p, corrected for the number of scores.
    """

    key: str
    a: float
    b: float
    unit: str
    n_rows: int
    n_units: int
    errors: dict[str, float]
    ends: dict[str, tuple[float, float]]
    signs: Signs | None
    p: float
    p_holm: float = math.nan

    @property
    def difference(self) -> float:
        """B - a."""
        return self.b - self.a

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value of the score is better."""
        return lower_is_better(self.key)

    @property
    def better(self) -> int:
        """1 if b is better than a by its value, -1 if it is worse, 0 if both are equal."""
        sign = int(np.sign(self.difference)) if not math.isnan(self.difference) else 0
        return -sign if self.lower_is_better else sign

    @property
    def n_better_worse(self) -> tuple[int, int]:
        """Rows that b does better and worse than a; needs `signs`."""
        assert self.signs is not None
        counts = self.signs.n_better, self.signs.n_worse
        return counts[::-1] if self.lower_is_better else counts

    @property
    def verdict(self) -> str:
        """What follows from the numbers: "better", "worse", "not told apart" or "unknown"."""
        return judged(self.better, self.p_holm)

    def describe(self) -> dict[str, Any]:
        """As metrics.json has it."""
        counts = {} if self.signs is None else {
            "rows_better": self.n_better_worse[0], "rows_worse": self.n_better_worse[1],
            "rows_equal": self.signs.n_equal, "sign_test_p": self.signs.p,
        }  # fmt: skip
        spans = {
            unit: {"se": self.errors[unit], "low": ends[0], "high": ends[1]}
            for unit, ends in self.ends.items()
        }
        return {
            "this": self.b, "other": self.a, "difference": self.difference, "unit": self.unit,
            "n": self.n_units, "n_rows": self.n_rows, **counts, **spans, "p": self.p,
            "p_holm": self.p_holm, "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Against:
    """A file compared with others of the same rows.

    Args:
        others: what it is compared with; several are runs of which the mean is taken.
        scores: of every score that all have, this file minus the others.
        chosen: which of the files' epoch was chosen by these rows, so that no test of them is
            valid.
        n_draws: of the intervals.
        seed: of the draws.
    """

    others: tuple[EvaluatedFile, ...]
    scores: list[PairedScore]
    chosen: tuple[EvaluatedFile, ...]
    n_draws: int
    seed: int

    @property
    def name(self) -> str:
        """A short name of the others: of their folder or file, as it was typed."""
        return printable(self.others[0].root.name)

    def describe(self) -> dict[str, Any]:
        """The section `against` of metrics.json."""
        return {
            "others": [str(one.path) for one in self.others],
            "chosen_here": [str(one.path) for one in self.chosen],
            "draws": self.n_draws,
            "seed": self.seed,
            "scores": {one.key: one.describe() for one in self.scores},
        }


def lower_is_better(key: str) -> bool:
    """Whether a smaller value of a score, `section/name` or `section/row/name`, is better."""
    return key.rpartition("/")[2].startswith(_LOWER_IS_BETTER)


def judged(better: int, p: float) -> str:
    """The verdict at the level of 5 %, from the sign of a difference and its corrected p."""
    if math.isnan(p):
        return "unknown"
    if p > LEVEL or better == 0:
        return "not told apart"
    return "better" if better > 0 else "worse"


def compare(
    a: Sequence[Mapping[str, RowScore]],
    b: Sequence[Mapping[str, RowScore]],
    ids: np.ndarray,
    unit: str,
    n_draws: int,
    seed: int,
) -> list[PairedScore]:
    """Every score that all runs have, as the mean of runs b minus that of runs a.

    Args:
        a: `section/name` -> score of the N rows, of each run of the first recipe.
        b: likewise, of the second.
        ids: [N] classes of the rows.
        unit: of UNITS, for the test.
        n_draws: of the intervals.
        seed: of the draws.
    """
    first, second = averaged(a), averaged(b)
    names = [name for name in second if name in first and second[name].compared]
    differences = {name: difference(first[name], second[name]) for name in names}
    if not differences:
        return []
    draws = {
        of: drawn_scores({n: d.over(of) for n, d in differences.items()}, ids, of, n_draws, seed)
        for of in UNITS
    }
    flips = _flips(differences, ids if unit == "classes" else None, n_draws, seed)
    scores = []
    for name, score in differences.items():
        of_draws = {of: draws[of][name] for of in UNITS}
        known = np.ones(len(ids), bool) if score.values is None else ~score.values.isnan().numpy()
        errors = _errors(score, ids, of_draws)
        n_units = {"rows": int(known.sum()), "classes": len(set(ids[known].tolist()))}
        values = [own[name].value(len(ids)) for own in (first, second)]
        p = flips.get(name, p_of_zero(values[1] - values[0], errors[unit]))
        scores.append(
            PairedScore(
                key=name, a=values[0], b=values[1], unit=unit, n_rows=n_units["rows"],
                n_units=n_units[unit], errors=errors,
                ends={of: _ends(own, n_units[of]) for of, own in of_draws.items()},
                signs=None if score.values is None else signs(score.values),
                p=math.nan if math.isnan(values[1] - values[0]) or n_units[unit] < 2 else p,
            )
        )  # fmt: skip
    return with_holm(scores)


def with_holm(scores: Sequence[PairedScore]) -> list[PairedScore]:
    """The scores with probabilities corrected for the number of those that have one."""
    known = [number for number, one in enumerate(scores) if not math.isnan(one.p)]
    adjusted = dict(zip(known, holm([scores[n].p for n in known]).tolist(), strict=True))
    return [replace(one, p_holm=adjusted.get(n, math.nan)) for n, one in enumerate(scores)]


def _errors(score: RowScore, ids: np.ndarray, draws: Mapping[str, Any]) -> dict[str, float]:
    if score.values is not None:
        return {
            "rows": error_over_rows(score.values),
            "classes": error_over_classes(score.values, ids),
        }
    return {of: spread_of(own) for of, own in draws.items()}


def _ends(draws: torch.Tensor, n_units: int) -> tuple[float, float]:
    return percentile_interval(draws) if n_units > 1 else (math.nan, math.nan)


def _flips(
    differences: Mapping[str, RowScore], classes: np.ndarray | None, n_draws: int, seed: int
) -> dict[str, float]:
    """The p of every score that is a mean of rows, from the same flips of signs."""
    names = [name for name, score in differences.items() if score.values is not None]
    if not names:
        return {}
    values = torch.stack([differences[name].values for name in names])  # type: ignore[misc]
    # m scores multiply the least p, 1 / (1 + flips), by m
    n_flips = max(n_draws, FLIPS_PER_SCORE * len(differences))
    return dict(zip(names, sign_flip_p(values, classes, n_flips, seed).tolist(), strict=True))


def chosen_here(files: Sequence[EvaluatedFile]) -> tuple[EvaluatedFile, ...]:
    """Those of the files whose epoch was chosen by the split that they hold."""
    return tuple(
        one for one in files if one.meta("selected_on") is not None and one.selected_on == one.split
    )


def rows_are_assumed(files: Sequence[EvaluatedFile]) -> bool:
    """Whether some of several files record no hash of their rows, so that only classes agree."""
    return len(files) > 1 and any(one.meta("split_hash") is None for one in files)


def check_same_rows(a: EvaluatedFile, b: EvaluatedFile) -> None:
    """Checks that two files hold the same rows in the same order, and compare them alike.

    Raises:
        ValueError: what differs, and what to type.
    """
    reason = _why_other_rows(a, b)
    if reason is not None:
        extract = typed.command("main", "mode=get_embeddings", typed.override("run", "RUN"))
        raise ValueError(
            f"{a.path} and {b.path} cannot be compared row by row: {reason}. Compare runs whose "
            f"dataset and dataset.params are the same, or extract both on one split: {extract}"
        )


def _why_other_rows(a: EvaluatedFile, b: EvaluatedFile) -> str | None:
    hashes = a.meta("split_hash"), b.meta("split_hash")
    if None not in hashes and hashes[0] != hashes[1]:
        return f"they hold other images (split hash {hashes[0][:12]}… and {hashes[1][:12]}…)"
    rows = len(a.file.ids), len(b.file.ids)
    if rows[0] != rows[1]:
        return f"they have {rows[0]:,} and {rows[1]:,} rows"
    differing = (a.file.ids != b.file.ids).nonzero()[0]
    if len(differing):
        return f"{len(differing):,} rows have other classes, the first of them row {differing[0]}"
    for name in ("is_query", "is_gallery"):
        masks = [getattr(one.file, name) for one in (a, b)]
        masks = [np.ones(rows[0], bool) if mask is None else np.asarray(mask) for mask in masks]
        if not np.array_equal(*masks):
            return f"other rows are {'queries' if name == 'is_query' else 'the gallery'}"
    return None
