"""What several runs differ in, and by how much, with intervals where they are of the same rows."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from vmf_embeddings.evaluation import significance
from vmf_embeddings.evaluation.comparison import ComparedScore, Comparison, Side, compare_sides
from vmf_embeddings.evaluation.paired import PairedScore
from vmf_embeddings.evaluation.paired_lines import notes_on, p_text, words
from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.report import score_text
from vmf_embeddings.evaluation.row_scores import RowScore, mean_of
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.settings import varying
from vmf_embeddings.evaluation.significance import default_unit
from vmf_embeddings.evaluation.significance_lines import span
from vmf_embeddings.report.rows import ShownRows
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.text import printable

_ACCURACY, _RECALL = "classification/accuracy", "retrieval/recall@1"
_MOST_SETTINGS = 12
_DRAWS = 2000  # of intervals and flips of signs
_SAME = 1e-9  # of two ways to compute one fraction


def compared(
    runs: Sequence[ReportedRun], first: ShownRows, every: Sequence[ShownRows]
) -> list[str]:
    """Sentences on the differences of runs; [] for one run."""
    if len(runs) < 2:
        return []
    return [*_settings(runs), *_data(runs), *_scores(runs, first, every)]


def intervals(shown: ShownRows) -> dict[str, tuple[float, float]]:
    """95 % intervals of accuracy and Recall@1: over rows, over classes where these are new.

    Those of Recall@1 need all queries among the rows that are shown.
    """
    run = shown.run
    ids, scores = run.evaluated.file.ids, _row_scores(shown)
    recall = scores.get(_RECALL)
    if recall is not None:
        stated = (run.entry.get("retrieval") or {}).get("recall@1")
        known = len(shown.numbers) == len(ids) and isinstance(stated, int | float)
        # no ties, no queries without a positive
        if not known or abs(recall.value(len(ids)) - stated) >= _SAME:
            del scores[_RECALL]
    drawn = significance.intervals(scores, ids, _DRAWS, run.options.evaluation.seed)
    unit = default_unit(run.evaluated)
    return {name: (own[unit].low, own[unit].high) for name, own in drawn.items()}


def _row_scores(shown: ShownRows) -> dict[str, RowScore]:
    """Accuracy of the rows of a file, and Recall@1 of those that are shown."""
    classified, found = shown.run.context.classified, {}
    n_rows = len(shown.run.evaluated.file.ids)
    if classified is not None:
        found[_ACCURACY] = _mean_of(n_rows, classified.rows, classified.correct.numpy())
    asked = shown.answerable
    if asked.any():
        found[_RECALL] = _mean_of(n_rows, shown.numbers[asked], shown.hit[asked])
    return found


def _mean_of(n_rows: int, rows: np.ndarray, values: np.ndarray) -> RowScore:
    every = torch.full((n_rows,), torch.nan, dtype=torch.float64)
    every[torch.from_numpy(rows)] = torch.from_numpy(values.astype(np.float64))
    return mean_of(every)


def _settings(runs: Sequence[ReportedRun]) -> Iterator[str]:
    keys = varying([run.evaluated.settings for run in runs])
    keys = [key for key in keys if not key.endswith("_target_")]  # follows from the name
    shown = [printable(key) for key in keys[:_MOST_SETTINGS]]
    more = f" and {len(keys) - len(shown)} more" if len(keys) > len(shown) else ""
    if keys:
        yield f"The configurations differ in {', '.join(shown)}{more} (see the table below)."
    elif all(run.evaluated.settings for run in runs):
        yield "The configurations differ in nothing but name, seed and machine."


def _data(runs: Sequence[ReportedRun]) -> Iterator[str]:
    end = ": their scores cannot be compared"
    for done, key, so in (("trained on", "train_identity", ""), ("scored on", "split_hash", end)):
        hashes = {run.evaluated.meta(key) for run in runs}
        if None in hashes:
            yield f"Whether all were {done} the same images is unknown: a file states no hash."
        elif len(hashes) > 1:
            yield f"They were {done} different images{so}."
        else:
            yield f"All were {done} the same images."


def _scores(
    runs: Sequence[ReportedRun], first: ShownRows, every: Sequence[ShownRows]
) -> Iterator[str]:
    for run, shown in zip(runs[1:], every[1:], strict=True):
        if not runs[0].same_rows(run):
            continue
        known = [_row_scores(one) for one in (first, shown)]
        if not np.array_equal(first.numbers, shown.numbers):
            known = [{k: score for k, score in own.items() if k != _RECALL} for own in known]
        if not known[0].keys() & known[1].keys():
            continue
        a, b = (_side(*one) for one in zip("AB", (first, shown), known, strict=True))
        unit, seed = default_unit(a.file), first.run.options.evaluation.seed
        found = compare_sides(a, b, unit, _DRAWS, seed)
        yield from (_sentence(found, one) for one in found.scores)
        yield from (f"{note[1:2].upper()}{note[2:-1]}." for note in notes_on(_paired(found)))
        if found.chosen:
            yield (
                f"The epoch of {_names([a, b], found)} was chosen by the rows scored: no test of "
                "them is valid."
            )


def _side(letter: str, shown: ShownRows, scores: Mapping[str, RowScore]) -> Side:
    """A run with the scores of its rows, as comparisons take it."""
    evaluated = shown.run.evaluated
    sections: dict[str, dict[str, float]] = {}
    for key, score in scores.items():
        section, _, name = key.partition("/")
        sections.setdefault(section, {})[name] = score.value(len(evaluated.file.ids))
    group = Group((evaluated,), (Scores(sections, row_scores=dict(scores)),))
    return Side(letter, shown.run.name, group)


def _sentence(found: Comparison, one: ComparedScore) -> str:
    """The difference of paired rows, its interval, and what follows."""
    paired = one.paired
    label, scale, digits = words(paired.key, score_text)
    text = (
        f"{label[:1].upper()}{label[1:]}: {found.b.name} minus {found.a.name} is "
        f"{scale * paired.difference:+z.{digits}f} points on {paired.n_rows:,} rows"
    )
    ends = span(paired.ends[paired.unit], scale, digits, "+")
    if ends == "-" or math.isnan(paired.p_holm):
        return f"{text}."
    return (
        f"{text} (95 % interval over other {paired.unit} {ends}): {one.verdict} "
        f"(p {p_text(paired.p_holm)})."
    )


def _paired(found: Comparison) -> list[PairedScore]:
    return [one.paired for one in found.scores]


def _names(sides: Sequence[Side], found: Comparison) -> str:
    return " and ".join(side.name for side in sides if side.file in found.chosen)
