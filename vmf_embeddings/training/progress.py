"""A progress bar in the terminal while an epoch runs; lines in the log if there is no terminal."""

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vmf_embeddings.progress import duration

SECONDS_BETWEEN_UPDATES = 0.5
SECONDS_BETWEEN_LINES = 30.0  # of the log, where there is no terminal
BAR_WIDTH = 20

log = logging.getLogger(__name__)

Note = tuple[str, str]  # (name, which may be empty; value)


class EpochProgress:
    """The progress bar of one epoch, with its running loss and the scores of earlier epochs.

    If it is wider than the terminal, it continues on a second line; nothing is cut off.

    Args:
        epoch: from 0.
        epochs: maximum number of epochs of the run; None while it is not known, in epoch 0 of a
            budget of minutes.
        n_batches: batches of this epoch.
        notes: values that are fixed during the epoch (validation metric, learning rate, status of
            the method, best epoch).
        enabled: False writes nothing, neither a bar nor lines.
        unit: what items are called, see `Split.unit`.
        console: where to write; None = standard error.
    """

    def __init__(
        self,
        epoch: int,
        epochs: int | None,
        n_batches: int,
        *,
        notes: list[Note],
        enabled: bool,
        unit: str = "images",
        console: Console | None = None,
    ) -> None:
        self.started = self.updated = time.monotonic()
        self.epoch, self.epochs, self.n_batches, self.notes = epoch, epochs, n_batches, notes
        self.unit = unit
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self.logged, self.logs = self.started, enabled
        if enabled and self.console.is_terminal and sys.stderr.isatty():
            line = self.line(0, [])
            self.live = Live(line, console=self.console, transient=True, auto_refresh=False)
            self.logs = False

    def __enter__(self) -> "EpochProgress":
        if self.live is not None:
            self.live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()

    @property
    def place(self) -> str:
        """The epoch and the last one, where it is known."""
        return f"{self.epoch}" if self.epochs is None else f"{self.epoch} / {self.epochs - 1}"

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last line of the log."""
        return time.monotonic() - self.logged

    def due(self) -> bool:
        """Whether to show new numbers: at most every `SECONDS_BETWEEN_UPDATES`.

        Reading the loss waits for the device, which slows down training.
        """
        now = time.monotonic()
        if now - self.updated < SECONDS_BETWEEN_UPDATES:
            return False
        self.updated = now
        return True

    def show(self, batches_done: int, loss: float, n_items: int) -> None:
        """Updates the bar; without a terminal, logs a line every `SECONDS_BETWEEN_LINES`.

        Args:
            batches_done: batches of this epoch so far, >= 1.
            loss: mean loss of these batches.
            n_items: images or vectors of these batches.
        """
        now = time.monotonic()
        if self.live is None and not (self.logs and now - self.logged >= SECONDS_BETWEEN_LINES):
            return
        seconds = now - self.started
        epochs_left = 1 if self.epochs is None else self.epochs - self.epoch
        batches_left = epochs_left * self.n_batches - batches_done
        of = " of this epoch" if self.epochs is None else ""
        numbers = [
            ("loss", f"{loss:.4f}"),
            ("", f"{n_items / seconds:,.0f} {self.unit}/s"),
            ("", f"{duration(batches_left * seconds / batches_done)} left{of}"),
        ]
        if self.live is not None:
            self.live.update(self.line(batches_done, numbers), refresh=True)
            return
        self.logged = now
        shown = ", ".join(f"{name} {value}".strip() for name, value in numbers)
        done = f"batch {batches_done} / {self.n_batches}"
        log.info("[Epoch %s] %s, %s", self.place, done, shown)

    def line(self, batches_done: int, numbers: list[Note]) -> Text:
        """The bar as text, wrapped between its parts at the width of the terminal.

        Args:
            batches_done: batches of this epoch so far.
            numbers: values that change during the epoch, shown before the notes.
        """
        filled = BAR_WIDTH * batches_done // max(self.n_batches, 1)
        bar = Text.assemble(
            ("━" * filled, "green"),
            ("━" * (BAR_WIDTH - filled), "bright_black"),
            f" {batches_done}/{self.n_batches}",
        )
        parts = [Text(f"epoch {self.place}", "bold"), bar]
        for name, value in [*numbers, *self.notes]:
            parts.append(Text.assemble((f"{name} " if name else "", "bright_black"), value))
        lines = [parts[0]]
        for part in parts[1:]:
            if len(lines[-1]) + 2 + len(part) <= self.console.width:
                lines[-1] = Text("  ").join([lines[-1], part])
            else:
                lines.append(part)
        return Text("\n").join(lines)
