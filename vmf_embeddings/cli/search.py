"""The command `search`: nearest rows of a file of embeddings, as table, sheet, page and csv."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.cli.search_arguments import SearchOptions
from vmf_embeddings.cli.search_gallery import Gallery, open_gallery
from vmf_embeddings.cli.search_queries import Found, Queries, how_found, read_queries
from vmf_embeddings.library.search import Hits
from vmf_embeddings.library.search import search as nearest_rows
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import csv_cell, printable

MOST_PRINTED = 20  # queries


def search(options: SearchOptions) -> int:
    """Searches, prints and writes.

    Returns:
        Exit code: 0; 1 for a failure, 2 where arguments or files cannot be used, 130 where it was
        interrupted.
    """
    return exit_code("search", lambda: _search(options), smaller="give a smaller --batch-size")


def _search(options: SearchOptions) -> None:
    outputs = [out for out in (options.csv, options.sheet, options.html) if out is not None]
    for out in outputs:
        refuse_output(out, options.run, force=options.force)
        if out.exists() and options.gallery.exists() and out.samefile(options.gallery):
            raise Refused(f"{printable(out)} is the gallery; name another file")
    gallery, notes = open_gallery(options)
    for note in notes:
        print(f"search: note: {printable(note)}", file=sys.stderr)
    found = [_of(queries, gallery, options) for queries in read_queries(options, gallery)]
    _print(found, gallery, options)
    if options.csv is not None:
        _write_csv(options.csv, found, gallery)
    if options.sheet is not None or options.html is not None:
        from vmf_embeddings.cli.search_sheet import write_sheets

        write_sheets(found, gallery, options)
    if outputs and not options.quiet:
        with reader_may_leave():
            print(f"Wrote {', '.join(printable(out) for out in outputs)}")


def _of(queries: Queries, gallery: Gallery, options: SearchOptions) -> Found:
    rows = gallery.rows
    n = len(queries.rows)
    exclude = None if options.keep_same else _same_image(queries, gallery, rows, options)
    what = f"Searching {len(rows):,} rows for {n:,} {'query' if n == 1 else 'queries'}"
    with Progress(what, quiet=options.quiet, at_once=len(rows) * n > LARGE_JOB**2):
        hits = nearest_rows(
            queries.rows,
            gallery.file.embeddings[rows],
            min(options.k, max(1, len(rows))),  # memory is taken for k neighbours of each query
            gallery.geometry,
            exclude=exclude,
            progress=False,
            precision=options.precision,
            rescore_multiplier=options.rescore_multiplier,
            rerank=options.rerank,
            rerank_options=options.rerank_options,
            index=options.index,
            index_recall=options.index_recall,
            seed=options.seed,
        )
    places = np.where(hits.indices >= 0, rows[hits.indices], -1) if len(rows) else hits.indices
    return Found(queries, Hits(places, hits.similarities, hits.index))


def _same_image(
    queries: Queries, gallery: Gallery, rows: np.ndarray, options: SearchOptions
) -> np.ndarray:
    """Places in `rows` that show a query's own image [Q, E], -1 for none."""
    paths = queries.known_paths
    by_path = gallery.rows_of(paths, options.images_from)
    own: list[set[int]] = [set(by_path.get(path, ())) for path in paths]
    source, numbers = queries.source, queries.numbers
    if source is not None and numbers is not None and source[1].samefile(gallery.path):
        own = [one | {int(number)} for one, number in zip(own, numbers, strict=True)]
    place = {row: at for at, row in enumerate(rows.tolist())} if any(own) else {}
    found = [[place[row] for row in sorted(one) if row in place] for one in own]
    exclude = np.full((len(own), max(1, *map(len, found), 0)), -1, dtype=np.int64)
    for line, places in zip(exclude, found, strict=True):
        line[: len(places)] = places
    return exclude


def _print(found: Sequence[Found], gallery: Gallery, options: SearchOptions) -> None:
    """What similarities are, and a table for each of the first queries."""
    if options.quiet:
        if options.index is not None:  # never without its recall
            print(f"search: {how_found(found, gallery, options)}", file=sys.stderr)
        return
    n_queries = sum(len(one.queries.names) for one in found)
    printed = [line for one in found for line in _lines(one)[:MOST_PRINTED]][:MOST_PRINTED]
    with reader_may_leave():
        print(how_found(found, gallery, options))
        for name, rows, similarities in printed:
            print(printable(name))
            for rank, (row, similarity) in enumerate(zip(rows, similarities, strict=True), 1):
                label = gallery.label(row)
                cells = [
                    f"{rank:>5}",
                    f"{similarity:>z10.4f}",
                    *([f"{label:<16}"] if label else []),
                ]
                print(printable("  ".join([*cells, gallery.name(row)])))
            if not rows:
                print("       nothing found")
        if n_queries > MOST_PRINTED:
            print(f"… and {n_queries - MOST_PRINTED:,} more queries: --csv FILE has them all")


def _lines(found: Found) -> list[tuple[str, list[int], list[float]]]:
    """Name, rows and similarities of each query, without places that nothing was found for."""
    return [
        (name, rows[rows >= 0].tolist(), similarities[rows >= 0].tolist())
        for name, rows, similarities in zip(
            found.queries.names, found.hits.indices, found.hits.similarities, strict=True
        )
    ]


def _write_csv(path: Path, found: Sequence[Found], gallery: Gallery) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["query", "rank", "row", "similarity", "label", "name"])
        for one in found:
            for name, rows, similarities in _lines(one):
                for rank, (row, value) in enumerate(zip(rows, similarities, strict=True), 1):
                    texts = gallery.label(row), gallery.name(row)
                    table.writerow(map(csv_cell, (name, rank, row, value, *texts)))
