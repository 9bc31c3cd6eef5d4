"""Classes of different splits whose names are spellings of one another."""

from collections.abc import Iterable, Mapping

from vmf_embeddings.labels import refuse_look_alikes, spelling


def refuse_other_spellings(names: Mapping[str, Iterable[str]], source: str) -> None:
    """Refuses class names that are spelled in one split otherwise than in another.

    `Cat` in train with `cat` in test would be an open set, or a class that train lacks; nobody
    wants either. Classes such as `a` and `A` that both splits have are two classes.

    Args:
        names: split -> its class names.
        source: what they were read from, for the message.

    Raises:
        ValueError: naming the classes and their splits.
    """
    of_split = {split: set(found) for split, found in names.items()}
    refuse_look_alikes(sorted(set().union(*of_split.values())), source)
    by_spelling: dict[str, dict[str, set[str]]] = {}
    for split, found in of_split.items():
        for name in sorted(found):
            by_spelling.setdefault(spelling(name), {}).setdefault(split, set()).add(name)
    for splits in by_spelling.values():
        for one, there in splits.items():
            for other, here in splits.items():
                if there - here and here - there:
                    raise ValueError(
                        f"{source}: the class {min(there - here)!r} of {one} is written "
                        f"{min(here - there)!r} in {other}; write it the same way everywhere, or, "
                        "if these are two classes, give them names that differ in more than case, "
                        "spaces, hyphens or leading zeros"
                    )
