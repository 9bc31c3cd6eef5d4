"""Training curves from the `metrics.csv` of a run: loss, scores, learning rate, temperature."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.evaluation.figures.style import ACCENT, MUTED, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.untrusted.files import read_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, Sequence[float]]
_LONGEST_FILE = 16 * 2**20  # bytes
_MOST_NUMBERS = 10_000_000  # columns times epochs
_METRICS, _LOSSES = ("valid_metric", "test_metric"), ("valid_nll", "test_nll")
_MARKED = (*_METRICS, *_LOSSES)  # columns in whose panels the kept epoch is marked
_LARGEST = 1e100  # larger values cannot be drawn; float32 ends at 3.4e38


def read_history(path: Path) -> History:
    """Columns of the csv by name, sorted by epoch; empty if there is no file or no epoch in it.

    Of an epoch that was written twice (the run was resumed), the last line counts; a cell without
    a number is NaN.

    Raises:
        ValueError: it is not a regular file, too large, or not a csv.
    """
    if not path.exists():
        return {}
    try:
        names, *lines = _lines(path) or [[]]
    except csv.Error as error:
        raise ValueError(f"{path} is not a table of numbers: {error}") from error
    if len(names) * len(lines) > _MOST_NUMBERS:
        raise ValueError(
            f"{path} has {len(names)} columns and {len(lines)} lines: more than {_MOST_NUMBERS} "
            "cells"
        )
    place = {name: column for column, name in enumerate(names) if name}
    rows = {_cell(line, place.get("epoch")): line for line in lines}
    epochs = sorted(epoch for epoch in rows if not math.isnan(epoch))
    if not epochs:
        return {}
    return {
        "epoch": epochs,
        **{
            name: [_cell(rows[epoch], place[name]) for epoch in epochs]
            for name in sorted(place.keys() - {"epoch"})
        },
    }


def _lines(path: Path) -> list[list[str]]:
    """Cells of the csv by line, without empty lines."""
    text = read_text(path, limit=_LONGEST_FILE)
    return [line for line in csv.reader(io.StringIO(text, newline="")) if line]


def _cell(line: Sequence[str], column: int | None) -> float:
    """The number in a column of a line; NaN where there is none that could be drawn."""
    if column is None or column >= len(line):
        return math.nan
    try:
        value = float(line[column])
    except ValueError:
        return math.nan
    return value if abs(value) <= _LARGEST else math.nan


def draw_curves(
    history: History,
    title: str,
    metric: str = "metric",
    *,
    last: bool = False,
    kept: int | None = None,
) -> "Figure":
    """One panel per quantity over epochs; quantities without numbers are left out.

    Args:
        history: from `read_history`, with a column `epoch`.
        title: of the figure.
        metric: name of the metric of validation, such as "Recall@1". The splits of
            `mode.evaluate_on`, scored by the same metric, share a panel.
        last: whether the last epoch was kept instead of the best one.
        kept: the epoch that was kept; None, or one that is not in the history: the first of the
            best by the metric.
    """
    logged_only = tuple(f"{split}/{metric.lower()}" for split in ("train", "valid", "test"))
    panels = {
        "Training loss": ("train_loss",),
        f"Validation {metric}": ("valid_metric",),
        f"Test {metric}, selected by": ("test_metric",),
        "Validation NLL, nats": ("valid_nll",),
        "Test NLL, nats": ("test_nll",),
        f"{metric.capitalize()}, logged only": logged_only,
        "Learning rate": ("learning_rate",),
        "Temperature and concentration": ("temperature", "kappa"),
    }
    shown = {name: keys for name, keys in panels.items() if any(_has(history, k) for k in keys)}
    marked = {name for name, keys in shown.items() if keys[0] in _MARKED}
    kept = kept if kept in history.get("epoch", ()) else _best_epoch(history)
    n_columns = 2 if len(shown) > 1 else 1
    n_rows = max(1, math.ceil(len(shown) / n_columns))
    figure = new_figure(4.6 * n_columns, 2.7 * n_rows + 0.5)
    add_title(figure, title)
    for number, (name, keys) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(n_rows, n_columns, number)
        axes.set_title(name, pad=19 if name in marked else None)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _draw_panel(axes, history, [key for key in keys if _has(history, key)])
        if name in marked:
            _mark_kept(axes, history, keys[0], last, kept)
    return figure


def _best_epoch(history: History) -> float | None:
    """The first of the epochs with the best metric; None without one."""
    known = [
        (value, -epoch)
        for key in _METRICS
        for epoch, value in zip(history["epoch"], history.get(key, ()), strict=False)
        if math.isfinite(value)
    ]
    return -max(known)[1] if known else None


def _has(history: History, key: str) -> bool:
    return any(math.isfinite(value) for value in history.get(key, ()))


def _draw_panel(axes: "Axes", history: History, keys: Sequence[str]) -> None:
    epochs = history["epoch"]
    axes.plot(epochs, history[keys[0]], color=ACCENT, linewidth=1.8, **_dots(history, keys[0]))
    if len(epochs) == 1:  # no ticks before and after the only epoch
        axes.set_xticks(epochs)
    axes.ticklabel_format(
        axis="y", useOffset=False
    )  # ticks read 1.0002, not 0.2 with an offset "1e-3+1"
    if keys[0] in ("learning_rate", "train_loss", *_LOSSES) and _spans_decades(history[keys[0]]):
        _use_plain_log_scale(axes)
    if "/" in keys[0]:
        _draw_other_splits(axes, history, keys)
    elif len(keys) == 2:
        _draw_on_second_axis(axes, history, keys)


def _use_plain_log_scale(axes: "Axes") -> None:
    """Makes the y axis logarithmic, with ticks such as 0.1, 0.2, 0.5 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 1e4 * low:  # in a larger range, ticks at some powers of ten are enough
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _spans_decades(values: Sequence[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return min(finite) > 0 and max(finite) > 30 * min(finite)


def _mark_kept(axes: "Axes", history: History, key: str, last: bool, best: float | None) -> None:
    """Marks the epoch whose weights were kept: the best one, or the last."""
    epochs, values = list(history["epoch"]), history[key]
    kept = len(values) - 1 if last or best is None else epochs.index(best)
    epoch, value = epochs[kept], values[kept]
    sign = -1 if key in _LOSSES else 1
    scored = [sign * one for one in values if math.isfinite(one)]
    is_best = math.isfinite(value) and sign * value == max(scored)
    axes.axvline(epoch, color=MUTED, linewidth=0.8, linestyle=":")
    axes.plot([epoch], [value], "o", color=SECOND, markersize=6, zorder=3)
    score = f"{value:.4g}" if math.isfinite(value) else "not scored,"
    word = "kept: the last," if last else ("best" if is_best else "kept:")
    text = f"{word} {score} at epoch {epoch:g}"
    axes.annotate(text, (0, 1), xytext=(0, 5), xycoords="axes fraction",
                  textcoords="offset points", va="bottom", fontsize=9)  # fmt: skip


def _dots(history: History, key: str) -> dict[str, object]:
    """Options of `plot` that mark values without a neighbour, which no line would show."""
    known = [math.isfinite(value) for value in history[key]]
    around = zip([False, *known[:-1]], known, [*known[1:], False], strict=True)
    alone = [n for n, (before, own, after) in enumerate(around) if own and not (before or after)]
    places = list(range(len(known))) if len(known) < 3 else alone
    return {"marker": "o", "markersize": 5, "markevery": places} if places else {}


def _draw_other_splits(axes: "Axes", history: History, keys: Sequence[str]) -> None:
    """Draws the scores of the other splits in the same axes, with a legend."""
    for key, colour, style in zip(keys[1:], (SECOND, MUTED), ("--", ":"), strict=False):
        dots = _dots(history, key)
        axes.plot(history["epoch"], history[key], color=colour, linestyle=style, **dots)
    axes.legend(axes.lines, [key.split("/")[0] for key in keys], fontsize=9)


def _draw_on_second_axis(axes: "Axes", history: History, keys: Sequence[str]) -> None:
    """Draws the second quantity with an axis of its own on the right."""
    right = axes.twinx()
    right.grid(False)
    right.ticklabel_format(axis="y", useOffset=False)
    right.spines["right"].set_visible(True)
    right.plot(history["epoch"], history[keys[1]], color=SECOND, linewidth=1.8, linestyle="--",
               **_dots(history, keys[1]))  # fmt: skip
    axes.set_ylabel(f"{keys[0]} (solid)", color=ACCENT)
    right.set_ylabel(f"{keys[1]} (dashed)", color=SECOND)
