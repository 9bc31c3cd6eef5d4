"""A close look at a data set of image files: all faults at once, before anyone trains on it."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.leakage import refuse_shared_images
from vmf_embeddings.datasets.rows import MISSING, NO_FILE, Rows
from vmf_embeddings.datasets.summary_line import summary_line
from vmf_embeddings.untrusted.files import open_regular

_BLOCK = 2**20  # bytes read at once
_STATES = {MISSING: "does not exist", NO_FILE: "is a folder, a pipe or a device", 0: "is empty"}


@dataclass
class Inspection:
    """What was found.

    Attributes:
        summary: one line; empty where the data set cannot be read at all.
        counts: split -> class -> number of images.
        faults: what has to be mended before training, or makes scores worthless.
        broken: path -> why the image cannot be read.
        notes: what is worth knowing.
    """

    summary: str = ""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.faults and not self.broken

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {"fine": self.is_fine, **self.__dict__}


def inspect(data: ImageFileDataset, progress: Callable[[str], None] = print) -> Inspection:
    """Looks at the lists, at every file, and at the content of files of equal size.

    Args:
        data: a data set whose rows were not read yet.
        progress: called with a line before each part that takes long.
    """
    found = Inspection()
    try:
        parts = {name: data.parts[name] for name in SPLIT_NAMES if name in data.parts}
        open_set = data.open_set
    except (ValueError, OSError) as error:
        found.faults.append(str(error))
        return found
    left_out = data.passed_over
    found.summary = summary_line(str(data.dataset_path), parts, data.origins, open_set=open_set)
    lost = set(data.lost)
    found.faults += [sentence for sentence in left_out if sentence in lost]
    found.notes += [sentence for sentence in left_out if sentence not in lost]
    _look_at_classes(data, parts, found)
    _look_at_splits(data, parts, found)
    _look_at_files(data, parts, found, progress)
    _look_at_content(parts, _named(data), found, progress)
    return found


def _named(data: ImageFileDataset) -> Callable[[int], str]:
    return lambda label: str(data._class_name(label) or label)


def _look_at_classes(data: ImageFileDataset, parts: Mapping[str, Rows], found: Inspection) -> None:
    """Counts; too few classes, and classes with a single image."""
    named = _named(data)
    for split, rows in parts.items():
        labels, counts = np.unique(rows.labels, return_counts=True)
        pairs = zip(labels.tolist(), counts.tolist(), strict=True)
        found.counts[split] = {named(label): count for label, count in pairs}
        single = [name for name, count in found.counts[split].items() if count == 1]
        if single and (split == "train" or data.open_set):
            found.notes.append(
                f"{len(single)} {split} classes have a single image: {_some(single)}"
            )
    if len(found.counts.get("train", {})) < 2:
        found.faults.append("train has fewer than two classes: there is nothing to learn")


def _look_at_splits(data: ImageFileDataset, parts: Mapping[str, Rows], found: Inspection) -> None:
    """One image in two splits or under two labels; splits that do not go together."""
    checks: list[Callable[[], object]] = [
        lambda: refuse_shared_images(parts, str(data.dataset_path), _named(data), data.shared_hint),
        lambda: data.check_parts(dict(parts)),
    ]
    for check in checks:
        try:
            said = check()
        except ValueError as error:
            found.faults.append(str(error))
        else:
            found.notes += [said] if isinstance(said, str) else []
    if data.open_set or "train" not in parts:
        return
    for split, rows in parts.items():
        unknown = sorted(set(found.counts[split]) - set(found.counts["train"]))
        if unknown:
            n_images = sum(found.counts[split][name] for name in unknown)
            found.faults.append(
                f"{n_images} {split} images belong to classes that train lacks: {_some(unknown)}"
            )
        del rows


def _look_at_files(
    data: ImageFileDataset,
    parts: Mapping[str, Rows],
    found: Inspection,
    progress: Callable[[str], None],
) -> None:
    """Decodes every file once."""
    paths: dict[str, None] = {}
    for rows in parts.values():
        for path, size in zip(rows.paths, rows.states.sizes.tolist(), strict=True):
            if size in _STATES:
                found.broken[path] = f"{path} {_STATES[size]}"
            else:
                paths[path] = None
    unread = list(paths)
    progress(f"decoding {len(unread)} images")
    for position, fault in data.reader.faults(unread).items():
        found.broken[unread[position]] = fault


def _look_at_content(
    parts: Mapping[str, Rows],
    named: Callable[[int], str],
    found: Inspection,
    progress: Callable[[str], None],
) -> None:
    """Other files with equal bytes in two splits or under two labels; copies elsewhere."""
    copies = _equal_files(parts, progress)
    apart, two_labels, inside = [], [], []
    for group in copies:
        splits = {split for _, split, _ in group}
        labels = {label for _, _, label in group}
        (apart if len(splits) > 1 else two_labels if len(labels) > 1 else inside).append(group)
    for what, groups in (("in two splits", apart), ("under two labels", two_labels)):
        if groups:
            (one, *first), (other, *second) = _two_that_differ(groups[0])
            places = [f"{split}, {named(label)}" for split, label in (first, second)]
            found.faults.append(
                f"{len(groups)} images have copies {what}, such as {one} ({places[0]}) and {other} "
                f"({places[1]}); keep one of each"
            )
    if inside:
        found.notes.append(
            f"{len(inside)} images have copies in their own split and class, such as "
            f"{inside[0][0][0]} and {inside[0][1][0]}"
        )


Copy = tuple[str, str, int]  # path, split, label


def _two_that_differ(group: Sequence[Copy]) -> tuple[Copy, Copy]:
    return group[0], next(copy for copy in group[1:] if copy[1:] != group[0][1:])


def _equal_files(parts: Mapping[str, Rows], progress: Callable[[str], None]) -> list[list[Copy]]:
    """Groups of different files with equal content; only files of equal size are read."""
    by_size: dict[int, list[Copy]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()
    for split, rows in parts.items():
        states = zip(rows.states.sizes.tolist(), rows.states.keys.tolist(), strict=True)
        for path, label, (size, key) in zip(rows.paths, rows.labels.tolist(), states, strict=True):
            if size > 0 and tuple(key) not in seen:
                seen.add(tuple(key))
                by_size[size].append((path, split, label))
    alike = [group for group in by_size.values() if len(group) > 1]
    progress(f"comparing the content of {sum(map(len, alike))} files of equal size")
    groups = []
    for group in alike:
        by_content: dict[bytes, list[Copy]] = defaultdict(list)
        for copy in group:
            by_content[_digest(copy[0])].append(copy)
        groups += [found for found in by_content.values() if len(found) > 1]
    return groups


def _digest(path: str) -> bytes:
    digest = hashlib.blake2b()
    try:
        with open_regular(path) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except (OSError, ValueError):
        return path.encode(errors="replace")  # cannot be read, which is said elsewhere
    return digest.digest()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
