"""The arguments of `search`; imports nothing slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings.cli.arguments import (
    Parser,
    add_embedding,
    choice,
    folder,
    positive_float,
    positive_int,
)
from vmf_embeddings.cli.compact_arguments import add_for_search
from vmf_embeddings.cli.index_arguments import add_index
from vmf_embeddings.evaluation.options import GEOMETRIES

ROW = "row:"
_OF_RERANKING = {
    "k_reciprocal": "minus the k-reciprocal distance, which depends on all queries",
    "alpha_qe": "inner product with the mean of the query and its neighbours",
    "dba": "inner product with the mean of the row and its neighbours",
}


@dataclass(frozen=True)
class SearchOptions:
    """What to look for, where, and what to write.

    Attributes:
        queries: images, folders, tables of paths, `row:N` of the gallery, or files of embeddings.
        gallery: file of embeddings.
        run: that embeds the queries which are images.
        k: neighbours per query.
        sheet: image file of the queries with their neighbours.
        html: the same as a page.
        csv: table of all neighbours.
        images_from: folder of the gallery's images.
        geometry: how rows are compared, for files that do not state it.
        curvature: c of the Poincare ball, likewise.
        embeddings: name of the embeddings in files of other programs.
        labels: name of the labels there.
        keep_same: whether the query's own image is among its neighbours.
        force: whether files may be replaced.
        batch_size: images per step.
        device: that embeds the queries.
        quiet: whether to print no table.
        precision: number format in which the gallery is searched; None = exactly.
        rescore_multiplier: with `precision`, k times this many rows are compared again.
        rerank: way to rank neighbours again; None = none.
        rerank_k1: parameter of k_reciprocal, likewise the next two.
        rerank_k2: see `evaluation.options`.
        rerank_lambda: likewise.
        expand_n: parameter of alpha_qe and dba, likewise the next one.
        expand_alpha: likewise.
        index: approximate index that finds neighbours; None = exactly.
        index_recall: fraction of the exact neighbours that it must find.
        seed: of the queries it is measured on, and of its training.
    """

    queries: tuple[str, ...]
    gallery: Path
    run: Path | None = None
    k: int = 10
    sheet: Path | None = None
    html: Path | None = None
    csv: Path | None = None
    images_from: Path | None = None
    geometry: str | None = None
    curvature: float | None = None
    embeddings: str | None = None
    labels: str | None = None
    keep_same: bool = False
    force: bool = False
    batch_size: int = 64
    device: str = "auto"
    quiet: bool = False
    precision: str | None = None
    rescore_multiplier: int = 4
    rerank: str | None = None
    rerank_k1: int = 20
    rerank_k2: int = 6
    rerank_lambda: float = 0.3
    expand_n: int = 10
    expand_alpha: float = 3.0
    index: str | None = None
    index_recall: float = 0.99
    seed: int = 1234

    def similarity_name(self, of_geometry: str) -> str:
        """What the similarities are, in words.

        Args:
            of_geometry: what they are where rows are neither rounded nor ranked again.
        """
        if self.rerank is not None:
            return _OF_RERANKING[self.rerank]
        if self.precision in (None, "float32") or self.rescore_multiplier:
            return of_geometry
        if self.precision in ("binary", "ubinary"):
            return "minus the Hamming distance"
        return f"{of_geometry}, of rows rounded to {self.precision}"

    @property
    def rerank_options(self) -> dict[str, float]:
        """The parameters of re-ranking as `vmf.search` takes them."""
        own = {"k1": self.rerank_k1, "k2": self.rerank_k2, "lambda": self.rerank_lambda}
        return {**own, "n": self.expand_n, "alpha": self.expand_alpha}


def parse_search(
    arguments: Sequence[str] | None = None, prog: str = "vmf-embeddings search"
) -> SearchOptions:
    """Reads the arguments of `search QUERY… --in FILE [options]`.

    Args:
        arguments: without the program's name; those of this process if None.
        prog: what was typed to get here, for usage and errors.
    """
    parser = search_parser(prog)
    values = parser.parse_args(arguments)
    for name, endings in (("sheet", (".png",)), ("html", (".html", ".htm")), ("csv", (".csv",))):
        path = getattr(values, name)
        if path is not None and path.suffix.lower() not in endings:
            option = "--out" if name == "sheet" else f"--{name}"
            parser.error(f"{option}: expected a file {endings[0]}, got {path.name}")
    ways = [f"--{way}" for way in ("precision", "rerank", "index") if getattr(values, way)]
    if len(ways) > 1:
        parser.error(f"{' and '.join(ways)}: give one of them")
    return SearchOptions(**{**vars(values), "queries": tuple(values.queries)})


def search_parser(prog: str) -> Parser:
    """The parser of `search`, under the name `prog`."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="The nearest rows of a file of embeddings, exact but with --index, with their "
        "similarities: "
        "of images, which RUN embeds, or of rows of the file. The query's own image is left out.",
        epilog=f"example: {prog} new.jpg --in photos.npz --run runs/mine -o neighbours.png",
    )
    add = parser.add_argument
    add("queries", nargs="+", metavar="QUERY",
        help="images, folders of images, tables with a column path, row:17 (a row of FILE, counted "
        "from 0), or files of embeddings")  # fmt: skip
    add("--in", dest="gallery", type=Path, required=True, metavar="FILE",
        help="where to look: a file of embeddings (.npz, .parquet, .safetensors, .csv, .npy) or a "
        "folder .emb, as `embed` writes them")  # fmt: skip
    add("--run", type=Path, metavar="RUN",
        help="the run that made FILE; needed where queries are images")  # fmt: skip
    add("-k", "--k", type=positive_int, default=10, metavar="K", help="neighbours per query (10)")
    add("-o", "--out", dest="sheet", type=Path, metavar="FILE.png",
        help="sheet of the queries, their neighbours and similarities")  # fmt: skip
    add("--html", type=Path, metavar="FILE.html",
        help="the same as one page that needs no network")  # fmt: skip
    add("--csv", type=Path, metavar="FILE.csv", help="table of all neighbours")
    add("--images-from", type=folder, metavar="FOLDER",
        help="folder of the gallery's images, which may be shown (FILE's own folder and the "
        "working directory)")  # fmt: skip
    add("--geometry", type=choice(GEOMETRIES), metavar="NAME",
        help="how rows are compared, where FILE does not state it: "
        f"{' '.join(GEOMETRIES)} (cosine)")  # fmt: skip
    add("--curvature", type=positive_float, metavar="C",
        help="c of the Poincare ball, where FILE has none")  # fmt: skip
    add("--embeddings", metavar="KEY", help="name of the embeddings in files of other programs")
    add("--labels", metavar="KEY", help="name of the labels there")
    add("--keep-same", action="store_true", help="do not leave out the query's own image")
    add("--force", action="store_true", help="replace files that exist")
    add_embedding(parser)
    add("--quiet", action="store_true", help="print no table")
    add_index(parser).add_argument(
        "--seed", type=int, default=1234, metavar="N",
        help="seed of these queries and of the index (1234)")  # fmt: skip
    add_for_search(parser)
    return parser
