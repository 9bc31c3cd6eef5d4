"""Checks the pickle in a file of weights before torch builds anything from it.

`torch.load(weights_only=True)` calls no function of the file's choice, but it trusts every size: a
pickle of a hundred bytes may ask for a terabyte, or for a storage larger than its data in the file.
Here the pickle is read with stand-ins for the few functions that `torch.save` writes for a state
dict, and they compare what they are called with to the bytes of the file.
"""

import functools
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np

from vmf_embeddings.untrusted import stand_ins
from vmf_embeddings.untrusted.numpy_scalars import KindOfNumber, bytes_of_number, number
from vmf_embeddings.untrusted.plain_tree import check_tree
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

LARGEST_PICKLE = 8 * 2**20  # bytes; that of 10,000 tensors has one million
LEGACY_HEADS = 3  # pickles before that of the state: a magic number, a version, sizes in C

# what torch.save writes at protocol 2
_OPCODES = frozenset(
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 "
    "LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM "
    "SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 BINGET BINPUT LONG_BINGET LONG_BINPUT".split()
)
_MEMO_WRITES = ("BINPUT", "LONG_BINPUT")
_FUNCTIONS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": stand_ins.Ordered,
    "torch.Size": tuple,
    "torch._utils._rebuild_parameter": stand_ins.parameter,
    "torch.nn.parameter.Parameter": stand_ins.old_parameter,
    "numpy.dtype": KindOfNumber,
    "numpy.core.multiarray.scalar": number,
    "numpy._core.multiarray.scalar": number,
    "_codecs.encode": bytes_of_number,
}
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_LEAVES = (stand_ins.Tensor, np.float64, np.float32, np.int64)
_BROKEN = (
    *(pickle.UnpicklingError, ValueError, TypeError, AttributeError),
    *(LookupError, EOFError, OverflowError, RecursionError),
)


class Outline(pickle.Unpickler):
    """Reads one pickle of a file of weights, with stand-ins for what torch would make of it.

    Args:
        stream: positioned at the pickle.
        sizes: storage's key -> bytes that the file has of it; None in torch's old format, where
            the storages follow the pickle.
        limit: bytes of the file, which all storages together and each tensor must fit into.
    """

    def __init__(self, stream: BinaryIO, sizes: Mapping[str, int] | None, limit: int) -> None:
        super().__init__(stream, encoding="utf-8")
        self._sizes, self._limit = sizes, limit
        self._claimed: dict[str, int] = {}
        self._total = 0

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for a name; no name is looked up anywhere else.

        Raises:
            Refused: pickles of weights have no use for the name.
        """
        full = f"{module}.{name}"
        if module == "torch" and name in stand_ins.ITEM_SIZES:
            return stand_ins.StorageType(stand_ins.ITEM_SIZES[name])
        if full in _TENSORS:
            return stand_ins.Function(functools.partial(stand_ins.tensor, self._limit))
        if full in _FUNCTIONS:
            return stand_ins.Function(_FUNCTIONS[full])
        raise Refused(
            f"it names {printable(full[:80])}, and weights are tensors and plain values only"
        )

    def persistent_load(self, claim: object) -> stand_ins.Storage:
        """The stand-in for a storage.

        Raises:
            Refused: its size is not that of the file's part with its key.
        """
        key, made = stand_ins.storage(claim, legacy=self._sizes is None)
        size = made.n_items * made.item_size
        known = self._claimed.get(key, size) if self._sizes is None else self._sizes.get(key)
        if key not in self._claimed:
            self._claimed[key] = size
            self._total += size
        if size != known or self._total > self._limit:
            raise Refused(
                f"it claims {size} bytes for the storage {printable(key[:20])}, which the file "
                "does not have"
            )
        return made


def check_pickle(stream: BinaryIO, sizes: Mapping[str, int], limit: int) -> None:
    """Refuses a pickle of anything but plain values, and tensors whose data the file has.

    Args:
        stream: positioned at the pickle, which is at most `LARGEST_PICKLE` long.
        sizes: storage's key -> bytes that the file has of it.
        limit: bytes of the file.

    Raises:
        Refused: saying what it would do.
    """
    _check(stream, sizes, limit)


def check_legacy(stream: BinaryIO, limit: int) -> None:
    """As `check_pickle`, for a file in torch's format of before 2020.

    Args:
        stream: the file's first `LARGEST_PICKLE` bytes: pickles of a magic number, a version and
            sizes in C, then of the state, then of the storages' keys.
        limit: bytes of the file.

    Raises:
        Refused: saying what it would do.
    """
    for _ in range(LEGACY_HEADS):
        _check(stream, {}, limit)
    _check(stream, None, limit)
    _check(stream, {}, limit)


def _check(stream: BinaryIO, sizes: Mapping[str, int] | None, limit: int) -> None:
    """Checks the pickle at the stream's position, and leaves the stream behind it."""
    start = stream.tell()
    try:
        _check_opcodes(stream)
        stop = stream.tell()
        stream.seek(start)
        value = Outline(stream, sizes, limit).load()
        stream.seek(stop)
        check_tree(value, _LEAVES)
    except Refused:
        raise
    except _BROKEN as error:
        raise Refused(f"its pickle is damaged: {printable(str(error)[:200])}") from error


def _check_opcodes(stream: BinaryIO) -> None:
    """Refuses instructions that torch.save does not write, and the memory that a memo can take."""
    for place, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in _OPCODES:
            raise Refused(f"its pickle has the instruction {opcode.name}, which torch never writes")
        if opcode.name in _MEMO_WRITES and argument > place:
            raise Refused("its pickle numbers its values with gaps, which torch never does")
