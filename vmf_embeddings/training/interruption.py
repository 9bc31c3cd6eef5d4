"""Signals that end a training after its current step, so that its state can be saved before."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # of a cluster that needs the machine
EXIT_CODE = 128 + signal.SIGTERM


class Interrupted(SystemExit):
    """A signal ended the training, whose state is saved; ends the process with EXIT_CODE.

    As it is no `Exception`, no other job of a sweep begins.
    """

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


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
        """Calls the handler that was there before, if any: a cluster's launcher may requeue."""
        former = self.former.get(self.noticed or 0)
        if callable(former):
            with suppress(SystemExit):  # its way to end the process
                former(self.noticed, None)


@contextmanager
def watched() -> Iterator[Watch]:
    """Inside, `is_wanted` tells whether one of SIGNALS came, which does not end the process.

    After `Interrupted` the former handler of the signal is called. In another thread than the main
    one, handlers cannot be set: nothing changes.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    watch.former = {number: signal.signal(number, watch) for number in SIGNALS}
    try:
        yield watch
    except Interrupted:
        watch.hand_on()
        raise
    finally:
        for number, handler in watch.former.items():
            signal.signal(number, handler or signal.SIG_DFL)


def is_wanted() -> bool:
    """Whether a signal asked this process to end its training."""
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, Watch) and handler.noticed is not None


def spare_worker(worker: int = 0) -> None:
    """Lets a process that loads data ignore the signals, unless the training process sends them.

    A signal to the whole group of processes would end it before the state is saved. Where the
    sender of a signal cannot be known, as on macOS, SIGTERM ends the process as before.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once its parent sends SIGTERM, as it does when it exits."""
    parent = os.getppid()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # other codes are errors to the training process
