"""The arguments of `evaluate` and of the two metric scripts of 2021; imports nothing slow."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.cli.arguments import (
    Parser,
    choice,
    file_to_write,
    folder,
    positive_float,
    positive_int,
    several,
)
from vmf_embeddings.cli.compact_arguments import add_compact, in_order
from vmf_embeddings.cli.index_arguments import add_index
from vmf_embeddings.cli.pair_arguments import add_pairs
from vmf_embeddings.cli.runs_root import runs_root
from vmf_embeddings.cli.section_arguments import add_sections, of_sections, unread
from vmf_embeddings.cli.significance_arguments import add_significance, of_significance
from vmf_embeddings.evaluation.options import (
    GEOMETRIES,
    METRICS,
    SECTIONS,
    EvaluationOptions,
)

GEOMETRY_OF_2021 = {"l2": "cosine", "hyperbolic": "poincare", "none": "euclidean"}
# score -> the name for `--metrics` that includes it
_INCLUDED_IN = {
    "f1": "nmi", "rho": "spectrum", "intra": "spread", "inter": "spread", "pi": "spread",
    "kappa": "spread", "concentration": "spread", "uniformity": "spread", "alignment": "spread",
}  # fmt: skip
TIES = ("expected", "index")
_SEARCHES = ("auto", "torch", "faiss")


def metrics_words(word: str) -> list[str]:
    """Names from `nmi`, `nmi,map`, `[nmi,map]` or `all`.

    The name of a single score, such as `rho`, is an error that says which name includes it.
    """
    names = [name.strip() for name in word.strip("[]").split(",") if name.strip()]
    if not word:
        raise argparse.ArgumentTypeError(
            f"needs some of {' '.join((*METRICS, *SECTIONS))}, or all; leave --metrics out for the "
            "default scores"
        )
    known = choice((*METRICS, *SECTIONS, "all"))
    for name in names:
        if name in _INCLUDED_IN:
            raise argparse.ArgumentTypeError(f"{name!r} comes with {_INCLUDED_IN[name]}: type that")
    return [name for given in names for name in (METRICS if known(given) == "all" else [given])]


def _queries(word: str) -> int | str:
    try:
        return word if word == "all" else positive_int(word)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; or all") from None


def _parquet(word: str) -> Path:
    if not word.endswith(".parquet"):
        raise argparse.ArgumentTypeError(f"needs a file name that ends in .parquet, got {word!r}")
    return Path(word)


def _add_common(parser: Parser) -> None:
    add = parser.add_argument
    add("--metrics", nargs="+", type=metrics_words, metavar="NAME", default=[],
        help=f"scores besides the default ones: of metric learning {' '.join(METRICS)}, or all of "
        f"these; sections {' '.join(SECTIONS)}; also as metrics=[nmi,map] "
        "(docs/metrics.md)")  # fmt: skip
    add("--nmi-all-rows", action="store_true",
        help="NMI and F1 over all rows, even if rows x classes exceed 150 million")  # fmt: skip
    add(
        "--recall",
        nargs="+",
        type=several(positive_int),
        metavar="K",
        help="the K of Recall@K (1 2 4 8)",
    )
    add("--ties", type=choice(TIES), metavar="NAME",
        help="rows of equal score: expected = scores are means over all their orders, index = by "
        "row number (expected; the scripts of 2021: index)")  # fmt: skip
    add("--queries", type=_queries, metavar="Q",
        help="rank Q queries drawn at random, each against the whole gallery, or all (all where "
        "that takes an hour or less, else 10000)")  # fmt: skip
    add("--ignore-label", dest="ignore_labels", action="append", metavar="LABEL", default=[],
        help="label that means no class, such as -1: its rows stay in the gallery and are in no "
        "other score; once for each label")  # fmt: skip
    add("--search", type=choice(_SEARCHES), default="auto", metavar="NAME",
        help="backend that finds the neighbours in the figure: auto, torch or faiss; all find "
        "the same (auto)")  # fmt: skip
    add("--split", type=choice(("test", "valid", "train")), default="test", metavar="NAME",
        help="split whose files are scored in folders: test, valid or train (test)")  # fmt: skip
    add("--curvature", type=positive_float, metavar="C",
        help="c of the Poincare ball, for files of 2021")  # fmt: skip
    add("--samples", type=positive_int, default=10, metavar="S",
        help="draws per item for the sampled vMF scores (10)")  # fmt: skip
    add("--seed", type=int, default=1234, metavar="N", help="seed of all draws (1234)")
    add("--figures", action=argparse.BooleanOptionalAction, default=True,
        help="draw figures, or write scores only (draw)")  # fmt: skip
    # the same option by its former name
    add("--pictures", dest="figures", action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip
    add("--images-from", type=folder, metavar="FOLDER",
        help="folder of the data set: its images may be shown (the file's own folder)")  # fmt: skip
    add("--json", type=file_to_write, metavar="PATH", help="also write all results to this file")
    add("--many-above", type=positive_int, default=100, metavar="N",
        help="long tails: many-shot classes have more training images (100)")  # fmt: skip
    add("--few-below", type=positive_int, default=20, metavar="N",
        help="long tails: few-shot classes have fewer training images (20)")  # fmt: skip
    add("--few-max-inclusive", action="store_true",
        help="long tails: count classes with exactly --few-below as few-shot")  # fmt: skip
    add("--apart", action="store_true",
        help="score runs on different training or test images one by one")  # fmt: skip


def parse_evaluate(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings evaluate"
) -> EvaluationOptions:
    """Reads the arguments of `evaluate PATH… [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = evaluate_parser(prog)
    return _options(parser, parser.parse_args(arguments))


def evaluate_parser(prog: str) -> Parser:
    """The parser of `evaluate`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Score embedding files: accuracy, calibration, retrieval; means over "
        "replications; figures and metrics.json beside each file.",
        epilog=f"example: {prog} {runs_root()}/mnist/vmf_softmax/3dim/mnist_vmf_softmax",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH",
                        help="a run folder, a folder of runs, or a file: .npz, .npy, "
                        ".parquet, .safetensors, .csv, .tsv, or a folder .emb")  # fmt: skip
    _add_common(parser)
    parser.add_argument("--geometry", type=choice(GEOMETRIES), metavar="NAME",
                        help="for files of 2021 and of other programs: "
                        f"{' '.join(GEOMETRIES)}; poincare-reference is "
                        "2021's saturating distance, for newer hyperbolic files too")  # fmt: skip
    parser.add_argument("--table", type=_parquet, metavar="FILE.parquet",
                        help="also write the rows of the one file that is scored: vector, label, "
                        "place on a map, nearest neighbours, hit, confidence, prediction "
                        "(docs/files.md)")  # fmt: skip
    parser.add_argument("--embeddings", metavar="KEY",
                        help="files of other programs: array, columns, or beginning of the names "
                        "of numbered columns that are the embeddings (a usual one)")  # fmt: skip
    parser.add_argument("--labels", metavar="KEY",
                        help="files of other programs: array or column of the labels; of an .npy, "
                        "the file of its labels (a usual one; NAME_labels beside it)")  # fmt: skip
    add_index(parser)
    add_compact(parser)
    add_pairs(parser)
    add_sections(parser)
    add_significance(parser)
    return parser


def parse_vmf_script(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Reads the arguments of `compute_vmf_performance_metrics RUN [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.third_party.pytorch_metric_learning."
        "compute_vmf_performance_metrics",
        allow_abbrev=False,
        description="Score the embeddings of vMF runs, marginalised over draws.",
    )
    parser.add_argument("paths", nargs=1, type=Path, metavar="RUN",
                        help="a run folder, or a folder of runs: its replications")  # fmt: skip
    _add_common(parser)
    values = parser.parse_args(arguments)
    return _options(parser, values, geometry="vmf", script_of_2021="vmf")


