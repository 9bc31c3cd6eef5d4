"""The queries of `search`: images that a run embeds, rows of the gallery, files of embeddings."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.cli.search_arguments import ROW, SearchOptions
from vmf_embeddings.cli.search_gallery import Gallery
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.embeddings.endings import READ, TEXT_TABLES, ends_with, is_stored
from vmf_embeddings.embeddings.foreign import read_with_notes
from vmf_embeddings.library.search import Hits
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from vmf_embeddings.trained import Run


@dataclass(frozen=True)
class Queries:
    """Queries of one kind.

    Attributes:
        rows: embeddings [Q, D].
        names: what each is called.
        source: file whose rows they are, with its path; None for images.
        numbers: their rows in that file.
        image_paths: of images; None for rows of a file.
        named_by: file of vectors that named the image, of each; None for images that were typed.
    """

    rows: np.ndarray
    names: list[str]
    source: tuple[EmbeddingFile, Path] | None = None
    numbers: np.ndarray | None = None
    image_paths: list[str] | None = None
    named_by: list[Path] | None = None

    @property
    def known_paths(self) -> list[str]:
        """Path of the image of each query, "" where it has none."""
        if self.image_paths is not None:
            return self.image_paths
        assert self.source is not None and self.numbers is not None
        paths = self.source[0].paths
        return [""] * len(self.rows) if paths is None else paths[self.numbers].tolist()


@dataclass(frozen=True)
class Found:
    """Queries and their neighbours; `hits.indices` are rows of the gallery's file."""

    queries: Queries
    hits: Hits


def how_found(found: Sequence[Found], gallery: Gallery, options: SearchOptions) -> str:
    """What similarities are and, where neighbours are approximate, each index with its recall."""
    used = dict.fromkeys(str(one.hits.index) for one in found if one.hits.index is not None)
    return "; ".join([gallery.similarity_name(options), *used])


def read_queries(options: SearchOptions, gallery: Gallery) -> list[Queries]:
    """The queries in the order in which they were typed; all images stand where the first does.

    Raises:
        FileNotFoundError: an argument leads nowhere.
        ValueError: a row that the gallery does not have, embeddings of another length, images
            without a run to embed them, or a run that did not make the gallery.
    """
    kinds = [(one, _kind(one, options)) for one in options.queries]
    images = [one for one, kind in kinds if kind == "image"]
    found: list[Queries] = []
    for one, kind in kinds:
        if kind != "image":
            found.append(_READERS[kind]([one], options, gallery))
        elif images:
            found.append(_of_images(images, options, gallery))
            images = []
    return found


def _kind(query: str, options: SearchOptions) -> str:
    if query.startswith(ROW) and not os.path.lexists(query):
        return "row"
    of_images = ends_with(query, TEXT_TABLES) and options.run is not None
    is_file = ends_with(query, READ) and not of_images and is_stored(Path(query))
    return "file" if is_file else "image"


def _of_row(queries: Sequence[str], _: SearchOptions, gallery: Gallery) -> Queries:
    digits = queries[0].removeprefix(ROW)
    n_rows = len(gallery.file.embeddings)
    if not re.fullmatch(r"\d{1,12}", digits) or int(digits) >= n_rows:
        raise Refused(f"{printable(queries[0])}: {printable(gallery.path)} has the rows row:0 to "
                      f"row:{n_rows - 1}")  # fmt: skip
    numbers = np.array([int(digits)])
    return Queries(
        gallery.file.embeddings[numbers],
        [gallery.name(int(digits))],
        (gallery.file, gallery.path),
        numbers,
    )


def _of_file(queries: Sequence[str], options: SearchOptions, gallery: Gallery) -> Queries:
    path = Path(queries[0])
    found = read_with_notes(path, options.embeddings, options.labels, labelled=False).file
    if options.run is not None and not (found.meta or {}).get("geometry"):
        return _of_images(queries, options, gallery)  # vectors that the run takes as its input
    gallery.refuse_other(found.embeddings.shape[1], found.meta or {}, printable(path))
    chosen = np.arange(len(found.embeddings))
    if found.is_query is not None:
        chosen = np.flatnonzero(found.is_query)
    names = Gallery(path, found, gallery.geometry)
    return Queries(found.embeddings[chosen], [names.name(n) for n in chosen], (found, path), chosen)


def _of_images(queries: Sequence[str], options: SearchOptions, gallery: Gallery) -> Queries:
    if options.run is None:
        missing = [one for one in queries if not os.path.exists(one)]
        if missing:
            raise FileNotFoundError(
                f"{printable(missing[0])} does not exist; expected an image, row:N, or a file of "
                "embeddings"
            )
        raise Refused(
            f"{printable(queries[0])}: an image has to be embedded by the run that made "
            f"{printable(gallery.path)}: add --run RUN"
        )
    from vmf_embeddings.cli.embed_inputs import image_paths
    from vmf_embeddings.trained import load

    run = load(options.run, device=options.device)
    source = printable(options.run)
    gallery.refuse_other(run.embedding_dim, run.description(), source)
    length = run.module.arch.in_features
    if length is not None:
        return _of_vectors(queries, length, run, options)
    paths = image_paths(queries, options.images_from)
    return Queries(run.embed(paths, batch_size=options.batch_size), paths, image_paths=paths)


def _of_vectors(queries: Sequence[str], length: int, run: "Run", options: SearchOptions) -> Queries:
    """Rows of files of features, which a run on features embeds."""
    import torch

    from vmf_embeddings.cli.embed_inputs import vectors

    given = [vectors([query], length) for query in queries]
    named_by = [
        Path(query) for query, one in zip(queries, given, strict=True) for _ in range(len(one.rows))
    ]
    inputs = np.concatenate([np.array(one.rows, dtype=np.float32) for one in given])
    paths = [
        path
        for one in given
        for path in ([""] * len(one.rows) if one.paths is None else one.paths.tolist())
    ]
    names = [path or f"vector {n}" for n, path in enumerate(paths)]
    rows = run.embed(torch.from_numpy(inputs), batch_size=options.batch_size)
    return Queries(rows, names, image_paths=paths, named_by=named_by)


_READERS = {"row": _of_row, "file": _of_file}
