"""Arguments of `evaluate` that say which pairs of rows are compared. Imports nothing slow."""

import argparse

from vmf_embeddings.cli.arguments import choice, existing
from vmf_embeddings.evaluation.options import EXCLUDED


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Adds them to the parser of `evaluate`, in a group of its help."""
    add = parser.add_argument_group("which pairs are compared (docs/metrics.md)").add_argument
    add("--exclude-same", type=choice(EXCLUDED), metavar="KEY",
        help="do not compare a query with rows of its class that have the same camera or "
        "sequence, as the file's key of that name says")  # fmt: skip
    add("--merge", nargs="+", type=existing, default=[], metavar="FILE",
        help="also search the galleries of these files of the same run together with that of the "
        "scored one (metrics=merged)")  # fmt: skip
    add("--pairs", type=existing, metavar="FILE.csv",
        help="verify these pairs of rows: columns row_a, row_b (from 0), same (1 or 0); also by "
        "ten folds in the order of the file (metrics=verification: all pairs)")  # fmt: skip
