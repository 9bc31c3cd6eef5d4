"""The arguments of `compare`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import (
    Parser,
    choice,
    file_to_write,
    positive_int,
    several,
    whole_number,
)
from vmf_embeddings.cli.evaluate_arguments import metrics_words
from vmf_embeddings.cli.runs_root import runs_root
from vmf_embeddings.cli.significance_arguments import USUAL_DRAWS
from vmf_embeddings.evaluation.options import (
    GEOMETRIES,
    METRICS,
    SECTIONS,
    EvaluationOptions,
)

_UNITS = ("rows", "classes")


@dataclass(frozen=True)
class CompareOptions:
    """What to compare.

    Args:
        scored: how the files are scored; `scored.json` is where the comparison is written.
        resample: draws of intervals and tests, >= 2.
        unit: "rows" or "classes", for tests; None = classes of open sets, rows of closed ones.
        classes: how many classes that gained, and that lost, are named.
        csv: file for the scores as a table, or None.
    """

    scored: EvaluationOptions
    resample: int = USUAL_DRAWS
    unit: str | None = None
    classes: int = 5
    csv: Path | None = None


def parse_compare(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings compare"
) -> CompareOptions:
    """Reads the arguments of `compare A B… [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    values = vars(compare_parser(prog).parse_args(arguments))
    asked = {name for names in values.pop("metrics") for name in names}
    own = {key: values.pop(key) for key in ("resample", "unit", "classes", "csv")}
    recall = values.pop("recall")
    scored = EvaluationOptions(
        **{**values, "paths": tuple(values["paths"])},
        figures=False,
        apart=True,
        keep_rows=True,
        metrics=tuple(name for name in METRICS if name in asked),
        sections=tuple(name for name in SECTIONS if name in asked),
        recall=None if recall is None else tuple(sorted({k for ks in recall for k in ks})),
    )
    return CompareOptions(scored, **own)


def compare_parser(prog: str) -> Parser:
    """The parser of `compare`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Compare two or more runs on the same rows: differences row by row with "
        "intervals and tests, over seeds where there are several runs, the classes that changed "
        "most, and what differs in the configuration. A run alone is shown beside the published "
        "figures of its recipe. Writes nothing but what --json and --csv name.",
        epilog=f"example: {prog} {runs_root()}/digits/vmf_softmax/3dim/demo OTHER",
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH",
        help="runs, folders of runs (seeds are averaged; runs of other settings are compared with "
        "one another), or embedding files; all are compared with the first")  # fmt: skip
    add("--split", type=choice(("test", "valid", "train")), default="test", metavar="NAME",
        help="split whose files are compared: test, valid or train (test)")  # fmt: skip
    add("--unit", type=choice(_UNITS), metavar="NAME",
        help="test over other rows or other classes (classes of open sets, rows of closed "
        "ones)")  # fmt: skip
    add("--resample", type=whole_number(2), default=USUAL_DRAWS, metavar="B",
        help=f"draws of intervals and tests ({USUAL_DRAWS})")  # fmt: skip
    add("--seed", type=int, default=1234, metavar="N", help="seed of all draws (1234)")
    add("--metrics", nargs="+", type=metrics_words, metavar="NAME", default=[],
        help="further scores, as of evaluate; sections such as uncertainty are compared "
        "too")  # fmt: skip
    add("--recall", nargs="+", type=several(positive_int), metavar="K",
        help="the K of Recall@K (1 2 4 8)")  # fmt: skip
    add("--classes", type=whole_number(0), default=5, metavar="N",
        help="name the N classes that gained most, and the N that lost most (5)")  # fmt: skip
    add("--geometry", type=choice(GEOMETRIES), metavar="NAME",
        help=f"for files that do not record it: {' '.join(GEOMETRIES)}")  # fmt: skip
    add("--embeddings", metavar="KEY",
        help="files of other programs: key or columns of the embeddings (a usual "
        "one)")  # fmt: skip
    add("--labels", metavar="KEY",
        help="files of other programs: key or column of the labels (a usual one)")  # fmt: skip
    add("--json", type=file_to_write, metavar="PATH", help="write all numbers, of every class too")
    add("--csv", type=file_to_write, metavar="PATH", help="write the differences as a table")
    return parser
