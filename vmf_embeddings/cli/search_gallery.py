"""The file that `search` looks in: its rows, what they are called, how they are compared."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings.cli.search_arguments import SearchOptions
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.embeddings.endings import is_stored
from vmf_embeddings.embeddings.foreign import read_with_notes
from vmf_embeddings.geometry import Geometry, from_meta
from vmf_embeddings.library.search import geometry_of
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

_COMPARED = ("weights", "geometry", "method")  # of two records of meta data


@dataclass(frozen=True)
class Gallery:
    """Rows to search.

    Attributes:
        path: of the file.
        file: its content.
        geometry: how rows are compared.
    """

    path: Path
    file: EmbeddingFile
    geometry: Geometry

    @property
    def rows(self) -> np.ndarray:
        """Numbers [G] of the rows that may be found."""
        flags = self.file.is_gallery
        return np.arange(len(self.file.embeddings)) if flags is None else np.flatnonzero(flags)

    def similarity_name(self, options: SearchOptions) -> str:
        """What the similarities of a search are, and which way they go."""
        name = options.similarity_name(self.geometry.similarity_name)
        return f"similarity: {name}; larger is nearer"

    def name(self, row: int) -> str:
        """Path of a row's image, or its number."""
        name = "" if self.file.paths is None else str(self.file.paths[row])
        return name or f"row {row}"

    def label(self, row: int) -> str:
        """Class of a row; in files without labels the predicted one, with its probability."""
        file = self.file
        if file.ids is not None:
            names = (file.meta or {}).get("class_names")
            number = int(file.ids[row])
            return str(names[number]) if names and 0 <= number < len(names) else str(number)
        if file.predicted is None:
            return ""
        sure = "" if file.probability is None else f" ({file.probability[row]:.2f})"
        return f"{file.predicted[row]}?{sure}"

    def rows_of(self, paths: Iterable[str], images_from: Path | None) -> dict[str, list[int]]:
        """Rows that show the image of one of some paths, by the path.

        Paths are compared as text once they are absolute; nothing is looked up on the disk.
        """
        wanted = {os.path.abspath(path): path for path in paths if path}
        found: dict[str, list[int]] = {path: [] for path in wanted.values()}
        if self.file.paths is None or not wanted:
            return found
        roots = [""] if images_from is None else ["", str(images_from)]
        for row, name in enumerate(self.file.paths.tolist()):
            spelled = {os.path.abspath(os.path.join(root, name)) for root in roots if name}
            for path in spelled & wanted.keys():
                found[wanted[path]].append(row)
        return found

    def refuse_other(self, dim: int, meta: Mapping[str, Any], source: str) -> None:
        """Refuses embeddings that another run made: their similarities would mean nothing.

        Args:
            dim: their length.
            meta: what is known of the run that made them.
            source: where they come from, for the message.

        Raises:
            Refused: length, weights, geometry or method differ.
        """
        own = self.file.meta or {}
        n_columns = self.file.embeddings.shape[1]
        if dim != n_columns:
            raise Refused(
                f"{printable(self.path)} has embeddings of {n_columns} dimensions, those of "
                f"{source} have {dim}: they are not of one run"
            )
        for key in _COMPARED:
            if None not in (own.get(key), meta.get(key)) and own[key] != meta[key]:
                raise Refused(
                    f"{printable(self.path)} was made by another run than {source}: {key} "
                    f"{_shown(own[key])} is not {_shown(meta[key])}. Embed these images again: "
                    "vmf-embeddings embed RUN IMAGES -o FILE"
                )


def _shown(value: object) -> str:
    return printable(value)[:60]


def open_gallery(options: SearchOptions) -> tuple[Gallery, list[str]]:
    """The gallery, and notes on what was taken for what.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or the options contradict it.
    """
    path = options.gallery
    if not is_stored(path):
        raise FileNotFoundError(
            f"--in: there is no file {printable(path)}; write it with vmf-embeddings embed RUN "
            f"IMAGES -o {printable(path)}"
        )
    found = read_with_notes(path, options.embeddings, options.labels, labelled=False)
    meta = found.file.meta or {}
    stated = meta.get("geometry")
    notes = list(found.notes)
    if options.run is not None and meta.get("weights") is None:
        notes.append(
            f"{path} has no hash of the weights that made it, so only dimensions, geometry and "
            "method are compared with those of --run"
        )
    if stated is None:
        name = options.geometry or "cosine"
        if options.geometry is None:
            notes.append("rows are compared by cosine; --geometry names another comparison")
        return Gallery(path, found.file, geometry_of(name, options.curvature)), notes
    geometry = from_meta(stated)
    if options.geometry not in (None, geometry.name, *geometry.alternatives):
        raise Refused(
            f"--geometry: {printable(path)} states {geometry.name}, got {options.geometry}: leave "
            "it out"
        )
    if options.geometry is not None:
        geometry = from_meta({**stated, "name": options.geometry})
    return Gallery(path, found.file, geometry), notes
