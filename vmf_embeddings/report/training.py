"""Charts of the training of runs, one for each quantity, with the runs in one another's axes."""

import math
from collections.abc import Sequence

from vmf_embeddings.evaluation.figures.curves import History
from vmf_embeddings.evaluation.report import score_words
from vmf_embeddings.report.charts import Chart, Line, table_of
from vmf_embeddings.report.run import ReportedRun

# column of metrics.csv -> title; scores of further splits and what else a run records follow
_PANELS = {
    "train_loss": "Training loss",
    "valid_loss": "Validation loss",
    "valid_metric": "Validation score",
    "test_metric": "Test score, by which the epoch was chosen",
    "valid_nll": "Validation NLL, nats",
    "test_nll": "Test NLL, nats",
    "learning_rate": "Learning rate",
    "temperature": "Temperature",
    "kappa": "Concentration kappa of the classes, mean",
    "kappa_min": "Concentration kappa of the classes, least",
    "kappa_max": "Concentration kappa of the classes, largest",
    "kappa_scale": "Scale of the embeddings (kappa_scale)",
    "spread_cost": "Cost of the spread of a class, nats",
}
_SPLITS = {"train": "Training", "valid": "Validation", "test": "Test"}
_LAST = ("images_per_second", "data_wait", "seconds")
_TITLES_LAST = {
    "images_per_second": "Images per second",
    "data_wait": "Part of the time waiting for data",
    "seconds": "Seconds per epoch",
}
_MOST_PANELS = 24
_LOGARITHMIC = ("train_loss", "valid_loss", "valid_nll", "test_nll", "learning_rate")


def training_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """A chart for every column of the runs' `metrics.csv` that has a number."""
    columns = list(dict.fromkeys(key for run in runs for key in run.history if key != "epoch"))
    first = [key for key in _PANELS if key in columns]
    rest = [key for key in columns if key not in (*_PANELS, *_LAST)]
    order = [*first, *rest, *(key for key in _LAST if key in columns)]
    charts = [_chart(runs, key, n) for n, key in enumerate(order)]
    return [chart for chart in charts if chart is not None][:_MOST_PANELS]


def _chart(runs: Sequence[ReportedRun], key: str, number: int) -> Chart | None:
    shown = [run for run in runs if _has(run.history, key)]
    if not shown:
        return None
    lines = [
        Line(run.name, run.history["epoch"], run.history[key], run.number, _style(run))
        for run in shown
    ]
    title = _title(key, shown)
    logarithmic = key in _LOGARITHMIC and _spans_decades(lines)
    table = table_of(f"training-{number}-table", f"{title} by epoch", "epoch", lines)
    return Chart(
        f"training-{number}", title, _summary(title, key, shown), lines, "epoch", "",
        y_log=logarithmic, table=table,
    )  # fmt: skip


def _style(run: ReportedRun) -> str:
    """Lines, and points where there are too few epochs for a line."""
    return "points" if len(run.history["epoch"]) == 1 else "line"


def _has(history: History, key: str) -> bool:
    return any(math.isfinite(value) for value in history.get(key, ()))


def _title(key: str, runs: Sequence[ReportedRun]) -> str:
    split, _, score = key.partition("/")
    if split in _SPLITS and score:
        words = score_words("classification", score)[0].replace(" %", "")
        words = words if words.startswith("Recall") else f"{words[:1].lower()}{words[1:]}"
        return f"{_SPLITS[split]} {words}, for information"
    title = {**_PANELS, **_TITLES_LAST}.get(key, key.replace("_", " ").capitalize())
    if not key.endswith("_metric"):
        return title
    kinds = {"Recall@1" if run.evaluated.file.open_set else "accuracy" for run in runs}
    return title.replace("score", kinds.pop()) if len(kinds) == 1 else title


def _spans_decades(lines: Sequence[Line]) -> bool:
    finite = [y for line in lines for y in line.y if math.isfinite(y)]
    return min(finite) > 0 and max(finite) > 30 * min(finite)


def _summary(title: str, key: str, runs: Sequence[ReportedRun]) -> str:
    """First and last value of every run, and where its best one is."""
    parts = []
    for run in runs:
        known = [
            (epoch, value)
            for epoch, value in zip(run.history["epoch"], run.history[key], strict=True)
            if math.isfinite(value)
        ]
        (start, first), (end, last) = known[0], known[-1]
        text = f"{run.name}: {first:.4g} at epoch {start:g}, {last:.4g} at epoch {end:g}"
        if key.endswith(("_metric", "_nll")):
            choose = max if key.endswith("_metric") else min
            epoch, best = choose(known, key=lambda one: one[1])
            text += f", best {best:.4g} at epoch {epoch:g}"
        parts.append(text)
    return f"{title}. {'; '.join(parts)}."
