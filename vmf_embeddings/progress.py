"""What long work prints while it goes on: one live line in a terminal, else a line now and then."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

SECONDS_UNTIL_SHOWN = 2.0
SECONDS_BETWEEN_UPDATES = 0.5  # in a terminal
SECONDS_BETWEEN_LINES = 30.0
LARGE_JOB = 5_000  # rows; work on more is named as soon as it begins


class Progress:
    """Prints what is being done, and how far it is, while it goes on; nothing if it takes no time.

    A thread prints, so that work which reports nothing, such as a call of another library, is shown
    with the time it has taken. Work that calls the object is shown with the time that is left.

    >>> with Progress("Counting", total=3) as progress:
    ...     for done in (1, 2, 3):
    ...         progress(done)

    Args:
        what: name and size of the task, such as "k-means of 60,502 rows".
        total: value of `done` at which the task is finished.
        stream: where to print; standard error if None.
        quiet: print nothing, as in all processes but the first.
        at_once: print a line at the beginning, not after two seconds only.
        unit: what `done` counts, such as "images": then their number per second is shown too.
        seconds_between_lines: where standard error is no terminal.
        seconds_until_line: likewise, until the first line; None = two seconds.
    """

    def __init__(
        self,
        what: str,
        total: float = 1.0,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        at_once: bool = False,
        unit: str = "",
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
        seconds_until_line: float | None = None,
    ) -> None:
        self.what, self.total, self.quiet, self.at_once = what, total, quiet, at_once
        self.unit, self.seconds_between_lines = unit, seconds_between_lines
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        given = None if self.live else seconds_until_line
        self.seconds_until_shown = SECONDS_UNTIL_SHOWN if given is None else given
        self.done = 0.0
        self.seconds = 0.0  # that the finished task took
        self.shown = False
        self.started = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, done: float) -> None:
        """Sets how far the task is; `done` in (0, total]."""
        self.done = done

    def __enter__(self) -> "Progress":
        self.started = time.monotonic()
        if not self.quiet:
            if self.at_once:
                self.show()
            self._thread = threading.Thread(target=self.watch, args=(self._stop.wait,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.monotonic() - self.started
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.shown and self.live:
            self._print("\r\x1b[2K")

    def watch(self, wait: Callable[[float], bool]) -> None:
        """Shows the progress again and again.

        Args:
            wait: waits for so many seconds, or until the task ends; returns whether it has ended.
        """
        between = SECONDS_BETWEEN_UPDATES if self.live else self.seconds_between_lines
        seconds = between if self.shown else self.seconds_until_shown
        while not wait(seconds):
            self.show()
            seconds = between

    def show(self) -> None:
        """Prints how far the task is and the time that is left, or the time that it has taken."""
        taken = time.monotonic() - self.started
        line = self.what
        if self.done:
            left = taken * max(0.0, self.total - self.done) / self.done
            bar = f" {_bar(self.done / self.total)}" if self.live and self.unit else ""
            line += f":{bar} {100 * self.done / self.total:.0f} %, {duration(left)} left"
            line += f", {self.done / max(taken, 1e-9):,.0f} {self.unit}/s" if self.unit else ""
        elif taken >= SECONDS_UNTIL_SHOWN:
            line += f": {duration(taken)} so far"
        self._print(f"\r\x1b[2K{line}" if self.live else f"{line}\n")
        self.shown = True

    def _print(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            self._stop.set()


def _bar(fraction: float, width: int = 24) -> str:
    """A bar of `width` characters.

    >>> _bar(0.5, 6)
    '[###...]'
    """
    full = min(width, int(fraction * width))
    return f"[{'#' * full}{'.' * (width - full)}]"


def duration(seconds: float) -> str:
    """Formats seconds as h:mm:ss.

    >>> duration(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
