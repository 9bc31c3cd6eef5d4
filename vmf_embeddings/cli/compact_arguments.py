"""Options of `evaluate` and `search`: formats, prefixes, re-ranking. Imports nothing slow."""

import argparse

from vmf_embeddings.cli.arguments import (
    choice,
    existing,
    number,
    positive_int,
    several,
    whole_number,
)
from vmf_embeddings.evaluation.options import PRECISIONS, RERANKINGS


def add_compact(parser: argparse.ArgumentParser) -> None:
    """Adds those of `evaluate` to its parser, in two groups of its help."""
    add = parser.add_argument_group("shorter and coarser embeddings (docs/compact.md)").add_argument
    add("--dims", nargs="+", type=several(positive_int), default=[], metavar="M",
        help="also score the first M coordinates, each, and all of them")  # fmt: skip
    add("--pca-from", type=existing, metavar="FILE",
        help="rows whose principal components prefixes are compared with (the training file "
        "beside)")  # fmt: skip
    add("--precision", nargs="+", type=choice(PRECISIONS), default=[], metavar="NAME",
        help=f"also score in these number formats: {' '.join(PRECISIONS)}; with --dims, of every "
        "length")  # fmt: skip
    add("--calibrate-on", type=existing, metavar="FILE",
        help="rows that set the ranges of int8 (the training file beside, else the file "
        "itself)")  # fmt: skip
    add("--rescore-multiplier", type=positive_int, default=4, metavar="N",
        help="binary: N candidates per neighbour are compared again (4)")  # fmt: skip
    group = parser.add_argument_group("ranking again (docs/compact.md)")
    group.add_argument("--rerank", nargs="+", type=choice(RERANKINGS), default=[], metavar="NAME",
                       help="also score the neighbours ranked again: "
                       f"{' '.join(RERANKINGS)}")  # fmt: skip
    _add_parameters(group)


def add_for_search(parser: argparse.ArgumentParser) -> None:
    """Adds those of `search` to its parser."""
    group = parser.add_argument_group("codes and ranking again (docs/compact.md)")
    add = group.add_argument
    add("--precision", type=choice(PRECISIONS), metavar="NAME",
        help=f"search FILE's rows in this number format: {' '.join(PRECISIONS)} "
        "(exactly)")  # fmt: skip
    add("--rescore-multiplier", type=whole_number(0), default=4, metavar="N",
        help="--precision: N times K rows are compared again by their floats; 0 = none "
        "(4)")  # fmt: skip
    add("--rerank", type=choice(RERANKINGS), metavar="NAME",
        help=f"rank neighbours again: {' '.join(RERANKINGS)}")  # fmt: skip
    _add_parameters(group)


def _add_parameters(group: argparse._ArgumentGroup) -> None:
    """Adds the parameters of re-ranking."""
    add = group.add_argument
    add("--k1", dest="rerank_k1", type=positive_int, default=20, metavar="K",
        help="k_reciprocal: neighbours that must be mutual (20)")  # fmt: skip
    add("--k2", dest="rerank_k2", type=positive_int, default=6, metavar="K",
        help="k_reciprocal: neighbours whose encodings are averaged (6)")  # fmt: skip
    add("--lambda", dest="rerank_lambda", type=number(0, 1), default=0.3, metavar="X",
        help="k_reciprocal: weight of the original distance, 0 to 1 (0.3)")  # fmt: skip
    add("--expand-n", type=whole_number(0), default=10, metavar="N",
        help="alpha_qe, dba: neighbours that are added; choose it on validation (10)")  # fmt: skip
    add("--expand-alpha", type=number(0), default=3.0, metavar="X",
        help="alpha_qe, dba: exponent of the cosines that weigh them; 0 = all weigh 1 "
        "(3)")  # fmt: skip


def in_order(values: dict[str, object]) -> dict[str, object]:
    """The fields of `EvaluationOptions` from parsed values: each name once, lengths ascending."""
    lengths = sorted({m for each in values["dims"] for m in each})  # type: ignore[attr-defined]
    given = {name: tuple(dict.fromkeys(values[name])) for name in ("precision", "rerank")}  # type: ignore[call-overload]
    return {"dims": tuple(lengths), **given}
