"""Writes the numbers of each epoch: tables as .jsonl and .csv, TensorBoard, other trackers."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from vmf_embeddings.training import trackers as services
from vmf_embeddings.training.board import Board
from vmf_embeddings.untrusted.files import read_text, refuse_links, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import csv_cell, printable

Row = dict[str, float | int]
MOST_KAPPAS = 1000  # classes whose concentrations are written
TRACKER_FOLDERS = ("tensorboard", "wandb")  # inside the run's folder


class EpochTable:
    """Numbers by epoch, as `NAME.jsonl` and `NAME.csv`, which are replaced atomically.

    Args:
        stem: path of both files without their endings.
        n_epochs: number of epochs of an interrupted run to keep.
        resumed: whether there is one.

    Raises:
        Refused: the `jsonl` of the interrupted run is malformed.
    """

    def __init__(self, stem: Path, n_epochs: int, *, resumed: bool) -> None:
        self.stem, self.rows = stem, list[Row]()
        path = stem.with_suffix(".jsonl")
        if (n_epochs or resumed) and path.exists():
            self.rows = [row for row in _rows(path) if row["epoch"] < n_epochs]

    def add(self, row: Row) -> None:
        """Appends the row of one epoch and writes both files."""
        self.rows.append(row)
        lines = "".join(json.dumps(r) + "\n" for r in self.rows)
        _replace(self.stem.with_suffix(".jsonl"), lines)
        _replace_csv(self.stem.with_suffix(".csv"), self.rows)

    def remove(self) -> None:
        """Deletes both files, if there are any."""
        for ending in (".jsonl", ".csv"):
            self.stem.with_suffix(ending).unlink(missing_ok=True)


class Records:
    """The table of a run's epochs, and that of its classes' concentrations.

    Args:
        run_dir: folder for `metrics.jsonl`, `metrics.csv`, `class_kappas.jsonl`,
            `class_kappas.csv` and `tensorboard/`.
        n_epochs: number of epochs of an interrupted run to keep; 0 starts an empty table.
        trackers: names of Accelerate's trackers besides TensorBoard, such as `wandb`.
        config: the run's configuration, for the trackers.
        resumed: whether the table of the interrupted run is continued, also before epoch 0.

    Raises:
        Refused: a table of the interrupted run is malformed, or a folder to write to is a symbolic
            link.
    """

    def __init__(
        self,
        run_dir: Path,
        n_epochs: int = 0,
        trackers: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self.run_dir = run_dir
        self.table = EpochTable(run_dir / "metrics", n_epochs, resumed=resumed)
        self.class_kappas = EpochTable(run_dir / "class_kappas", n_epochs, resumed=resumed)
        if not self.class_kappas.rows:  # of another training, which this one replaces
            self.class_kappas.remove()
        for folder in TRACKER_FOLDERS:
            refuse_links(run_dir, folder)
        self.board = Board(run_dir / "tensorboard", purge_step=n_epochs)
        self.trackers = [services.start(name, run_dir, config or {}) for name in trackers]

    @property
    def rows(self) -> list[Row]:
        """The rows of the epochs."""
        return self.table.rows

    def last(self, key: str) -> float | None:
        """The value of a column in the latest epoch; None before the first."""
        return self.rows[-1].get(key) if self.rows else None

    def add(self, row: Row, class_kappas: Sequence[float] | None = None) -> None:
        """Appends the row of one epoch, writes it and sends it to the trackers.

        Args:
            row: column -> number, with the column `epoch`.
            class_kappas: concentration of each class [C], of which the other table has six digits;
                None, or more than 1000 = none.
        """
        self.table.add(row)
        if class_kappas is not None and len(class_kappas) <= MOST_KAPPAS:
            kappas = {str(c): float(f"{kappa:.6g}") for c, kappa in enumerate(class_kappas)}
            self.class_kappas.add({"epoch": row["epoch"], **kappas})
        self.board.add(row, int(row["epoch"]))
        for tracker in self.trackers:
            services.send(tracker, row)

    def mean_seconds(self) -> float:
        """Mean duration of an epoch in seconds; 0 before the first."""
        return sum(row.get("seconds", 0.0) for row in self.rows) / max(len(self.rows), 1)

    def close(self, *, failed: bool = False) -> None:
        """Closes the trackers, so that the next run of a sweep starts new ones.

        Args:
            failed: whether the run ended by an error.
        """
        self.board.close()
        for tracker in self.trackers:
            services.finish(tracker, failed=failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Closes the trackers however the run ends."""
        self.close(failed=kind is not None and issubclass(kind, Exception))


def _rows(path: Path) -> list[Row]:
    """The rows of a `metrics.jsonl`.

    Raises:
        Refused: a line is not a JSON object of numbers with a whole number `epoch`.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            row = parse_json_object(line, f"line {number} of {path}")
            if type(row.get("epoch")) is not int or not all(map(_is_number, row.values())):
                raise Refused(
                    f"line {number} of {path} is not an epoch's numbers by name; start again with "
                    "resume=never"
                )
            rows.append({printable(key): value for key, value in row.items()})
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _replace(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text)


def _replace_csv(path: Path, rows: list[Row]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as part, part.open("w", newline="") as file:
        csv.writer(file).writerow(map(csv_cell, keys))
        csv.DictWriter(file, keys).writerows(rows)
