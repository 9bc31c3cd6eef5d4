"""What was found in a data set and taken for what, in one line for the log."""

from collections.abc import Mapping, Sequence

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.datasets.split_classes import distinct
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.text import printable


def summary_line(
    source: str,
    parts: Mapping[str, Rows],
    origins: Mapping[str, str],
    *,
    open_set: bool,
    passed_over: Sequence[str] = (),
) -> str:
    """One line such as "DATA: train 20 images of 2 classes (Train), …; classification".

    Args:
        source: where the data lie.
        parts: split -> its rows.
        origins: split -> what was taken for it, where that is not plain.
        open_set: see `Dataset`.
        passed_over: sentences about files that are not used.
    """
    splits = []
    for name in (name for name in SPLIT_NAMES if name in parts):
        origin = f" ({printable(origins[name])})" if name in origins else ""
        n_classes = len(distinct(parts[name].labels))
        n_images = counted(len(parts[name].files), "image")
        splits.append(f"{name} {n_images} of {counted(n_classes, 'class')}{origin}")
    missing = [name for name in SPLIT_NAMES if name not in parts]
    task = "retrieval of classes that train lacks" if open_set else "classification"
    said = [", ".join(splits), *(f"no {name} split" for name in missing), task, *passed_over]
    return f"{printable(source)}: {'; '.join(said)}"
