"""Scores of single classes: the worst ones by name, and accuracy by number of training images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vmf_embeddings.metrics.shots import GROUPS
from vmf_embeddings.report.charts import Chart, Line
from vmf_embeddings.report.rows import ShownRows
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.report.tables import Cell, Table, count, number, words

MOST_CLASSES = 100  # in the table: the worst ones
_MOST_POINTS = 5000  # in the chart
_GROUP_COLOURS = (0, 4, 6)  # as in the figure of `evaluate`


@dataclass(frozen=True)
class ClassScores:
    """Scores of the classes of a run that have a row, [C] each; NaN where there is none.

    Args:
        run: the run.
        rows: rows of the class.
        train: training images, or None where the file does not state them.
        accuracy: fraction of its rows whose class is predicted, or None without logits.
        groups: "many", "medium" or "few", by training images; None unless they are long-tailed.
        recall: fraction of its shown rows whose nearest neighbour is of the class.
        confused: class label that its wrong rows are most often taken for; -1 for none.
        n_confused: how many of them.
    """

    run: ReportedRun
    rows: np.ndarray
    train: np.ndarray | None
    groups: list[str] | None
    accuracy: np.ndarray | None
    recall: np.ndarray
    confused: np.ndarray
    n_confused: np.ndarray

    @property
    def main(self) -> np.ndarray:
        """The score that classes are sorted by: accuracy, else Recall@1."""
        return self.recall if self.accuracy is None else self.accuracy


def class_scores(shown: ShownRows) -> ClassScores:
    """The scores of every class of a run."""
    run = shown.run
    codes, classes = run.codes, run.classes
    rows = np.bincount(codes, minlength=len(classes))
    asked = shown.numbers[shown.answerable]
    recall = _fraction(codes[asked], shown.hit[shown.answerable], len(classes))
    classified, counts = run.context.classified, run.evaluated.train_counts
    accuracy = None
    if classified is None:
        wrong = shown.answerable & ~shown.hit & (shown.neighbours[:, 0] >= 0)
        true, taken = shown.numbers[wrong], run.evaluated.file.ids[shown.neighbours[wrong, 0]]
    else:
        right = classified.correct.numpy()
        accuracy = _fraction(codes[classified.rows], right, len(classes))
        true = classified.rows[~right]
        taken = classified.predicted.guess.numpy()[~right]
    confused, n_confused = _confused(codes[true], taken, len(classes))
    train = None
    if counts is not None and not run.evaluated.file.open_set:
        known = np.array(counts)
        inside = (classes >= 0) & (classes < len(known))
        train = np.where(inside, known[np.clip(classes, 0, len(known) - 1)], 0)
    groups = None
    if train is not None and run.evaluated.long_tailed:
        places = run.options.evaluation.thresholds.group(train.tolist())
        groups = [GROUPS[place] for place in places.tolist()]
    return ClassScores(run, rows, train, groups, accuracy, recall, confused, n_confused)


def _fraction(codes: np.ndarray, right: np.ndarray, n_classes: int) -> np.ndarray:
    """Fraction [C] of right rows by class; NaN for a class without rows."""
    counts = np.bincount(codes, minlength=n_classes)
    hits = np.bincount(codes, weights=right.astype(float), minlength=n_classes)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def _confused(
    codes: np.ndarray, taken: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent label [C] of wrong rows by class, and how often it came."""
    label, times = np.full(n_classes, -1), np.zeros(n_classes, int)
    pairs, counts = np.unique(np.stack([codes, taken]), axis=1, return_counts=True)
    for n in np.argsort(counts, kind="stable"):
        label[pairs[0, n]], times[pairs[0, n]] = pairs[1, n], counts[n]
    return label, times


def class_table(scores: Sequence[ClassScores], key: str) -> Table:
    """The worst classes first; with several runs of the same classes, their scores side by side."""
    first = scores[0]
    order = np.argsort(np.nan_to_num(first.main, nan=2.0), kind="stable")[:MOST_CLASSES]
    several = len(scores) > 1
    head = ["class", "rows", *(["training images"] if first.train is not None else [])]
    head += ["group"] if first.groups is not None else []
    for one in scores:
        of = f" of {one.run.name}" if several else ""
        head += [*([f"accuracy %{of}"] if one.accuracy is not None else []), f"Recall@1 %{of}"]
        head += [f"taken for{of}"]
    rows = [_line(scores, int(place)) for place in order]
    n = len(first.rows)
    by = "accuracy" if first.accuracy is not None else "Recall@1"
    of = f" of {first.run.name}" if several else ""
    some = f"the {len(order)} worst of {n:,} classes" if n > len(order) else f"all {n:,} classes"
    return Table(key, f"Classes by {by}{of}, worst first: {some}", head, rows)


def _line(scores: Sequence[ClassScores], place: int) -> list[Cell]:
    first = scores[0]
    cells = [words(first.run.class_names[place]), count(first.rows[place])]
    if first.train is not None:
        cells.append(count(first.train[place]))
    if first.groups is not None:
        cells.append(words(first.groups[place]))
    for one in scores:
        if one.accuracy is not None:
            cells.append(number(one.accuracy[place], 100, 1))
        cells.append(number(one.recall[place], 100, 1))
        label, times = int(one.confused[place]), int(one.n_confused[place])
        cells.append(words(f"{one.run.name_of(label)} ({times}×)") if times else words(None))
    return cells


def same_classes(one: ClassScores, other: ClassScores) -> bool:
    """Whether two runs have the same classes under the same names."""
    return one.run.class_names == other.run.class_names and one.run.same_rows(other.run)


def shots_chart(scores: Sequence[ClassScores]) -> Chart | None:
    """Score of every class by its training images; None where these are unknown or all alike."""
    known = [one for one in scores if one.train is not None and one.run.evaluated.long_tailed]
    if not known:
        return None
    if len(known) == 1:
        ranges = known[0].run.options.evaluation.thresholds.ranges()
        lines = [
            _points(known[0], f"{group}: {ranges[group]}", colour, group)
            for group, colour in zip(GROUPS, _GROUP_COLOURS, strict=True)
            if group in (known[0].groups or [])
        ]
    else:
        lines = [_points(one, one.run.name, one.run.number) for one in known]
    parts = [f"{one.run.name}: {_extremes(one)}" for one in known]
    by = "accuracy" if known[0].accuracy is not None else "Recall@1"
    return Chart(
        "shots", f"{by.capitalize()} of classes by number of training images",
        f"Each point is a class. {'; '.join(parts)}. The table of classes has the numbers.", lines,
        "training images", f"{by} %", x_log=True,
    )  # fmt: skip


def _points(one: ClassScores, name: str, colour: int, group: str | None = None) -> Line:
    """The classes of a run, or those of one group, as points."""
    assert one.train is not None and one.groups is not None
    order = np.argsort(one.train, kind="stable")[:_MOST_POINTS]
    own = [n for n in order.tolist() if group in (None, one.groups[n]) and np.isfinite(one.main[n])]
    texts = [one.run.class_names[place] for place in own]
    return Line(
        name, one.train[own].tolist(), (100 * one.main[own]).tolist(), colour, "points", texts
    )


def _extremes(one: ClassScores) -> str:
    assert one.train is not None
    fewest, most = int(np.argmin(one.train)), int(np.argmax(one.train))
    texts = [
        f"{one.run.class_names[place]} ({one.train[place]} training images) "
        f"{100 * one.main[place]:.1f} %"
        for place in (fewest, most)
    ]
    return f"class with fewest {texts[0]}, with most {texts[1]}"
