"""Classes of different splits whose names are spellings of one another."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from vmf_embeddings.labels import refuse_look_alikes, spelling

log = logging.getLogger(__name__)


def refuse_other_spellings(
    names: Mapping[str, Iterable[str]], source: str, *, is_open: bool = False
) -> None:
    """Refuses class names that are spelled in one split otherwise than in another.

    `Cat` in train with `cat` in test would be an open set, or a class that train lacks; nobody
    wants either. Classes such as `a` and `A` that both splits have are two classes. Where the user
    says that the splits have different classes, `folder-new` and `folder_new` may be two: that is
    logged.

    Args:
        names: split -> its class names.
        source: what they were read from, for the message.
        is_open: whether the user says that the set is open.

    Raises:
        ValueError: naming the classes and their splits.
    """
    of_split = {split: set(found) for split, found in names.items()}
    refuse_look_alikes(sorted(set().union(*of_split.values())), source)
    found = [
        f"the class {one!r} of {here} is written {other!r} in {there}"
        for (one, here), (other, there) in _other_spellings(of_split)
    ]
    if found and is_open:
        more = f" ({len(found)} such pairs)" if len(found) > 1 else ""
        log.warning(
            "%s: %s%s; they count as two classes: if they are one, the scores are too good",
            source, found[0], more,
        )  # fmt: skip
    elif found:
        raise ValueError(
            f"{source}: {found[0]}; write it the same way everywhere, or, if these are two "
            "classes, give them names that differ in more than case, spaces, hyphens or leading "
            "zeros"
        )


def _other_spellings(
    of_split: Mapping[str, set[str]],
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of (name, split) that are spellings of one another; each pair of splits once a name."""
    by_spelling: dict[str, dict[str, set[str]]] = {}
    for split, names in of_split.items():
        for name in sorted(names):
            by_spelling.setdefault(spelling(name), {}).setdefault(split, set()).add(name)
    for splits in by_spelling.values():
        for (one, there), (other, here) in combinations(splits.items(), 2):
            if there - here and here - there:
                yield (min(there - here), one), (min(here - there), other)
