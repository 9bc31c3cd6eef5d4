"""Progress of a long evaluation: a line that is rewritten in a terminal, else a line a minute."""

import math
import sys
import time
from typing import TextIO

SECONDS_UNTIL_SHOWN = 2.0
SECONDS_BETWEEN_UPDATES = 0.5
SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Prints the fraction done and the time left, as `tqdm` would, once a task takes seconds.

    Args:
        what: name of the task.
        total: value of `done` at which the task is finished.
        stream: where to print; standard error if None.
        quiet: print nothing, as in all processes but the first.
    """

    def __init__(
        self, what: str, total: float = 1.0, stream: TextIO | None = None, *, quiet: bool = False
    ) -> None:
        self.what, self.total = what, total
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = time.monotonic()
        wait = SECONDS_UNTIL_SHOWN if self.live else SECONDS_BETWEEN_LINES
        self.due = math.inf if quiet else self.started + wait
        self.shown = False

    def __call__(self, done: float) -> None:
        """Prints the progress if the last line is old enough; `done` in (0, total]."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + (SECONDS_BETWEEN_UPDATES if self.live else SECONDS_BETWEEN_LINES)
        left = (now - self.started) * (self.total - done) / done
        line = f"{self.what}: {100 * done / self.total:.0f} %, {duration(left)} left"
        print(f"\r\x1b[2K{line}" if self.live else line, end="" if self.live else "\n",
              file=self.stream, flush=True)  # fmt: skip
        self.shown = self.live

    def close(self) -> None:
        """Erases the line in a terminal."""
        if self.shown:
            print("\r\x1b[2K", end="", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Formats seconds as h:mm:ss.

    >>> duration(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
