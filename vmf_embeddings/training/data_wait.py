"""How long training waited for its data, measured by the clock of the host alone."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from vmf_embeddings.training.threads import usable_cores

Item = TypeVar("Item")
log = logging.getLogger(__name__)

MUCH = 0.1  # fraction of the time from which on it is worth a word
LEAST_SECONDS = 1.0  # less is not, whatever its fraction


class DataWait:
    """The part of an epoch's time in which the loop waited for the next batch.

    A GPU works while the host waits, so that the device's own idle time is at most this. Nothing
    waits for the device to measure it.

    Attributes:
        seconds: that the next batch was waited for, in the current or latest epoch.
        fraction: of the time since that epoch began (or was resumed) in this process, in [0, 1].
    """

    def __init__(self) -> None:
        self.seconds = self.fraction = 0.0
        self._was_reported = False

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches of an epoch, timed."""
        began, self.seconds, self.fraction = time.monotonic(), 0.0, 0.0
        iterator = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                now = time.monotonic()
                self.seconds += now - asked
                self.fraction = self.seconds / max(now - began, 1e-9)
            yield batch

    def warn_once(self, num_workers: int, world: int) -> None:
        """Warns where image files keep training waiting, once; says what to change.

        Args:
            num_workers: processes that load images for this one.
            world: processes that train on this machine's cores.
        """
        if self._was_reported or self.fraction <= MUCH or self.seconds < LEAST_SECONDS:
            return
        self._was_reported = True
        log.warning(
            "%.0f %% of the epoch was spent waiting for images (data_wait): %s",
            *(100 * self.fraction, advice(num_workers, max(1, usable_cores() // world))),
        )


def advice(num_workers: int, cores: int) -> str:
    """What to type so that images come faster.

    Args:
        num_workers: processes that load images now.
        cores: that this training process has for them.
    """
    smaller = (
        "dataset.params.decoder=draft decodes large JPEGs in less time (docs/speed.md), or store "
        "smaller images"
    )
    if num_workers < min(16, cores):
        return f"num_workers={min(16, cores)} in place of {num_workers}; {smaller}"
    return f"the {num_workers} processes that load them use all {cores} cores: {smaller}"
