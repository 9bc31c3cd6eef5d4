"""Processes that divide the counting of ranks among them."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class ProcessGroup(Protocol):
    """Processes that divide the work among them (`evaluation.processes` makes one from torch's)."""

    rank: int
    size: int

    def add(self, counts: Tensor) -> None:
        """Sum integer counts over the processes, in place (an all-reduce)."""


@dataclass(frozen=True)
class SingleProcess:
    """A group of one process."""

    rank: int = 0
    size: int = 1

    def add(self, counts: Tensor) -> None:
        """Do nothing: the counts are complete already."""
