"""NumPy's numbers in checkpoints of 2021, read without NumPy's own functions for unpickling.

Those would make any dtype, structured ones and such of Python objects among them.
"""

from typing import Self

import numpy as np

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

_KINDS = {"f8": np.float64, "f4": np.float32, "i8": np.int64}
_STATE = (3, "<", None, None, None, -1, -1, 0)  # of a plain dtype: version, byte order, …


class KindOfNumber:
    """Takes the place of `numpy.dtype` in a pickle; knows float64, float32 and int64.

    Args:
        code: as NumPy writes it, such as "f8".
        align: ignored.
        copy: ignored.

    Raises:
        Refused: it is another dtype.
    """

    __slots__ = ("kind",)

    kind: type[np.number]

    def __new__(cls, code: object = None, align: object = False, copy: object = True) -> Self:
        """Checks here, for a pickle may make an object without `__init__`."""
        if not isinstance(code, str) or code not in _KINDS:
            raise Refused(
                f"it holds a number of NumPy's dtype {printable(repr(code)[:40])}; those of "
                f"{', '.join(_KINDS)} are read"
            )
        made = super().__new__(cls)
        made.kind = _KINDS[code]
        return made

    def __setstate__(self, state: object) -> None:
        """Takes what a pickle says of a plain dtype of this machine, and nothing else.

        Raises:
            Refused: it says something else.
        """
        if state != _STATE:
            raise Refused("it describes a dtype of NumPy that is no plain number's")


def number(kind: object, content: object) -> np.number:
    """Takes the place of `numpy.core.multiarray.scalar` in a pickle.

    Raises:
        Refused: the bytes are not one number of this kind.
    """
    if not isinstance(kind, KindOfNumber) or not isinstance(content, bytes):
        raise Refused("it holds a number of NumPy's that is not written as one")
    if len(content) != np.dtype(kind.kind).itemsize:
        raise Refused("it holds a number of NumPy's with more or fewer bytes than its dtype has")
    return np.frombuffer(content, kind.kind)[0]


def bytes_of_number(text: object = "", encoding: object = "latin1") -> bytes:
    """Takes the place of `_codecs.encode`, by which pickles of Python 2's form write bytes.

    Raises:
        Refused: another encoding, which would be a module to import, or more bytes than a number.
    """
    if not isinstance(text, str) or encoding != "latin1" or len(text) > np.dtype("f8").itemsize:
        raise Refused("it holds bytes that are no number of NumPy's")
    return text.encode("latin1")
