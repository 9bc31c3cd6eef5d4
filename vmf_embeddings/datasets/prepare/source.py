"""What a data set's preparation consists of, and the two ways in which it can fail."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Lists = dict[str, list[tuple[str, int]]]


class UserMistake(Exception):
    """Something in the command must change; exit code 2."""


class PreparationFailure(Exception):
    """The command is right, the world is not (network, disk); exit code 1."""


@dataclass(frozen=True)
class Download:
    """A file to fetch: its name on disk, its address, and its published md5 sum if known."""

    file: str
    url: str
    md5: str | None = None


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        title: for messages.
        config: name of the `dataset=` yaml and of the prepare script.
        downloads: archives, and loose files that go beside their content.
        folder: where the lists go, below PATH.
        images: where the lists' paths start, below PATH.
        marks: files below PATH that an extracted copy has; they suffice to write the lists.
        read: makes train, val and test lists of (relative path, class) from PATH.
    """

    title: str
    config: str
    downloads: tuple[Download, ...]
    folder: str
    images: str
    marks: tuple[str, ...]
    read: Callable[[Path], Lists]
