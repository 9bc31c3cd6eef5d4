"""The numbers of a run, epoch by epoch: metrics.jsonl, metrics.csv, TensorBoard, trackers."""

import csv
import json
import os
from pathlib import Path
from typing import Any

from vmf_embeddings.training.trackers import start

Row = dict[str, float | int]


class Records:
    """The table of a run's epochs, rewritten whole and atomically after each, and sent to trackers.

    Args:
        run_dir: folder for `metrics.jsonl`, `metrics.csv` and `tensorboard/`.
        n_epochs: how many epochs of an earlier attempt to keep; 0 begins anew.
        trackers: names of Accelerate's trackers beside TensorBoard, such as `wandb`.
        config: the run's configuration, for the trackers.
    """

    def __init__(
        self,
        run_dir: Path,
        n_epochs: int = 0,
        trackers: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run_dir = run_dir
        self.rows: list[Row] = []
        path = run_dir / "metrics.jsonl"
        if n_epochs and path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            self.rows = [row for row in lines if row["epoch"] < n_epochs]
        self.board = SummaryWriter(run_dir / "tensorboard", purge_step=n_epochs)
        self.trackers = [start(name, run_dir, config or {}) for name in trackers]

    def add(self, row: Row) -> None:
        """Appends one epoch and writes both files."""
        self.rows.append(row)
        _replace(self.run_dir / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in self.rows))
        _replace_csv(self.run_dir / "metrics.csv", self.rows)
        for key, value in row.items():
            self.board.add_scalar(key, value, row["epoch"])
        self.board.flush()
        for tracker in self.trackers:
            tracker.log(row, step=row["epoch"])

    def mean_seconds(self) -> float:
        """Seconds an epoch took on average; 0 before the first."""
        return sum(row["seconds"] for row in self.rows) / max(len(self.rows), 1)

    def close(self) -> None:
        """Ends the trackers, so that the next run of a sweep gets its own."""
        self.board.close()
        for tracker in self.trackers:
            tracker.finish()


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def _replace_csv(path: Path, rows: list[Row]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
