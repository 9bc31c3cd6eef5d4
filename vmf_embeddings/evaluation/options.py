"""What an evaluation is asked for; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmf_embeddings.metrics import Thresholds

GEOMETRIES = ("cosine", "euclidean", "poincare", "poincare-reference", "vmf")
# groups of scores beside the usual ones; `metrics.embedding_scores` computes them
METRICS = ("recall", "nmi", "map", "spectrum", "spread")


@dataclass(frozen=True)
class EvaluationOptions:
    """What to score, how, and what to write.

    Args:
        paths: run folders, sweep folders or embedding files.
        split: "test", "valid" or "train": which files are looked for in folders.
        geometry: one of GEOMETRIES, or None to believe the file.
        curvature: c > 0 of the Poincare ball, or None to believe the file or the log.
        metrics: of METRICS, what is scored in both spaces beside the usual scores.
        nmi_all_rows: whether NMI and F1 take all rows however many there are.
        recall: the k of Recall@k, or None for the usual ones.
        search: what finds neighbours for the pictures; scores are ranks, which need no search.
        samples: draws per item for vMF scores.
        seed: of those draws and of the pictures' choices.
        pictures: whether to draw.
        images_from: folder whose images may be drawn where a file names them, beside those of its
            own folder and of the current one; its relative paths start there.
        json: where all results go besides the run folders.
        many_above: classes with more training pictures are many-shot ones.
        few_below: classes with fewer are few-shot ones.
        few_max_inclusive: whether a class with exactly `few_below` is a few-shot one too.
        apart: whether files that cannot be compared are scored one by one instead of refused.
        only: "vmf" or "deterministic": what a door of 2021 accepts; None accepts both.
    """

    paths: tuple[Path, ...]
    split: str = "test"
    geometry: str | None = None
    curvature: float | None = None
    metrics: tuple[str, ...] = ()
    nmi_all_rows: bool = False
    recall: tuple[int, ...] | None = None
    search: str = "auto"
    samples: int = 10
    seed: int = 1234
    pictures: bool = True
    images_from: Path | None = None
    json: Path | None = None
    many_above: int = 100
    few_below: int = 20
    few_max_inclusive: bool = False
    apart: bool = False
    only: str | None = None

    @property
    def thresholds(self) -> "Thresholds":
        """Where the groups of classes begin and end; imports torch."""
        from vmf_embeddings.metrics import Thresholds

        return Thresholds(self.many_above, self.few_below, self.few_max_inclusive)
