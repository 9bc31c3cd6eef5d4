"""How confidences fall as images are cropped, blurred, covered or made noisy.

Kirchhof et al. 2023, https://arxiv.org/abs/2307.03810, section 4.
"""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.corrupted_rows import (
    Grid,
    confidences_of,
    corrupted_rows,
    examples_beside,
    grids,
    without_unknown,
)
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText
from vmf_embeddings.metrics.corruption import (
    share_less_confident,
    spearman_per_row,
    spearman_pooled,
    weighted_spearman_pooled,
)
from vmf_embeddings.metrics.resampling import WeightedScore, weighted_mean

TABLE = TableText(
    title="Confidence against strength of corruption: 1 = falls with every level",
    head="confidence",
    columns={
        "spearman_pooled": ("-Spearman, pooled", 1, 3),
        "spearman_per_row": ("per image", 1, 3),
        "less_confident_when_corrupted": ("less confident at the strongest %", 100, 1),
    },
    label=lambda row: row.partition("/")[2].replace("_", " "),
    block=lambda row: row.partition("/")[0],
)


def score(context: Context) -> ScoreTable:
    """Scores every confidence by every corruption.

    Raises:
        ValueError: there is no file of corrupted images of the scored rows.
    """
    corrupted = corrupted_rows(context)
    table = ScoreTable(about={"file": corrupted.name, "examples": examples_beside(corrupted.name)})
    given, left_out = confidences_of(context, corrupted.file), set()
    for grid in grids(corrupted.file):
        table.about[grid.corruption] = {"levels": grid.levels.tolist(), "n_images": len(grid.rows)}
        for name, values in given.items():
            row, known = f"{grid.corruption}/{name}", without_unknown(values, grid)
            _score(table, row, known, grid)
            if row in table.rows:
                images = corrupted.file.source[grid.rows[:, 0]]
                images = images[~values[torch.from_numpy(grid.rows)].isnan().any(1).numpy()]
                drawn = _drawn(known, grid.levels, images, len(context.file.ids))
                table.drawn |= {f"{row}/{score}": own for score, own in drawn.items()}
            if f"{grid.corruption}/{name}" not in table.rows:
                left_out.add(name)
    table.about["not_offered"] = sorted(left_out)
    return table


def _drawn(
    values: Tensor, levels: np.ndarray, images: np.ndarray, n_rows: int
) -> dict[str, WeightedScore]:
    """The scores of confidences [n, L] of images, row numbers [n], by weights of all rows."""
    pooled, numbers = weighted_spearman_pooled(values, levels), torch.from_numpy(images)

    def mean(of_images: Tensor) -> WeightedScore:
        every = torch.full((n_rows,), torch.nan, dtype=torch.float64)
        every[numbers] = of_images.double()
        return weighted_mean(every)

    return {
        "spearman_pooled": lambda weights: pooled(weights[:, numbers]),
        "spearman_per_row": mean(spearman_per_row(values, levels)),
        "less_confident_when_corrupted": mean(values[:, -1] < values[:, 0]),
    }


def _score(table: ScoreTable, row: str, values: Tensor, grid: Grid) -> None:
    """Adds the scores of a confidence [N, L], and its mean and quartiles by level."""
    if not len(values):
        return
    of_images = spearman_per_row(values, grid.levels)
    known = of_images[~of_images.isnan()]
    table.rows[row] = {
        "spearman_pooled": spearman_pooled(values, grid.levels),
        "spearman_per_row": float(known.mean()) if len(known) else torch.nan,
        "less_confident_when_corrupted": share_less_confident(values[:, 0], values[:, -1]),
    }
    constant = len(of_images) - len(known)
    if constant:
        table.about.setdefault("images_of_constant_confidence", {})[row] = constant
    table.curves[f"{row}/level"] = grid.levels
    table.curves[f"{row}/mean"] = values.mean(0).numpy()
    for part, quantile in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75)):
        table.curves[f"{row}/{part}"] = np.quantile(values.numpy(), quantile, axis=0)
