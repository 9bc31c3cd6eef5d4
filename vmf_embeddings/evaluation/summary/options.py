"""What a summary is asked for; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path

SPACES = ("normalised", "as_output")
SPLITS = ("test", "valid", "train")
DEFAULT_OUT = Path("summary")


@dataclass(frozen=True)
class SummaryOptions:
    """What a command line asked for.

    Args:
        paths: folders below which `metrics.json` files lie.
        split: whose scores are shown.
        structure_split: whose spectrum and distances are shown; None for those of `split`.
        space: the space of the scores that have one: "normalised" or "as_output".
        out: where tables and pictures go.
        pictures: whether to draw.
    """

    paths: tuple[Path, ...]
    split: str = "test"
    structure_split: str | None = None
    space: str = "normalised"
    out: Path = DEFAULT_OUT
    pictures: bool = True
