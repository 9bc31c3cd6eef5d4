"""The images of what `search` found: a sheet, and a page that needs no network."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vmf_embeddings.cli.search_arguments import SearchOptions
from vmf_embeddings.cli.search_gallery import Gallery
from vmf_embeddings.cli.search_queries import Found, Queries, how_found
from vmf_embeddings.evaluation.figures.hits import MOST_QUERIES, SheetRow, Tile, draw_hits
from vmf_embeddings.evaluation.figures.row_images import (
    has_images,
    image_of_row,
    permitted,
    thumbnail,
)
from vmf_embeddings.evaluation.figures.style import save, styled
from vmf_embeddings.evaluation.hits_page import page
from vmf_embeddings.progress import Progress
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

MOST_ON_PAGE = 200  # queries


class Images:
    """Images of rows, read once each; what cannot be shown is counted.

    Args:
        gallery: that was searched.
        options: of the command.
    """

    def __init__(self, gallery: Gallery, options: SearchOptions) -> None:
        self.gallery, self.options = gallery, options
        self.known: dict[int, np.ndarray | None] = {}
        self.reasons: list[str] = []

    def of_row(self, row: int) -> np.ndarray | None:
        """The image of a row of the gallery."""
        if row not in self.known:
            self.known[row] = self._row(self.gallery, row)
        return self.known[row]

    def of_query(self, queries: Queries, number: int) -> np.ndarray | None:
        """The image of a query."""
        if queries.image_paths is not None:
            path = queries.image_paths[number]
            if not path:
                return None
            try:
                if queries.named_by is None:
                    return thumbnail(Path(path))
                source = queries.named_by[number]
                return thumbnail(permitted(path, source, self.options.images_from))
            except (Refused, OSError) as error:
                self.reasons.append(str(error))
                return None
        assert queries.source is not None and queries.numbers is not None
        file, path = queries.source
        row = int(queries.numbers[number])
        if file is self.gallery.file:
            return self.of_row(row)
        return self._row(Gallery(path, file, self.gallery.geometry), row)

    def _row(self, gallery: Gallery, row: int) -> np.ndarray | None:
        if not has_images(gallery.file):
            return None
        try:
            return image_of_row(gallery.file, row, gallery.path, self.options.images_from)
        except (Refused, OSError) as error:
            self.reasons.append(str(error))
            return None


def write_sheets(found: Sequence[Found], gallery: Gallery, options: SearchOptions) -> None:
    """Writes the sheet and the page that were asked for, and says what they do not show."""
    images = Images(gallery, options)
    n_queries = sum(len(one.queries.names) for one in found)
    most = MOST_ON_PAGE if options.html is not None else MOST_QUERIES
    with Progress(f"Reading the images of {min(n_queries, most):,} queries and their neighbours"):
        rows = [row for one in found for row in _rows(one, images, most)][:most]
    title = f"Nearest of {len(gallery.rows):,} rows of {printable(gallery.path.name)}"
    how = how_found(found, gallery, options)
    if options.sheet is not None:
        with styled():
            save(draw_hits(rows, title, how + _cut(n_queries, MOST_QUERIES)), options.sheet)
    if options.html is not None:
        text = page(rows, title, how + _cut(n_queries, MOST_ON_PAGE))
        with replacing(options.html) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if images.reasons:
        print(
            f"search: {len(images.reasons)} images are not shown; the first: "
            f"{printable(images.reasons[0])}",
            file=sys.stderr,
        )


def _cut(n_queries: int, most: int) -> str:
    return f"; the first {most} of {n_queries:,} queries" if n_queries > most else ""


def _rows(found: Found, images: Images, most: int) -> list[SheetRow]:
    gallery, queries = images.gallery, found.queries
    rows = []
    for number, name in enumerate(queries.names[:most]):
        label = ""
        if queries.source is not None and queries.numbers is not None:
            source = Gallery(queries.source[1], queries.source[0], gallery.geometry)
            label = source.label(int(queries.numbers[number]))
        pairs = zip(found.hits.indices[number], found.hits.similarities[number], strict=True)
        neighbours = [
            Tile(images.of_row(int(row)), gallery.name(int(row)), gallery.label(int(row)), value)
            for row, value in pairs
            if row >= 0
        ]
        rows.append(SheetRow(Tile(images.of_query(queries, number), name, label), neighbours))
    return rows
