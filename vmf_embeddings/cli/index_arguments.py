"""Options of `evaluate` and `search`: approximate indexes. Imports nothing slow."""

import argparse

from vmf_embeddings.cli.arguments import choice, number
from vmf_embeddings.evaluation.options import INDEXES, LOWEST_RECALL


def add_index(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds them to a parser, in a group of its help, which is returned."""
    group = parser.add_argument_group("approximate neighbours (docs/metrics.md)")
    add = group.add_argument
    add("--index", type=choice(INDEXES), metavar="NAME",
        help="find neighbours by an index of faiss, whose recall is measured on up to 2000 "
        f"queries: {' '.join(INDEXES)} (exactly)")  # fmt: skip
    add("--index-recall", type=number(LOWEST_RECALL, 1), default=0.99, metavar="X",
        help="fraction of the exact neighbours that it must find, "
        f"{LOWEST_RECALL:g} to 1 (0.99)")  # fmt: skip
    return group
