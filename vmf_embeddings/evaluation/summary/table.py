"""Tables over runs: one line per recipe, and all scores of all runs as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.evaluation.replications import Mean, mean_and_error
from vmf_embeddings.evaluation.results import write_text
from vmf_embeddings.evaluation.summary.runs import Run, recipes
from vmf_embeddings.metrics.t_tests import t_factor
from vmf_embeddings.untrusted.text import csv_cell

LONGEST_LABEL = 28


@dataclass(frozen=True)
class Score:
    """How a score is shown.

    Args:
        name: its key in metrics.json.
        title: of its column.
        scale: factor by which it is multiplied.
        digits: after the decimal point.
    """

    name: str
    title: str
    scale: float = 1
    digits: int = 3


CLOSED_SET_SCORES = (
    Score("classification.accuracy", "accuracy", 100, 2),
    Score("shots.many", "many", 100, 2),
    Score("shots.medium", "medium", 100, 2),
    Score("shots.few", "few", 100, 2),
)
"""Columns that come first where the classes scored are those of training."""
SCORES = (
    Score("recall@1", "R@1", 100, 2),
    Score("map@r", "MAP@R", 100, 2),
    Score("map_at_1000", "mAP@1000", 100, 2),
    Score("nmi", "NMI", 100, 2),
    Score("f1", "F1", 100, 2),
    Score("rho@1", "rho"),
    Score("pi_ratio", "pi"),
    Score("index_recall", "recall of the index", 100, 2),
)


def own_score(runs: Sequence[Run], rank_by: str | None = None) -> Score:
    """The score that runs of one data set are ranked by, higher = better.

    Args:
        runs: of one data set.
        rank_by: key of a score; None = accuracy where the classes scored are those of training,
            else Recall@1.
    """
    every = {score.name: score for score in (*CLOSED_SET_SCORES, *SCORES)}
    if rank_by is not None:
        return every[rank_by]
    accuracy = "classification.accuracy"
    closed = any(not run.open_set and accuracy in run.scores for run in runs)
    return every[accuracy if closed else "recall@1"]


def shown_scores(runs: Sequence[Run], rank_by: str | None = None) -> list[Score]:
    """The scores that runs of one data set have, the one they are ranked by first."""
    first = own_score(runs, rank_by)
    closed = own_score(runs) in CLOSED_SET_SCORES
    every = [*CLOSED_SET_SCORES, *SCORES] if closed else [*SCORES, *CLOSED_SET_SCORES]
    ordered = [first, *(score for score in every if score is not first)]
    return [score for score in ordered if any(score.name in run.scores for run in runs)]


def table(
    runs: Sequence[Run],
    rank_by: str | None = None,
    *,
    scores: Sequence[Score] | None = None,
    error: str = "t",
) -> list[str]:
    """Lines of a table, see `cells`."""
    return _aligned(cells(runs, rank_by, scores=scores, error=error))


def cells(
    runs: Sequence[Run],
    rank_by: str | None = None,
    *,
    scores: Sequence[Score] | None = None,
    error: str = "t",
) -> list[list[str]]:
    """A head and one line per recipe of one data set, best by the first score first.

    Scores that no run has get no column.

    Args:
        runs: of one data set.
        rank_by: key of the score to rank by; None = that of the task.
        scores: the columns; None = `shown_scores`.
        error: after the mean: "t" for half of Student's 95 % interval over runs, "se" for the
            standard error.
    """
    known = shown_scores(runs, rank_by) if scores is None else scores
    groups = recipes(runs)
    rows = []
    for label, own in groups.items():
        means = [mean_of(own, score.name) for score in known]
        first = means[0].mean if means else math.nan
        texts = [_cell(mean, score, error) for mean, score in zip(means, known, strict=True)]
        rows.append((first, [label, str(len(own)), *texts]))
    rows.sort(key=lambda row: -math.inf if math.isnan(row[0]) else row[0], reverse=True)
    return [["recipe", "runs", *(score.title for score in known)], *(row for _, row in rows)]


def half_interval(mean: Mean) -> float:
    """Half of Student's 95 % interval of a mean; NaN for a single value."""
    return t_factor(mean.n - 1) * mean.standard_error if mean.n > 1 else math.nan


def mean_of(runs: Sequence[Run], name: str) -> Mean:
    """Mean and standard error of one score over runs; NaNs are left out."""
    return mean_and_error([run.scores.get(name, math.nan) for run in runs])


def _cell(mean: Mean, score: Score, error: str) -> str:
    if math.isnan(mean.mean):
        return "-"
    text = f"{score.scale * mean.mean:.{score.digits}f}"
    reach = half_interval(mean) if error == "t" else mean.standard_error
    return text + (f"±{score.scale * reach:.{score.digits}f}" if mean.n > 1 else "")


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    labels = short_labels([line[0] for line in lines])
    lines = [[label, *line[1:]] for label, line in zip(labels, lines, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]),
                   *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]  # fmt: skip


def short_labels(labels: Sequence[str], length: int = LONGEST_LABEL) -> list[str]:
    """Labels of at most `length` characters that stay different from one another.

    The ends are kept, as names of runs differ there. Where two ends are the same, beginnings and
    ends are kept, and whole labels where these are the same too.

    >>> short_labels(["dml/128dim/margin", "dml/128dim/triplet"], 8)
    ['…/margin', '…triplet']
    >>> short_labels(["arcface/3dim/seed=1", "vmf/3dim/seed=1"], 9)
    ['arcf…ed=1', 'vmf/…ed=1']
    """
    for keep in (_end, _both_ends):
        shown = [label if len(label) <= length else keep(label, length) for label in labels]
        if len(set(shown)) == len(set(labels)):
            return shown
    return list(labels)


def _end(label: str, length: int) -> str:
    return "…" + label[1 - length :]


def _both_ends(label: str, length: int) -> str:
    n_last = (length - 1) // 2
    return f"{label[: length - 1 - n_last]}…{label[-n_last:]}"


def write_runs(runs: Sequence[Run], path: Path) -> Path:
    """Writes all scores of all runs as they are, one line per run; returns the path.

    The scores of the task come first, the others by name.
    """
    every = {name for run in runs for name in run.scores}
    first = [score.name for score in shown_scores(runs)]
    names = [*first, *sorted(every - set(first))]
    rows = [
        [run.dataset, run.label, run.seed, str(run.folder),
         *(_number(run.scores.get(name, math.nan)) for name in names)]
        for run in runs
    ]  # fmt: skip
    return _write(path, [["dataset", "recipe", "seed", "folder", *names], *rows])


def write_recipes(runs: Sequence[Run], path: Path) -> Path:
    """Writes mean, standard error (empty for n = 1), n and the ends of Student's 95 % interval.

    One line per recipe and score.
    """
    head = ["dataset", "recipe", "score", "mean", "standard_error", "n", "low", "high"]
    rows: list[list[object]] = [list(head)]
    for dataset in dict.fromkeys(run.dataset for run in runs):
        for label, own in recipes([run for run in runs if run.dataset == dataset]).items():
            for name in dict.fromkeys(name for run in own for name in run.scores):
                mean = mean_of(own, name)
                numbers = _number(mean.mean), _number(mean.standard_error), mean.n
                reach = half_interval(mean)
                ends = _number(mean.mean - reach), _number(mean.mean + reach)
                rows.append([dataset, label, name, *numbers, *ends])
    return _write(path, rows)


def _number(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else ""


def _write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    stream = io.StringIO()
    cells = ([csv_cell(cell) for cell in row] for row in rows)
    csv.writer(stream, lineterminator="\n").writerows(cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, stream.getvalue())
    return path
