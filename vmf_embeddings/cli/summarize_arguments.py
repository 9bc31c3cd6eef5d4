"""The arguments of `summarize`; imports nothing slow."""

from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser, choice, folder, several
from vmf_embeddings.cli.runs_root import runs_root
from vmf_embeddings.evaluation.summary.options import (
    DEFAULT_OUT,
    ERRORS,
    FORMATS,
    RANKINGS,
    SPACES,
    SPLITS,
    SummaryOptions,
)


def parse_summarize(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings summarize"
) -> SummaryOptions:
    """Reads the arguments of `summarize PATH… [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = summarize_parser(prog)
    values = vars(parser.parse_args(arguments))
    if bool(values["paths"]) == (values["sweep"] is not None):
        parser.error("expected PATH… for a table of scores, or --sweep FOLDER for one of jobs")
    values["scores"] = tuple(dict.fromkeys(n for names in values["scores"] for n in names))
    given = {key: tuple(dict.fromkeys(values[key])) for key in ("paths", "formats")}
    return SummaryOptions(**{**values, **given})


def summarize_parser(prog: str) -> Parser:
    """The parser of `summarize`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="One table over many scored runs, means over seeds: accuracy and shots of "
        "closed sets, retrieval of open ones, others by --scores or --all; Recall@1 against "
        "spectral decay and distances, and how scores correlate across runs. Reads "
        "metrics.json only: score the runs first, with evaluate and metrics=all.",
        epilog=f"example: {prog} {runs_root()}/digits_open",
    )
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="PATH", help="a run folder, or a folder of runs")
    add("--sweep", type=folder, metavar="FOLDER",
        help="only list the jobs of the sweep in FOLDER, where multirun.yaml is: done, running, "
        "queued, interrupted, failed and why, missing; exit code 1 if one failed")  # fmt: skip
    add("--split", type=choice(SPLITS), default="test", metavar="NAME",
        help="split whose scores are shown: test, valid or train (test)")  # fmt: skip
    add("--structure-split", type=choice(SPLITS), metavar="NAME",
        help="take rho, distances and uniformity from this split instead; Roth et al. 2020 took "
        "those of train")  # fmt: skip
    add("--space", type=choice(SPACES), default="normalised", metavar="NAME",
        help="embeddings that NMI, F1, mAP@1000 and rho are computed from: normalised or as_output "
        "(normalised); Recall@1 and MAP@R are by each run's geometry")  # fmt: skip
    add("--rank-by", type=choice(tuple(RANKINGS)), metavar="NAME",
        help=f"score that the table and ranking.png are sorted by: {' '.join(RANKINGS)} (accuracy "
        "where the classes are those of training, else recall@1)")  # fmt: skip
    add("--scores", nargs="+", type=several(str), metavar="NAME", default=[],
        help="these scores after that of the task, by their names in runs.csv, such as recall@4 "
        "nll (the usual ones)")  # fmt: skip
    add("--all", dest="every", action="store_true", help="all scores that there are")
    add("--error", type=choice(ERRORS), default="t", metavar="NAME",
        help="after means over seeds: t = half of Student's 95 %% interval, se = the standard "
        "error (t)")  # fmt: skip
    add("--format", dest="formats", nargs="+", type=choice(FORMATS), default=[], metavar="NAME",
        help=f"also write the table as {' '.join(FORMATS)}: table.csv, .md, .tex")  # fmt: skip
    add("--out", type=Path, default=DEFAULT_OUT, metavar="FOLDER",
        help="folder for tables and figures (summary)")  # fmt: skip
    add("--no-figures", "--no-pictures", dest="figures", action="store_false",
        help="tables only")  # fmt: skip
    return parser
