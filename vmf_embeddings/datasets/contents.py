"""Decodes all images of a data set once: which cannot be read, and which are equal."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmf_embeddings.datasets.image_reading import ImageReader
from vmf_embeddings.datasets.rows import MISSING, Rows
from vmf_embeddings.datasets.wording import counted

Copy = tuple[str, str, int]  # path, split, label


@dataclass(frozen=True)
class Contents:
    """What decoding the files of all splits showed; what does not exist is passed over.

    Attributes:
        faults: path -> why it cannot be read.
        digests: path -> a hash of its pixels, as RGB; for the others.
    """

    faults: dict[str, str]
    digests: dict[str, bytes]


def decoded_contents(parts: Mapping[str, Rows], reader: ImageReader) -> Contents:
    """Decodes every file of some splits once, in threads.

    Args:
        parts: split -> its rows.
        reader: how they are read.
    """
    paths = files_of(parts)
    faults, digests = {}, {}
    for path, found in zip(paths, reader.decoded(paths), strict=True):
        if isinstance(found, bytes):
            digests[path] = found
        else:
            faults[path] = found
    return Contents(faults, digests)


def files_of(parts: Mapping[str, Rows]) -> list[str]:
    """The paths of some splits that lead to something, each once."""
    return list(
        dict.fromkeys(
            path
            for rows in parts.values()
            for path, size in zip(rows.paths, rows.states.sizes.tolist(), strict=True)
            if size != MISSING
        )
    )


@dataclass(frozen=True)
class Copies:
    """Different files with equal pixels, in groups.

    Attributes:
        in_two_splits: at least two of a group are in different splits.
        under_two_labels: of one split, under different labels.
        within_a_class: of one split and one label.
    """

    in_two_splits: list[list[Copy]]
    under_two_labels: list[list[Copy]]
    within_a_class: list[list[Copy]]

    def harmful(self, named: Callable[[int], str]) -> list[str]:
        """Sentences about copies that make scores worthless, or contradict each other.

        Args:
            named: name of an original label.
        """
        return [
            f"{_sentence(groups, what, named)}; keep one of each"
            for what, groups in (
                ("in two splits", self.in_two_splits),
                ("under two labels", self.under_two_labels),
            )
            if groups
        ]

    def harmless(self, named: Callable[[int], str]) -> list[str]:
        """A sentence about copies within a class, if there are any."""
        groups = self.within_a_class
        return [_sentence(groups, "in its own split and class", named)] if groups else []


def copies(parts: Mapping[str, Rows], digests: Mapping[str, bytes]) -> Copies:
    """Groups of different files with equal pixels; links to one file are one file, names are not.

    Args:
        parts: split -> its rows.
        digests: path -> hash of its content; other paths are passed over.
    """
    by_content: dict[bytes, list[Copy]] = defaultdict(list)
    for split, rows in parts.items():
        for path, label in zip(rows.paths, rows.labels.tolist(), strict=True):
            if path in digests:
                by_content[digests[path]].append((path, split, label))
    found = Copies([], [], [])
    for rows_alike in by_content.values():
        group = _different_files(rows_alike) if len(rows_alike) > 1 else []
        if len({split for _, split, _ in group}) > 1:
            found.in_two_splits.append(group)
        elif len({label for _, _, label in group}) > 1:
            found.under_two_labels.append(group)
        elif len(group) > 1:
            found.within_a_class.append(group)
    return found


def _different_files(group: Sequence[Copy]) -> list[Copy]:
    return list({os.path.realpath(copy[0]): copy for copy in reversed(group)}.values())[::-1]


def _sentence(groups: Sequence[list[Copy]], where: str, named: Callable[[int], str]) -> str:
    group = groups[0]
    others = [copy for copy in group[1:] if copy[1:] != group[0][1:]] or group[1:]
    one, other = (
        f"{path} ({split}, {named(label)})" for path, split, label in (group[0], others[0])
    )
    what, have = counted(len(groups), "image"), "has" if len(groups) == 1 else "have"
    return f"{what} {have} copies {where}, such as {one} and {other}"
