"""The options of a summary; imports nothing slow, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

SPACES = ("normalised", "as_output")
SPLITS = ("test", "valid", "train")
# what runs may be ranked by: name -> its key in the scores of a run
RANKINGS = {
    "accuracy": "classification.accuracy",
    **{name: f"shots.{name}" for name in ("many", "medium", "few")},
    **{name: name for name in ("recall@1", "map@r", "map_at_1000", "nmi", "f1")},
}
DEFAULT_OUT = Path("summary")
# what stands after a mean: half of Student's 95 % interval over seeds, or the standard error
ERRORS = ("t", "se")
FORMATS = ("csv", "markdown", "latex")


@dataclass(frozen=True)
class SummaryOptions:
    """What to summarize, and where to write it.

    Args:
        paths: folders that hold `metrics.json` files, at any depth.
        split: "test", "valid" or "train": the split whose scores are shown.
        structure_split: split whose spectrum and distances are shown; None = `split`.
        space: "normalised" or "as_output" embeddings, for the scores that exist for both.
        out: folder for tables and figures.
        figures: whether to draw figures.
        rank_by: one of RANKINGS; None = the task's own score: accuracy where the classes are those
            of training, else Recall@1.
        scores: names of the scores that follow that of the task; () = the usual ones.
        every: whether all scores follow it.
        error: one of ERRORS.
        formats: of FORMATS, in which the printed table is written too.
        sweep: folder of a sweep whose jobs are listed instead of scores; None = scores of `paths`.
    """

    paths: tuple[Path, ...]
    split: str = "test"
    structure_split: str | None = None
    space: str = "normalised"
    out: Path = DEFAULT_OUT
    figures: bool = True
    rank_by: str | None = None
    scores: tuple[str, ...] = ()
    every: bool = False
    error: str = "t"
    formats: tuple[str, ...] = ()
    sweep: Path | None = None
