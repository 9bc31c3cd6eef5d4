"""Arguments of `evaluate` that say which pairs of rows are compared. Imports nothing slow."""

import argparse

from vmf_embeddings.cli.arguments import existing


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Adds them to the parser of `evaluate`, in a group of its help."""
    add = parser.add_argument_group("which pairs are compared (docs/metrics.md)").add_argument
    add("--pairs", type=existing, metavar="FILE.csv",
        help="verify these pairs of rows: columns row_a, row_b (from 0), same (1 or 0); also by "
        "ten folds in the order of the file (metrics=verification: all pairs)")  # fmt: skip
