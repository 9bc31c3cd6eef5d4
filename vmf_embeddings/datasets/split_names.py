"""The words that people call splits by, and names that look like one of them."""

import re

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "validate"), "valid"),
    **dict.fromkeys(("dev", "devel", "development"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SET = r"(?:set|data|dataset|images?|imgs?|pics?|photos?|pictures?|files?|folder|dir|split|part)"
_ABOUT_IMAGES = re.compile(rf"{_SET}|(?:my|new|old|all|full|final|copy|orig|original|raw|the)")
_OF_SPLIT = re.compile(rf"(?:{'|'.join(SPLIT_WORDS)}|trn|tst|trainval|holdout){_SET}?")


def split_named(word: str) -> str | None:
    """The split that a word names in any case, or None.

    >>> split_named("Validation"), split_named("TEST"), split_named("cat")
    ('valid', 'test', None)
    """
    return SPLIT_WORDS.get(word.strip().lower())


def looks_like_split(name: str) -> bool:
    """Whether a name consists of the word for a split and words that say little.

    >>> [looks_like_split(name) for name in ("train2017", "my_valSet", "test (1)", "Testing")]
    [True, True, True, True]
    >>> [looks_like_split(name) for name in ("bullet train", "train_station", "contest", "images")]
    [False, False, False, False]
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    splits = [word for word in words if _OF_SPLIT.fullmatch(word)]
    others = [word for word in words if word not in splits and not _ABOUT_IMAGES.fullmatch(word)]
    return bool(splits) and not others
