"""Queries and their nearest neighbours as images, with hits, misses and similarities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vmf_embeddings.report.pictures import Pictures
from vmf_embeddings.report.rows import ShownRows
from vmf_embeddings.untrusted.text import printable

N_QUERIES = 8
_LONGEST_PATH = 48


@dataclass(frozen=True)
class Tile:
    """One image of a grid.

    Args:
        address: of the image, with its content; None where it cannot be shown.
        label: name of its class.
        name: of the row.
        similarity: to the query, as text; "" for the query itself.
        hit: whether it is of the query's class; None for the query.
    """

    address: str | None
    label: str
    name: str
    similarity: str = ""
    hit: bool | None = None

    @property
    def alt(self) -> str:
        """What the image shows, for those who do not see it."""
        said = {None: "query", True: "hit", False: "miss"}[self.hit]
        near = f", {self.similarity}" if self.similarity else ""
        return f"{said}: class {self.label}, {self.name}{near}"


@dataclass(frozen=True)
class Grid:
    """Queries of a run, each with its neighbours.

    Args:
        caption: how they were chosen.
        lines: the query, then its neighbours, nearest first.
    """

    caption: str
    lines: Sequence[Sequence[Tile]]


def queries_of(shown: ShownRows) -> np.ndarray:
    """Row numbers of queries to show, up to half of them with a wrong first neighbour."""
    asked = shown.answerable
    misses, hits = shown.numbers[asked & ~shown.hit], shown.numbers[asked & shown.hit]
    n_misses = min(len(misses), max(N_QUERIES // 2, N_QUERIES - len(hits)))
    return np.concatenate([misses[:n_misses], hits[: N_QUERIES - n_misses]])


def grid(shown: ShownRows, queries: np.ndarray, pictures: Pictures) -> Grid | None:
    """The grid of some queries, which may be those of another run; None without any.

    Args:
        shown: rows and neighbours.
        queries: row numbers; those that are not shown are left out.
        pictures: of the run.
    """
    place = {row: n for n, row in enumerate(shown.numbers.tolist())}
    places = [place[row] for row in queries.tolist() if row in place]
    if not places:
        return None
    lines = [_line(shown, n, pictures) for n in places]
    n_missed = int((shown.answerable & ~shown.hit).sum())
    caption = (
        f"{n_missed:,} of {int(shown.answerable.sum()):,} queries have a wrong first neighbour; "
        f"{sum(not shown.hit[n] for n in places)} of these and {sum(map(bool, shown.hit[places]))} "
        f"others are shown. Below each image: its {shown.similarity_name} to the query."
    )
    return Grid(caption, lines)


def _line(shown: ShownRows, place: int, pictures: Pictures) -> list[Tile]:
    run, ids = shown.run, shown.run.evaluated.file.ids
    query = int(shown.numbers[place])
    tiles = [Tile(pictures.tile(query), run.name_of(int(ids[query])), row_name(shown, query))]
    neighbours = zip(shown.neighbours[place].tolist(), shown.similarities[place], strict=True)
    for row, similarity in neighbours:
        if row >= 0:
            tiles.append(
                Tile(
                    pictures.tile(row), run.name_of(int(ids[row])), row_name(shown, row),
                    f"{similarity:z.4f}", bool(ids[row] == ids[query]),
                )
            )  # fmt: skip
    return tiles


def row_name(shown: ShownRows, row: int) -> str:
    """The name of a row: the end of its path where it has one, else its number."""
    paths = shown.run.evaluated.file.paths
    if paths is None:
        return f"row {row}"
    path = printable(paths[row])
    return path if len(path) <= _LONGEST_PATH else f"…{path[1 - _LONGEST_PATH :]}"
