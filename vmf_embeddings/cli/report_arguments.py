"""The arguments of `report`; imports nothing slow."""

from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.cli.arguments import Parser, choice, folder, positive_float, whole_number
from vmf_embeddings.cli.runs_root import runs_root
from vmf_embeddings.evaluation.options import GEOMETRIES, EvaluationOptions
from vmf_embeddings.report.options import MAPS, MOST_POINTS, ReportOptions

_ENDINGS = (".html", ".htm")
_FEWEST_POINTS = 10


def parse_report(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings report"
) -> ReportOptions:
    """Reads the arguments of `report PATH… -o FILE.html [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = report_parser(prog)
    values = parser.parse_args(arguments)
    if values.out.suffix.lower() not in _ENDINGS:
        parser.error(f"--out: expected a file .html, got {values.out.suffix or 'no ending'}")
    evaluation = EvaluationOptions(
        paths=tuple(values.paths),
        split=values.split,
        geometry=values.geometry,
        curvature=values.curvature,
        embeddings=values.embeddings,
        labels=values.labels,
        ignore_labels=tuple(dict.fromkeys(values.ignore_labels)),
        seed=values.seed,
        images_from=values.images_from,
        figures=False,
    )
    return ReportOptions(
        evaluation,
        values.out,
        title=values.title,
        points=values.points,
        map=values.map,
        force=values.force,
    )


def report_parser(prog: str) -> Parser:
    """The parser of `report`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="One HTML file on a run, or on several side by side: what was run, training "
        "curves, scores, classes, neighbours, a map of the embeddings. It needs no network. Takes "
        "the scores that evaluate wrote; what was not evaluated is scored, and written nowhere "
        "else.",
        epilog=f"example: {prog} {runs_root()}/digits/vmf_softmax/3dim/demo -o report.html",
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH",
        help="a run folder, a folder of runs, or a file of embeddings with labels")  # fmt: skip
    add("-o", "--out", type=Path, required=True, metavar="FILE.html", help="file to write")
    add("--title", metavar="TEXT", help="title of the page (method, data set and split)")
    add("--split", type=choice(("test", "valid", "train")), default="test", metavar="NAME",
        help="split whose files are taken in folders: test, valid or train (test)")  # fmt: skip
    add("--images-from", type=folder, metavar="FOLDER",
        help="folder of the data set: its images may be shown (the file's own folder)")  # fmt: skip
    add("--points", type=whole_number(_FEWEST_POINTS), metavar="N",
        help=f"rows on the map of each run ({MOST_POINTS} divided among the runs, at most 2000 "
        "where the map is t-SNE)")  # fmt: skip
    add("--map", type=choice(MAPS), default="auto", metavar="NAME",
        help="map of embeddings of more than three dimensions: tsne, umap (pip install umap-learn) "
        "or components, the two of largest variance (tsne)")  # fmt: skip
    add("--geometry", type=choice(GEOMETRIES), metavar="NAME",
        help=f"for files of 2021 and of other programs: {' '.join(GEOMETRIES)}")  # fmt: skip
    add("--curvature", type=positive_float, metavar="C",
        help="c of the Poincare ball, for files of 2021")  # fmt: skip
    add("--embeddings", metavar="KEY",
        help="files of other programs: array or columns of the embeddings")  # fmt: skip
    add("--labels", metavar="KEY",
        help="files of other programs: array, column or file of the labels")  # fmt: skip
    add("--ignore-label", dest="ignore_labels", action="append", metavar="LABEL", default=[],
        help="label that means no class; once for each label")  # fmt: skip
    add("--seed", type=int, default=1234, metavar="N",
        help="seed of the rows that are shown and of t-SNE (1234)")  # fmt: skip
    add("--force", action="store_true", help="replace FILE if it exists")
    return parser
