"""Structures of Thrift's compact protocol, in which Parquet files describe themselves.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    13
)
_MOST_LEVELS = 16
Structure = dict[int, Any]
"""Number of a field -> a whole number, bytes, a list, or another structure."""


class ThriftError(ValueError):
    """Bytes that are no such structure."""


class Int32(int):
    """A number that was written as one of 32 bits: other readers pass over one of another type."""


class Int64(int):
    """The same of 64 bits."""


class ThriftReader:
    """Reads structures from bytes.

    Args:
        content: the bytes.
        most_values: more fields and items of lists than this are refused.
    """

    def __init__(self, content: bytes, most_values: int) -> None:
        self.place = 0
        self._content = content
        self._left = most_values

    def structure(self, levels: int = _MOST_LEVELS) -> Structure:
        """The structure that begins at `place`, which is then where it ends.

        Args:
            levels: of structures and lists that may be nested in it.

        Raises:
            ThriftError: there is none, it is cut off, nested too deeply, has too many values, or a
                field twice.
        """
        if levels < 0:
            raise ThriftError("it is nested too deeply")
        found: Structure = {}
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self._integer()
            if number in found:  # of which other readers may take both
                raise ThriftError(f"it has field {number} twice")
            found[number] = self._value(head & 15, levels)
        return found

    def _value(self, kind: int, levels: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ThriftError("it has too many values")
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_I16, _I32, _I64):
            return {_I16: int, _I32: Int32, _I64: Int64}[kind](self._integer())
        if kind == _STRUCT:
            return self.structure(levels - 1)
        if kind in (_LIST, _SET):
            return self._list(levels)
        lengths = {_BYTE: 1, _DOUBLE: 8}
        if kind in lengths or kind == _BINARY:
            return self._bytes(lengths[kind] if kind in lengths else self._unsigned())
        raise ThriftError("it has a value of an unknown type")

    def _list(self, levels: int) -> list[Any]:
        if levels < 0:
            raise ThriftError("it is nested too deeply")
        head = self._byte()
        n = self._unsigned() if head >> 4 == 15 else head >> 4
        kind = head & 15
        if kind in (_TRUE, _FALSE):  # in lists, they are bytes
            return list(self._bytes(n))
        return [self._value(kind, levels - 1) for _ in range(n)]

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, n: int) -> bytes:
        if n > len(self._content) - self.place:
            raise ThriftError("its end is missing")
        self.place += n
        return self._content[self.place - n : self.place]

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ThriftError("it has a number of too many digits")

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)  # zigzag
