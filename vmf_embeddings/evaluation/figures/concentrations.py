"""How sure von Mises-Fisher distributions are: kappa of rows and classes, and over the epochs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.curves import History
from vmf_embeddings.evaluation.figures.legends import add_legend_below
from vmf_embeddings.evaluation.figures.style import ACCENT, INK, MUTED, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title, class_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 30
_QUARTILES = (25, 50, 75)


def draw_concentrations(
    evaluated: EvaluatedFile, history: History, of_classes: History | None = None
) -> "Figure | None":
    """Quartiles of kappa of every class's rows, and kappa of the class itself; both over epochs.

    The class's own kappa is that of its weights, which closed sets have. Over epochs: the mean
    kappa of the classes between the least and the largest, the kappa of each class, or its
    quartiles over more than 30 of them, and what their spread costs.

    Args:
        evaluated: the file.
        history: columns of `metrics.csv`; may be empty.
        of_classes: columns of `class_kappas.csv`, one for each class; None or empty = not recorded.

    Returns:
        None for embeddings without concentrations.
    """
    if evaluated.geometry.confidence_name != "kappa":
        return None
    found = quartiles(evaluated)
    with_history = _is_known(history, "kappa") and len(history["epoch"]) > 1
    figure = new_figure(12.0 if with_history else 7.5, 4.6)
    axes = figure.subplots(1, 1 + with_history, squeeze=False)[0]
    add_title(figure, evaluated.title)
    _draw_classes(axes[0], found, evaluated.class_names)
    if with_history:
        _draw_epochs(axes[1], history)
        _draw_classes_over_epochs(axes[1], history, of_classes or {})
    handles, labels = axes[0].get_legend_handles_labels()
    add_legend_below(figure, handles, labels)
    return figure


def quartiles(evaluated: EvaluatedFile) -> np.ndarray:
    """Class, quartiles of kappa of its rows, kappa of its weights or NaN: [K, 5] by the median."""
    file = evaluated.file
    kappas, ids = np.linalg.norm(file.embeddings.astype(np.float64), axis=1), file.ids
    order = np.argsort(ids, kind="stable")
    classes, starts = np.unique(ids[order], return_index=True)
    groups = np.split(kappas[order], starts[1:])
    found = np.array([[c, *np.percentile(g, _QUARTILES), np.nan]
                      for c, g in zip(classes, groups, strict=True)])  # fmt: skip
    weights = file.class_weights
    if weights is not None and not file.open_set:
        known = (classes >= 0) & (classes < len(weights))
        lengths = np.linalg.norm(weights[classes[known]].astype(np.float64), axis=1)
        found[known, 4] = lengths
    return found[np.argsort(found[:, 2], kind="stable")]


def _draw_classes(axes: "Axes", found: np.ndarray, names: Mapping[int, str] | None) -> None:
    """Bars from quartile to quartile and the median, and a mark for the class itself."""
    ranks = np.arange(1, len(found) + 1)
    few = len(found) <= MOST_NAMED
    if few:
        axes.vlines(ranks, found[:, 1], found[:, 3], color=ACCENT, linewidth=5, alpha=0.35)
    else:
        axes.fill_between(ranks, found[:, 1], found[:, 3], color=ACCENT, alpha=0.25, linewidth=0)
    style = {"marker": "o", "linewidth": 0} if few else {"linewidth": 1.6}
    axes.plot(ranks, found[:, 2], color=ACCENT, label="images: median and quartiles", **style)
    if np.isfinite(found[:, 4]).any():
        size = 7 if few else 2
        axes.plot(ranks, found[:, 4], "D", color=SECOND, markersize=size, label="class")
    known = found[:, 1:][np.isfinite(found[:, 1:])]
    if known.min() > 0 and known.max() > 30 * known.min():
        axes.set_yscale("log")
    axes.set_title("Concentration by class")
    axes.set_ylabel("kappa")
    axes.grid(axis="x", visible=False)
    if few:
        labels = class_labels(found[:, 0].astype(int).tolist(), names, 16)
        long = sum(map(len, labels)) > 45
        axes.set_xticks(ranks, labels, color=INK, rotation=40 if long else 0,
                        ha="right" if long else "center")  # fmt: skip
    else:
        axes.set_xlabel("rank of the class, least sure first")


def _draw_epochs(axes: "Axes", history: History) -> None:
    """Mean kappa of the classes, a band from the least to the largest; the spread cost beside."""
    epochs = history["epoch"]
    if _is_known(history, "kappa_min") and _is_known(history, "kappa_max"):
        bounds = (history["kappa_min"], history["kappa_max"])
        axes.fill_between(epochs, *bounds, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(epochs, history["kappa"], color=ACCENT, linewidth=1.8)
    axes.set_title("Classes over epochs")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_ylabel("kappa: mean, least to largest (solid)", color=ACCENT)
    if not _is_known(history, "spread_cost"):
        return
    right = axes.twinx()
    right.grid(False)
    right.spines["right"].set_visible(True)
    right.plot(epochs, history["spread_cost"], color=SECOND, linewidth=1.8, linestyle="--")
    right.set_ylim(bottom=0)
    right.set_ylabel("spread cost, nats (dashed)", color=SECOND)
    right.tick_params(axis="y", colors=MUTED)


def _draw_classes_over_epochs(axes: "Axes", history: History, of_classes: History) -> None:
    """A thin line for each class, or a darker band from quartile to quartile over many."""
    names = [name for name in of_classes if name != "epoch"]
    if not names or list(of_classes["epoch"]) != list(history["epoch"]):
        return  # of another training
    kappas = np.array([of_classes[name] for name in names], dtype=float)
    if len(names) > MOST_NAMED:
        low, high = np.nanpercentile(kappas, (25, 75), axis=0)
        axes.fill_between(history["epoch"], low, high, color=ACCENT, alpha=0.3, linewidth=0)
        return
    for line in kappas:
        axes.plot(history["epoch"], line, color=ACCENT, linewidth=0.7, alpha=0.6)


def _is_known(history: History, key: str) -> bool:
    """Whether the column has a number."""
    return bool(np.isfinite(np.asarray(history.get(key, ()), dtype=float)).any())
