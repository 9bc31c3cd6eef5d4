"""Which columns of a table hold the embeddings, the labels, and what else was asked for."""

import re
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.untrusted.text import printable

NUMBERED = re.compile(r"(.*?)[ _.\-\[]*(\d{1,7})\]?")
_USUAL_STEMS = {
    *("", "embedding", "embeddings", "feature", "features", "feat", "feats", "emb", "vector"),
    *("f", "x", "v", "e", "d", "z", "dim"),
}
_MOST_NAMED = 12  # columns that a message or a note names


def column_of(
    header: list[str], named: str | None, usual: Sequence[str], needed: bool, *, path: Path,
    what: str,
) -> str | None:  # fmt: skip
    """The column that was named, or the first usual one that is there in any case."""
    if named is not None and named in header:
        return named
    folded = {name.casefold(): name for name in reversed(header)}
    if {"x", "y"} <= set(header):  # perhaps the places of rows on a map
        usual = sorted(usual, key=lambda name: name.casefold() == "y")
    for name in usual if named is None else ():
        if name.casefold() in folded:
            return folded[name.casefold()]
    if named is None and not needed:
        return None
    wanted = repr(named) if named is not None else f"one of {', '.join(usual)}"
    raise ValueError(
        f"{path} has no column of {what}: expected {wanted}, it holds {_listed(header)}. Name it: "
        f"vmf.read(path, {what}=NAME), or evaluate … --{what} NAME"
    )


def embedding_columns(
    others: Sequence[str], named: str | None, usual: Sequence[str], path: Path
) -> list[str]:
    """The columns of embeddings among the names of columns; see `read_table` for the rules.

    Raises:
        ValueError: none are, or it is not clear which.
    """
    groups: dict[str, list[str]] = {}
    for name in others:
        match = NUMBERED.fullmatch(name)
        if match:
            groups.setdefault(match[1].casefold(), []).append(name)
    if named is not None:
        return _named_columns(others, named, groups, path)
    several = {stem: names for stem, names in groups.items() if len(names) > 1}
    if len(several) > 1:
        several = {stem: names for stem, names in several.items() if stem in _USUAL_STEMS}
    if len(several) == 1:
        return next(iter(several.values()))
    folded = {name.casefold(): name for name in others}
    of_lists = [folded[name.casefold()] for name in usual if name.casefold() in folded]
    if of_lists and not several:
        return of_lists[:1]
    raise ValueError(
        f"{path}: it is not clear which columns are the embeddings: expected numbered ones (f0, "
        f"f1, …), it holds {_listed(others)}. Name them: vmf.read(path, embeddings='a,b,c') or the "
        "beginning of numbered ones, or evaluate … --embeddings NAMES"
    )


def _named_columns(
    others: Sequence[str], named: str, groups: dict[str, list[str]], path: Path
) -> list[str]:
    parts = [part.strip() for part in named.split(",")]
    if all(part in others for part in parts):
        return parts
    stem = named.rstrip(" _.-[").casefold()
    if stem not in groups:
        raise ValueError(
            f"{path} has no columns {printable(named)[:60]!r} of embeddings, nor numbered ones "
            f"that begin so; it holds {_listed(others)}"
        )
    return groups[stem]


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_NAMED else ""
    return printable(", ".join(name[:60] or "(no name)" for name in names[:_MOST_NAMED])) + more