def parse_deterministic_script(arguments: Sequence[str] | None = None) -> EvaluationOptions:
    """Reads those of `compute_deterministic_performance_metrics RUN [NORM] [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.third_party.pytorch_metric_learning."
        "compute_deterministic_performance_metrics",
        allow_abbrev=False,
        description="Score the embeddings of runs of all methods but vMF.",
    )
    parser.add_argument("paths", nargs=1, type=Path, metavar="RUN",
                        help="a run folder, or a folder of runs: its replications")  # fmt: skip
    parser.add_argument("norm", nargs="?", type=choice(tuple(GEOMETRY_OF_2021)), metavar="NORM",
                        help="how embeddings compare: l2 (cosine), hyperbolic, none (Euclidean); "
                        "only needed for files of 2021")  # fmt: skip
    _add_common(parser)
    values = parser.parse_args(arguments)
    geometry = GEOMETRY_OF_2021.get(values.norm)
    del values.norm
    return _options(parser, values, geometry=geometry, script_of_2021="deterministic")


def _options(parser: Parser, values: argparse.Namespace, **fixed: str | None) -> EvaluationOptions:
    fields = {**vars(values), **fixed}
    if values.few_below + values.few_max_inclusive > values.many_above + 1:
        parser.error(
            f"classes cannot be few-shot and many-shot at once: --few-below {values.few_below} "
            f"reaches beyond --many-above {values.many_above}"
        )
    fields["paths"] = tuple(fields["paths"])
    fields["ignore_labels"] = tuple(dict.fromkeys(fields["ignore_labels"]))
    fields["ties"] = fields["ties"] or ("index" if fixed.get("script_of_2021") else "expected")
    asked = {name for names in fields["metrics"] for name in names}
    fields["metrics"] = tuple(name for name in METRICS if name in asked)
    fields["sections"] = tuple(name for name in SECTIONS if name in asked)
    if "dims" in fields:
        fields |= in_order(fields)
        fields |= of_significance(fields)
        fields |= of_sections(fields, fields["sections"])
        mistake = unread(fields)
        if mistake is not None:
            parser.error(mistake)
    if fields["recall"]:
        fields["recall"] = tuple(sorted({k for ks in fields["recall"] for k in ks}))
    return EvaluationOptions(**fields)
