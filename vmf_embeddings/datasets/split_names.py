"""Names of folders and files that look like the name of a split."""

import re
from collections.abc import Sequence

from vmf_embeddings.embeddings.names import SPLIT_WORDS

_SET = r"(?:set|data|dataset|images?|imgs?|pics?|photos?|pictures?|files?|folder|dir|split|part)"
_ABOUT_IMAGES = re.compile(
    rf"{_SET}|[a-z]|(?:my|new|old|all|full|final|copy|orig|original|raw|the)"
)
_OF_SPLIT = re.compile(rf"(?:{'|'.join(SPLIT_WORDS)}|trn|tst|trainval|holdout){_SET}?")


def looks_like_split(name: str) -> bool:
    """Whether a name consists of the word for a split and words that say little.

    >>> all(looks_like_split(name) for name in ("train2017", "my_valSet", "test (1)", "trainA"))
    True
    >>> any(looks_like_split(name) for name in ("bullet train", "train_station", "contest"))
    False
    """
    words = _words(name)
    splits = [word for word in words if _OF_SPLIT.fullmatch(word)]
    others = [word for word in words if word not in splits and not _ABOUT_IMAGES.fullmatch(word)]
    return bool(splits) and not others


def names_of_splits(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names that differ in the word for a split alone, or None.

    >>> names_of_splits(["bounding_box_test", "bounding_box_train", "query"])
    ('bounding_box_test', 'bounding_box_train')
    >>> names_of_splits(["bullet train", "contest", "train_station"]) is None
    True
    """
    seen: dict[tuple[str, ...], str] = {}
    for name in names:
        words = _words(name)
        rest = tuple(word for word in words if not _OF_SPLIT.fullmatch(word))
        if len(rest) < len(words):
            other = seen.setdefault(rest, name)
            if _words(other) != words:
                return other, name
    return None


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without digits; camelCase is two words."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
