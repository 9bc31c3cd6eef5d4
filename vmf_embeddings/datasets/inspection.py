"""A close look at a data set of image files: all faults at once, before anyone trains on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.datasets.contents import copies, files_of
from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.leakage import refuse_shared_images
from vmf_embeddings.datasets.missing_files import missing
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.datasets.summary_line import summary_line
from vmf_embeddings.datasets.wording import counted


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
    """Looks at the lists, decodes every file, and compares their pixels.

    Args:
        data: a data set whose rows were not read yet.
        progress: called with a line before what takes long.
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
    found.faults += [said for name, rows in parts.items() if (said := missing(name, rows))]
    progress(f"decoding {counted(len(files_of(parts)), 'image')}")
    found.broken |= data.contents.faults
    alike = copies(parts, data.contents.digests)
    found.faults += alike.harmful(data.name_of)
    found.notes += alike.harmless(data.name_of)
    return found


def _look_at_classes(data: ImageFileDataset, parts: Mapping[str, Rows], found: Inspection) -> None:
    """Counts; too few classes, and classes with a single image."""
    for split, rows in parts.items():
        labels, counts = np.unique(rows.labels, return_counts=True)
        pairs = zip(labels.tolist(), counts.tolist(), strict=True)
        found.counts[split] = {data.name_of(label): count for label, count in pairs}
        single = [name for name, count in found.counts[split].items() if count == 1]
        if single and (split == "train" or data.open_set):
            n_classes, have = counted(len(single), f"{split} class"), _have(len(single))
            found.notes.append(f"{n_classes} {have} a single image: {_some(single)}")
    if "train" not in parts:
        found.faults.append(f"there are no train images, only {' and '.join(parts)}")
    elif len(found.counts["train"]) < 2:
        found.faults.append("train has fewer than two classes: there is nothing to learn")
    found.notes += doubts(found.counts, open_set=data.open_set)


def _look_at_splits(data: ImageFileDataset, parts: Mapping[str, Rows], found: Inspection) -> None:
    """One image in two splits or under two labels; splits that do not go together."""
    checks: list[Callable[[], object]] = [
        lambda: refuse_shared_images(parts, str(data.dataset_path), data.name_of, data.shared_hint),
        lambda: data.check_parts(dict(parts)),
    ]
    for check in checks:
        try:
            check()
        except ValueError as error:
            found.faults.append(str(error))
    if data.open_set or "train" not in parts:
        return
    for split in parts:
        unknown = sorted(set(found.counts[split]) - set(found.counts["train"]))
        if unknown:
            n_images = sum(found.counts[split][name] for name in unknown)
            found.faults.append(
                f"{counted(n_images, f'{split} image')} of classes that train lacks: "
                f"{_some(unknown)}. For retrieval of new classes: dataset.params.open_set=true"
            )


def _have(n: int) -> str:
    return "has" if n == 1 else "have"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
