"""Names and texts from untrusted files, made safe for printing, logs, tables and paths."""

import re

from vmf_embeddings.untrusted.refused import Refused

# control characters of ASCII and Latin-1, line and paragraph separators, and those that change the
# direction of what follows: they could move the cursor, fake a line of a log, or hide a part of it;
# halves of surrogate pairs, which no encoding can write
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f]")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r")
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@~ -]{0,199}")


def printable(text: object) -> str:
    r"""Text with every control character written as its escape sequence.

    >>> printable("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def has_control(text: str) -> bool:
    r"""Whether a text holds control characters of ASCII or Latin-1, which no name of a file needs.

    >>> has_control("a\nb"), has_control("日本.jpg")
    (True, False)
    """
    return _NO_NAME.search(text) is not None


def csv_cell(value: object) -> object:
    """A value for a table cell that no spreadsheet program evaluates as a formula.

    Numbers stay as they are. A text that begins like a formula gets an apostrophe in front.

    >>> csv_cell("=cmd|' /C calc'!A0"), csv_cell(-1.5), csv_cell("cat")
    ("'=cmd|' /C calc'!A0", -1.5, 'cat')
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.lstrip(" ").startswith(_FORMULA) and not _is_number(value) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def path_component(name: object, what: str) -> str:
    """Returns `name` if it can safely be one component of a path.

    Args:
        name: value from a file.
        what: what the name is, for the message.

    Raises:
        Refused: it is not a text, is empty, leads to another folder (`..`, `/`), or has characters
            that are not allowed in names.

    >>> path_component("mnist_lt", "the data set's name")
    'mnist_lt'
    """
    if isinstance(name, str) and _COMPONENT.fullmatch(name) and ".." not in name:
        return name
    raise Refused(
        f"{what} is {printable(repr(name)[:80])}: expected a name of letters, digits and _ . - = , "
        "that can stand in a file name"
    )
