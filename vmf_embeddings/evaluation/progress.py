"""How far a long scoring is: a live line in a terminal, a plain line now and then elsewhere."""

import math
import sys
import time
from typing import TextIO

SECONDS_UNTIL_SHOWN = 2.0
SECONDS_BETWEEN_UPDATES = 0.5
SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Told the share of the work done; says on standard error how long the rest will take.

    Args:
        what: is going on.
        total: the number that means that all is done.
        stream: standard error if None.
        quiet: whether to say nothing, as all processes but one do.
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
        """Say where the work stands, if it is time to."""
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
        """Take the live line away."""
        if self.shown:
            print("\r\x1b[2K", end="", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss.

    >>> duration(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
