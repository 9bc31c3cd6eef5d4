"""Names that other programs give to embeddings, labels, splits and what else comes with them."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vmf_embeddings.untrusted.text import printable

EMBEDDING_KEYS = (
    *("embeddings", "features", "feats", "X", "x", "vectors"),
    *("embedding", "feature", "feat", "vector", "emb"),
)
LABEL_KEYS = (
    *("labels", "y", "ids", "targets", "label"),
    *("target", "classes", "class", "Y"),
)
EXTRA_KEYS = {
    "split": ("split", "splits"),
    "paths": ("paths", "path", "filenames", "filename"),
    "is_query": ("is_query",),
    "is_gallery": ("is_gallery",),
}
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "validate"), "valid"),
    **dict.fromkeys(("dev", "devel", "development"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Word for a split -> the split's name in this package."""


def canonical_split(word: str) -> str | None:
    """The name in this package of the split that a word names in any case; None for other words.

    >>> canonical_split("Validation"), canonical_split("TEST"), canonical_split("cat")
    ('valid', 'test', None)
    """
    return SPLIT_WORDS.get(word.strip().casefold())


def known_splits(word: str) -> str:
    """The end of a message on a word that names no split: one like it, and those that are known."""
    close = difflib.get_close_matches(word.lower(), SPLIT_WORDS, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{hint} Known: {', '.join(SPLIT_WORDS)}."


def chosen(
    path: Path, argument: str, named: str | None, usual: Sequence[str], keys: Sequence[str]
) -> str:
    """The key that was named, or the first usual one that is there, in any case of letters.

    Raises:
        ValueError: there is none; lists those that are there, and what to type.
    """
    found = named if named in keys else None
    if named is None:
        found = next(iter(present({argument: usual}, keys).values()), None)
    if found is not None:
        return found
    held = printable(", ".join(sorted(keys))[:500]) or "nothing else"
    wanted = f"one of the keys {', '.join(usual)}" if named is None else f"the key {named!r}"
    raise ValueError(
        f"{path} has no {argument}: expected {wanted}, it holds {held}. Name it: "
        f"evaluate … --{argument} KEY, vmf.read(path, {argument}=KEY), or in training "
        f"dataset.params.{argument}=KEY"
    )


def without_map(
    usual: Sequence[str], per_row: Sequence[str], floats: Collection[str]
) -> Sequence[str]:
    """Usual names of labels; without `y` where `x` and `y` are the places of rows on a map.

    Args:
        usual: names of labels.
        per_row: names of what has one value per row.
        floats: those of them that are fractions.
    """
    is_map = {"x", "y"} <= {*per_row} & {*floats}
    return [word for word in usual if word.casefold() != "y"] if is_map else usual


def present(usual: Mapping[str, Sequence[str]], keys: Sequence[str]) -> dict[str, str]:
    """Name -> the first of its usual keys that is there; names of which none is are left out."""
    folded = {key.casefold(): key for key in reversed(keys)}
    found = {}
    for name, words in usual.items():
        same = [word for word in words if word in keys]
        alike = [folded[word.casefold()] for word in words if word.casefold() in folded]
        if same or alike:
            found[name] = (same or alike)[0]
    return found
