"""Labels of any type, from a folder, a table, a list or an array, as class numbers and names.

The one rule of the package: labels are text, unless every one of them is a whole number as Python
would write it. So `1`, `01` and `001` are three classes, and `1`, `2` and `10` are numbers.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

_MISSING = {"nan", "na", "n/a", "none", "null", "-nan", "<na>"}  # casefolded
_INVISIBLE_ENDS = "\ufeff\u200b\u200e\u200f"  # str.strip leaves them


def read_labels(
    labels: ArrayLike, *, place: Callable[[int], str] = "labels, row {}".format
) -> tuple[np.ndarray, list[str] | None]:
    """Class numbers of labels of any type, and the names of the classes.

    White space around texts does not count. Numbers may be floats as long as they are whole.

    Args:
        labels: [N] texts, bytes (UTF-8), whole numbers, booleans, or a mixture.
        place: says for a message where the label at a position from 0 on stands.

    Returns:
        int64 [N], and names. Where all labels are whole numbers of 64 bits, the numbers are the
        labels themselves and names is None. Otherwise names are the C different labels as written,
        sorted, and a number in 0..C-1 is the position of its name.

    Raises:
        ValueError: naming the place: a label is missing (empty, None, NaN, or such a word among
            numbers), infinite, a fraction, or neither number nor text; two names look the same,
            as they differ in Unicode normal form alone; or labels are not one per row.

    Example:
        >>> read_labels(["1", "10", "2"])
        (array([ 1, 10,  2]), None)
        >>> read_labels(["1", "01", "1"])
        (array([1, 0, 1]), ['01', '1'])
    """
    values = np.asarray(labels)
    if values.dtype.kind in "Uf" and isinstance(labels, list | tuple):
        # NumPy made ["nan", "a"] of [nan, "a"], and a float of an integer beyond 64 bits
        values = np.asarray(labels, dtype=object)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{place(0)}: expected one label per row [N], got shape {list(values.shape)}"
        )
    if values.dtype.kind == "f":
        return _whole(values, place), None
    if values.dtype.kind in "iu" and int(values.max()) < 2**63:
        return values.astype(np.int64), None
    if values.dtype.kind not in "biuUSO":
        raise ValueError(f"{place(0)}: expected numbers or text, got {values.dtype}")
    return _of_texts(_texts(values.tolist(), place), place)


def is_whole_number(text: str) -> bool:
    """Whether a text is a whole number of 64 bits as Python would write it.

    >>> [is_whole_number(text) for text in ("7", "-7", "07", "7.0", "+7", "7_0", "9" * 30)]
    [True, True, False, False, False, False, False]
    """
    if len(text) > 20 or not text.isascii():
        return False
    try:
        number = int(text)
    except ValueError:
        return False
    return str(number) == text and -(2**63) <= number < 2**63


def spelling(name: str) -> str:
    r"""What is left of a name where case, Unicode form, spaces and leading zeros do not count.

    Hyphens and underscores between words are spaces.

    >>> spelling("Caf\u0065\u0301  Noir") == spelling("caf\u00e9 noir"), spelling("007")
    (True, '7')
    >>> spelling("red_car") == spelling("Red-car"), spelling("-1") == spelling("1")
    (True, False)
    """
    visible = "".join(c for c in name if unicodedata.category(c) != "Cf")
    plain = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
    plain = re.sub(r"(?<=[^\W_])[ _-]+(?=[^\W_])", " ", plain)
    plain = unicodedata.normalize("NFC", plain)
    whole = plain.removesuffix(".0")
    return whole.lstrip("0") or "0" if whole.isascii() and whole.isdigit() else plain


def refuse_look_alikes(names: Iterable[str], where: str) -> None:
    """Refuses two names that differ in Unicode normal form alone, which nobody can see.

    Raises:
        ValueError: naming both, with their characters escaped.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise ValueError(
                f"{where}: the classes {ascii(other)} and {ascii(name)} look the same and differ "
                "in Unicode normal form alone; write both the same way"
            )


def _whole(values: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """Floats as int64; refuses what is not a whole number."""
    if values.dtype.itemsize < 8:
        values = values.astype(np.float64)  # the bounds of 64-bit integers are beyond float16
    wrong = ~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) >= 2.0**63)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{place(row)}: expected a class, got {values[row]}; labels are whole numbers or text"
        )
    return values.astype(np.int64)


def _texts(values: list[object], place: Callable[[int], str]) -> list[str]:
    """Each label as text; numbers as Python writes them."""
    if not all(isinstance(value, str) for value in values):
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            values = [_exact(value, row, place) for row, value in enumerate(values)]
        values = [_text(value, row, place) for row, value in enumerate(values)]
    return [value.strip().strip(_INVISIBLE_ENDS).strip() for value in values]


def _exact(value: float, row: int, place: Callable[[int], str]) -> int:
    if isinstance(value, int):
        return value
    return int(_whole(np.array([value]), lambda _: place(row))[0])


def _text(value: object, row: int, place: Callable[[int], str]) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{place(row)}: {value[:40]!r} is not UTF-8 text") from None
    if isinstance(value, float):
        _whole(np.array([value]), lambda _: place(row))
    if isinstance(value, str | int | float):
        return str(value)
    came = "None" if value is None else type(value).__name__
    raise ValueError(f"{place(row)}: expected a number or a text, got {came}")


def _of_texts(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[np.ndarray, list[str] | None]:
    names = sorted(set(texts))
    if "" in names:
        raise ValueError(f"{place(texts.index(''))}: the label is empty")
    if all(map(is_whole_number, names)):
        return np.array([int(text) for text in texts], dtype=np.int64), None
    missing = [name for name in names if name.casefold() in _MISSING]
    if missing and all(name in missing or _is_number(name) for name in names):
        raise ValueError(
            f"{place(texts.index(missing[0]))}: {missing[0]!r} among numbers, which stands for a "
            "missing label; remove the row, or name its class"
        )
    refuse_look_alikes(names, place(0))
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[text] for text in texts], dtype=np.int64), names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
