"""Signals that end a training after its current step, so that its state can be saved before."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # of a cluster that needs the machine
EXIT_CODE = 128 + signal.SIGTERM


class Interrupted(BaseException):
    """A signal ended the training, whose state is saved.

    Like KeyboardInterrupt no `Exception`: no other job of a sweep begins.
    """


class Watch:
    """Notices the signals of SIGNALS.

    Attributes:
        noticed: the signal that came, or None.
    """

    noticed: int | None = None

    def __init__(self) -> None:
        self.former: dict[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        self.noticed = number

    def hand_on(self) -> None:
        """Calls the handler that was there before, as that of a cluster's launcher, if any."""
        former = self.former.get(self.noticed or 0)
        if callable(former):
            former(self.noticed, None)


@contextmanager
def watched() -> Iterator[Watch]:
    """Inside, the signals of SIGNALS end the training of this process after a step.

    In another thread than the main one, handlers cannot be set: nothing changes.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    watch.former = {number: signal.signal(number, watch) for number in SIGNALS}
    try:
        yield watch
    finally:
        for number, handler in watch.former.items():
            signal.signal(number, handler or signal.SIG_DFL)


def is_wanted() -> bool:
    """Whether a signal asked this process to end its training."""
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, Watch) and handler.noticed is not None


def spare_worker(worker: int = 0) -> None:
    """Lets a process that loads data ignore the signals, which the training process handles.

    A signal to the whole group of processes would end it before the state is saved. A second
    SIGTERM, as from the training process as it exits, does end it.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _EndAtSecond())


class _EndAtSecond:
    """Ends the process at the second signal."""

    def __init__(self) -> None:
        self.first = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.first:
            os._exit(0)  # other codes are errors to the training process
        self.first = False
