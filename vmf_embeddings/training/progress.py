"""A live line in a terminal while an epoch runs; silence where there is no terminal."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_UPDATES = 0.5


class EpochProgress:
    """The live line of one epoch: how far it is, its loss, and what earlier epochs reached.

    Args:
        epoch: from 0.
        epochs: at most so many.
        n_batches: batches of this epoch.
        note: what does not change within the epoch (validation, learning rate, temperature, best).
        enabled: False writes nothing.
    """

    def __init__(
        self,
        epoch: int,
        epochs: int,
        n_batches: int,
        *,
        note: str,
        enabled: bool,
    ) -> None:
        self.started = self.updated = time.monotonic()
        self.epochs_left = epochs - epoch - 1
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not (enabled and console.is_terminal and sys.stderr.isatty()),
        )
        self.task = self.bar.add_task(
            "", total=n_batches, epoch=epoch, epochs=epochs, note=note, numbers="", left=""
        )

    def __enter__(self) -> "EpochProgress":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def due(self) -> bool:
        """Whether it is time for new numbers: the loop reads its loss twice a second only."""
        now = time.monotonic()
        if now - self.updated < SECONDS_BETWEEN_UPDATES:
            return False
        self.updated = now
        return True

    def show(self, batches_done: int, loss: float, n_images: int) -> None:
        """Updates the line."""
        seconds = time.monotonic() - self.started
        total = self.bar.tasks[0].total or 1
        left = self.epochs_left * seconds / batches_done * total
        self.bar.update(
            self.task,
            completed=batches_done,
            numbers=f"loss {loss:.4f}, {n_images / seconds:,.0f} images/s, epoch ends in",
            left=f"run in {duration(left + seconds / batches_done * (total - batches_done))}",
        )


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss.

    >>> duration(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
