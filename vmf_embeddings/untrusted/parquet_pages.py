"""Headers of the pages of a Parquet file: what they would unpack to, before it is unpacked.

A page header is a structure of Thrift's compact protocol
(https://github.com/apache/parquet-format, https://github.com/apache/thrift/blob/master/doc/specs).
"""

from typing import BinaryIO

_LONGEST = 2**16  # bytes of a page header, which has statistics of the page's values
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY = range(9)
_LIST, _SET, _MAP, _STRUCT = 9, 10, 11, 12
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}  # bytes of values of these types
_MOST_LEVELS = 8


class PageError(ValueError):
    """A page header that is none, or that contradicts the file's directory."""


def unpacked_bytes(stream: BinaryIO, start: int, length: int) -> int:
    """What all pages of a column's part would unpack to together, as their headers claim.

    Args:
        stream: the file.
        start: of the first page, in bytes from the beginning of the file.
        length: of all pages with their headers.

    Raises:
        PageError: something there is no page header, or a page reaches beyond `length`.
    """
    total, place, end = 0, start, start + length
    while place < end:
        stream.seek(place)
        header = _Header(stream.read(min(_LONGEST, end - place)))
        unpacked, packed = header.sizes()
        if packed < 0 or unpacked < 0 or place + header.place + packed > end:
            raise PageError(
                f"the page at byte {place} claims {packed} bytes, {end - place} are left"
            )
        total += unpacked
        place += header.place + packed
    return total


class _Header:
    """Reads a page header; `place` is then where the page begins."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def sizes(self) -> tuple[int, int]:
        """Bytes of the page, unpacked and in the file."""
        found: dict[int, int] = {}
        number = 0
        while (kind := self._byte()) != _STOP:
            number = number + (kind >> 4) if kind >> 4 else self._integer()
            if kind & 15 == _I32:
                found[number] = self._integer()
            else:
                self._skip(kind & 15, _MOST_LEVELS)
        if not {2, 3} <= found.keys():
            raise PageError("a page header without sizes")
        return found[2], found[3]

    def _byte(self) -> int:
        if self.place >= len(self.content):
            raise PageError("a page header without an end")
        self.place += 1
        return self.content[self.place - 1]

    def _unsigned(self) -> int:
        value, shift = 0, 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise PageError("a number of too many digits")

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)  # zigzag

    def _skip(self, kind: int, levels: int) -> None:
        """Passes over a value of any type, in which `levels` of structures may be nested."""
        if levels < 0:
            raise PageError("a page header that is nested too deeply")
        if kind in _FIXED:
            self.place += _FIXED[kind]
        elif kind in (_I16, _I32, _I64):
            self._unsigned()
        elif kind == _BINARY:
            length = self._unsigned()  # which moves the place itself
            self.place += length
        elif kind in (_LIST, _SET):
            self._skip_list(levels)
        elif kind == _STRUCT:
            self._skip_structure(levels)
        else:
            raise PageError("a page header with a value of an unknown type")

    def _skip_structure(self, levels: int) -> None:
        while (field := self._byte()) != _STOP:
            if not field >> 4:
                self._integer()
            self._skip(field & 15, levels - 1)

    def _skip_list(self, levels: int) -> None:
        first = self._byte()
        n = self._unsigned() if first >> 4 == 15 else first >> 4
        if n > len(self.content):
            raise PageError("a list of too many values")
        for _ in range(n):
            if first & 15 in (_TRUE, _FALSE):
                self.place += 1
            else:
                self._skip(first & 15, levels - 1)
