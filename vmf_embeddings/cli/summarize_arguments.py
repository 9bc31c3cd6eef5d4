"""The command line of `summarize`; nothing heavy is imported here."""

from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.cli.evaluate_arguments import Parser, choice
from vmf_embeddings.evaluation.summary.options import (
    DEFAULT_OUT,
    SPACES,
    SPLITS,
    SummaryOptions,
)


def parse_summarize(arguments: Sequence[str] | None = None) -> SummaryOptions:
    """Read `python -m vmf_embeddings.summarize PATH… [options]`."""
    parser = Parser(
        prog="python -m vmf_embeddings.summarize",
        allow_abbrev=False,
        description="One table over many scored runs, means over seeds; Recall@1 against spectral "
        "decay and distances, and how scores correlate across runs. Reads metrics.json only: "
        "score the runs first, with evaluate and metrics=all.",
        epilog="example: python -m vmf_embeddings.summarize vmf_embeddings/runs/digits_open",
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="a run folder, or a folder of runs")
    add("--split", type=choice(SPLITS), default="test", metavar="NAME",
        help="whose scores: test, valid or train (test)")  # fmt: skip
    add("--structure-split", type=choice(SPLITS), metavar="NAME",
        help="take rho, distances, uniformity of this split instead; Roth et al. 2020 took "
        "those of train")  # fmt: skip
    add("--space", type=choice(SPACES), default="normalised", metavar="NAME",
        help="which embeddings NMI, F1, mAP@1000 and rho are of: normalised or as_output "
        "(normalised); Recall@1 and MAP@R are by each run's geometry")  # fmt: skip
    add("--out", type=Path, default=DEFAULT_OUT, metavar="FOLDER",
        help="where tables and pictures go (summary)")  # fmt: skip
    add("--no-pictures", dest="pictures", action="store_false", help="tables only")
    values = vars(parser.parse_args(arguments))
    return SummaryOptions(**{**values, "paths": tuple(values["paths"])})
