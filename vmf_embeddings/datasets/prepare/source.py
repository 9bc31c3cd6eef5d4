"""Description of a data set to prepare, and the two errors of a preparation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Lists = dict[str, list[tuple[str, int]]]


class UserMistake(Exception):
    """The command must be changed; exit code 2."""


class PreparationFailure(Exception):
    """Network or disk failed although the command is right; exit code 1."""


@dataclass(frozen=True)
class Download:
    """A file to download: its name on disk, its address, and its published md5 sum if known."""

    file: str
    url: str
    md5: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set to prepare; PATH is the folder that the user names.

    Attributes:
        title: name for messages.
        config: name of the `dataset=` yaml and of the prepare script.
        downloads: archives, and other files that are copied beside their content.
        folder: folder of the lists, relative to PATH.
        images: folder that the paths in the lists start from, relative to PATH.
        marker_files: files relative to PATH that exist once the data set is extracted, and from
            which the lists are made.
        read: (PATH) -> lists train, val and test of (relative path, class).
    """

    title: str
    config: str
    downloads: tuple[Download, ...]
    folder: str
    images: str
    marker_files: tuple[str, ...]
    read: Callable[[Path], Lists]
