"""The options of a report; imports nothing slow, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.evaluation.options import EvaluationOptions

MAPS = ("auto", "tsne", "umap", "components")
MOST_POINTS = 10_000  # on the maps of all runs together
MOST_BYTES = 10_000_000  # of the page; beyond, images and points are left out
MOST_RUNS = 8


@dataclass(frozen=True)
class ReportOptions:
    """What a report is about, and where it is written.

    Args:
        evaluation: paths, split and geometry of the files, how they are scored where
            `metrics.json` has no scores of them, and whose images may be shown.
        out: the file to write.
        title: of the page; None = what was scored.
        points: rows on a map; None = 10,000 for all runs together, 2,000 for each by t-SNE.
        map: one of MAPS, for embeddings that have more than three dimensions.
        force: whether `out` may be replaced.
    """

    evaluation: EvaluationOptions
    out: Path
    title: str | None = None
    points: int | None = None
    map: str = "auto"
    force: bool = False
