"""Options of `evaluate` and `compare`: intervals, and what a run is compared with."""

import argparse

from vmf_embeddings.cli.arguments import existing

USUAL_DRAWS = 2000


def draws(word: str) -> int:
    """An argparse type: a number of draws, 0 or at least 2."""
    if not word.isdigit() or int(word) == 1:
        raise argparse.ArgumentTypeError(f"needs 0 or a whole number of 2 or more, got {word!r}")
    return int(word)


def add_significance(parser: argparse.ArgumentParser) -> None:
    """Adds those of `evaluate` to its parser, in a group of its help."""
    add = parser.add_argument_group("intervals (docs/metrics.md)").add_argument
    add("--resample", type=draws, default=0, metavar="B",
        help="95 %% intervals of the scores over other rows and over other classes, from B draws "
        "with replacement; 1000 to 2000 is usual, 0 = none (0)")  # fmt: skip
    add("--against", type=existing, metavar="OTHER",
        help="compare with a run or file of the same rows, row by row: difference, interval, "
        f"tests (with {USUAL_DRAWS} draws unless --resample says otherwise)")  # fmt: skip


def of_significance(values: dict[str, object]) -> dict[str, object]:
    """The fields of `EvaluationOptions` from parsed values: a comparison needs draws."""
    needed = USUAL_DRAWS if values.get("against") is not None else 0
    return {"resample": values.get("resample") or needed}
