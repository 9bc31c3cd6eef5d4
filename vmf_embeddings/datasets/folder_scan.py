"""Walks folders of images: what is an image, and what is passed over, by ending and by name."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.text import printable

# what systems put beside images; their thumbnails are images as well
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "__pycache__", "$RECYCLE.BIN", "lost+found"}
_MOST_SHOWN = 8


@dataclass
class PassedOver:
    """What a walk left out.

    Attributes:
        by_ending: ending (or name of a hidden file) -> number of files.
        loose: images outside class folders, relative to the root.
        empty: class folders without an image, relative to the root.
        linked: links to folders inside class folders, relative to the root.
        unlabelled: split folder -> number of images in it, where it has no class folders.
        same_inside: folders that every class folder holds, which may be the classes.
    """

    by_ending: Counter[str] = field(default_factory=Counter)
    loose: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    unlabelled: dict[str, int] = field(default_factory=dict)
    same_inside: list[str] = field(default_factory=list)

    def count(self, name: str) -> None:
        """Counts a file that is no image by its name."""
        ending = os.path.splitext(name)[1].lower()
        self.by_ending[name if name.startswith(".") else ending or "without ending"] += 1

    @property
    def sentences(self) -> list[str]:
        """One sentence for everything that was left out."""
        return [*self.usual, *self.lost]

    @property
    def usual(self) -> list[str]:
        """Sentences about what nobody misses: files that are no images, and unlabelled images."""
        said = []
        if self.by_ending:
            n_files = counted(sum(self.by_ending.values()), "file")
            said.append(f"{n_files} passed over, no images by their names: {self._endings()}")
        for folder, n_images in self.unlabelled.items():
            said.append(
                f"{printable(folder)} holds {counted(n_images, 'image')} without class folders: "
                "without labels they are not used"
            )
        if self.same_inside:
            said.append(
                f"every class folder holds the folders {_some(self.same_inside)}: if those are the "
                "classes, name the folders above them train, valid and test"
            )
        return said

    @property
    def lost(self) -> list[str]:
        """Sentences about what was probably meant to be used."""
        return [
            f"{counted(len(found), noun)} {what}: {_some(sorted(found))}"
            for noun, what, found in (
                ("image", "outside class folders passed over", self.loose),
                ("class folder", "without an image", self.empty),
                ("link", "to folders not followed", self.linked),
            )
            if found
        ]

    def _endings(self) -> str:
        return _some([f"{n} {ending}" for ending, n in self.by_ending.most_common()])


def _some(found: list[str]) -> str:
    more = len(found) - _MOST_SHOWN
    shown = [printable(each) for each in found[:_MOST_SHOWN]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder, without hidden ones and those of systems."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not _is_skipped(e.name))


def pictures_in(folder: Path, passed_over: PassedOver | None = None) -> list[str]:
    """Sorted names of the images directly in a folder; other files are counted."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                continue
            if is_picture(entry.name):
                found.append(entry.name)
            elif passed_over is not None:
                passed_over.count(entry.name)
    return sorted(found)


def pictures_below(root: Path, folder: str, passed_over: PassedOver) -> list[str]:
    """Sorted paths, relative to `root`, of the images in a folder below it, at any depth."""
    found = []
    for here, folders, names in os.walk(root / folder):
        relative = os.path.relpath(here, root)
        passed_over.linked += [
            os.path.join(relative, name)
            for name in folders
            if os.path.islink(os.path.join(here, name))
        ]
        folders[:] = [name for name in folders if not _is_skipped(name)]
        for name in names:
            if is_picture(name):
                found.append(os.path.join(relative, name))
            else:
                passed_over.count(name)
    return sorted(found)


def has_pictures(folder: Path) -> bool:
    """Whether an image lies in a folder, at any depth; stops at the first."""
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_skipped(name)]
        if any(is_picture(name) for name in names):
            return True
    return False


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS
