"""The classes of the lowest accuracy by name, beside a figure that has too many to name all."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import INK, MUTED
from vmf_embeddings.evaluation.figures.text import class_labels
from vmf_embeddings.metrics import ShotScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_WORST = 12


def worst_classes(shots: ShotScores) -> np.ndarray:
    """Numbers of the classes of the lowest accuracy, at most 12, the lowest first.

    Of equal accuracies that of more test images comes first, then that of the lower number. Classes
    without test images, and those that are always right, are left out.
    """
    accuracy, n_tested = shots.accuracy.numpy(), shots.test_counts.numpy()
    scored = (np.isfinite(accuracy) & (accuracy < 1)).nonzero()[0]
    order = np.lexsort((scored, -n_tested[scored], accuracy[scored]))
    return scored[order[:N_WORST]]


def draw_worst_classes(
    axes: "Axes",
    shots: ShotScores,
    worst: np.ndarray,
    names: Mapping[int, str] | None,
    colours: Mapping[str, str],
) -> None:
    """Names, accuracies with binomial standard errors, and right ones of all test images.

    Args:
        axes: to draw in.
        shots: accuracy and test images of each class.
        worst: of `worst_classes`, at least one.
        names: class label -> name, or None.
        colours: of the groups by number of training images.
    """
    accuracy, tested = 100 * shots.accuracy.numpy()[worst], shots.test_counts.numpy()[worst]
    places = np.arange(len(worst))
    groups = [colours[shots.group_names[number]] for number in worst]
    error = np.sqrt(accuracy * (100 - accuracy) / np.maximum(tested, 1))
    axes.hlines(places, accuracy - error, accuracy + error, colors=groups, linewidth=2, alpha=0.45)
    axes.scatter(accuracy, places, c=groups, s=45, zorder=3, linewidths=0)
    right = np.rint(accuracy / 100 * tested).astype(int)
    for place, n_right, n_tested in zip(places, right.tolist(), tested.tolist(), strict=True):
        axes.text(
            1.02, place, f"{n_right} of {n_tested}", transform=axes.get_yaxis_transform(),
            va="center", fontsize=8, color=MUTED,
        )  # fmt: skip
    axes.set_yticks(places, class_labels(worst.tolist(), names, 24), color=INK, fontsize=8.5)
    axes.set_ylim(len(worst) - 0.5, -0.5)
    most = float((accuracy + error).max())
    axes.set_xlim(-2, max(10.0, min(102.0, 1.15 * most)))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("accuracy, %")
    axes.set_title(f"lowest {len(worst)} of {len(shots.accuracy):,} classes", fontsize=10)
