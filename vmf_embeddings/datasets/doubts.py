"""What may be a mistake in the classes of a data set, and may be meant."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.labels import spelling

_MOST_NAMED = 5


def doubts(classes: Mapping[str, Iterable[str]], *, open_set: bool) -> list[str]:
    """Sentences about the classes of all splits that may be a mistake.

    Names that differ in case, white space or leading zeros alone; in a closed set, splits that lack
    classes of train; in an open set, splits that have some, or a single class.

    Args:
        classes: split -> names of its classes.
        open_set: see `Dataset`.
    """
    found = _spellings(sorted({name for names in classes.values() for name in names}))
    train = set(classes.get("train", ()))
    for split, names in classes.items():
        if split == "train" or not train:
            continue
        own = set(names)
        if open_set and len(own) == 1:
            found.append(
                f"{split} has one class, {_some(sorted(own))}: every neighbour there is of it, so "
                f"that all its scores of retrieval are perfect; give {split} more classes "
                f"(dataset.params.{split}_share where they are held out)"
            )
        if open_set and (shared := sorted(own & train)):
            found.append(
                f"{counted(len(shared), f'{split} class')} in train too: {_some(shared)}. "
                f"Retrieval in {split} is not of new classes alone"
            )
        if not open_set and (absent := sorted(train - own)):
            found.append(
                f"{split} lacks {counted(len(absent), 'class')} of train: {_some(absent)}; what is "
                f"measured in {split} leaves that out"
            )
    return found


def _spellings(names: Sequence[str]) -> list[str]:
    by_spelling: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_spelling[spelling(name)].append(name)
    alike = [group for group in by_spelling.values() if len(group) > 1]
    if not alike:
        return []
    shown = ", ".join(map(repr, alike[0]))
    return [
        f"{counted(len(alike), 'group')} of classes whose names are spelled nearly alike, such as "
        f"{shown}: they are different classes"
    ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
