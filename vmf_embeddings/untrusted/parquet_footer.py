"""What a Parquet file claims in its footer and in the headers of its pages, before Arrow reads it.

Arrow's own accessors of the footer end the process where it is damaged. The numbers of fields are
those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vmf_embeddings.untrusted.contents import LONGEST_HEAD, kind_of
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.thrift import Int32, Int64, Structure, ThriftError, ThriftReader

_MAGIC = b"PAR1"
_MOST_PARTS = 16  # of a column's path
_MOST_VALUES = 4_000_000  # of a footer: 1,000 columns in 100 parts have half as many
_LONGEST_PAGE_HEADER = 2**16  # bytes, with statistics of the page's values
_MOST_IN_PAGE_HEADER = 1000
_SCHEMA, _ROWS, _PARTS, _METADATA = 2, 3, 4, 5  # of FileMetaData
_COLUMN_METADATA = 3  # of ColumnChunk
_OF_VALUES, _OF_DICTIONARY, _OF_VALUES_2 = 0, 2, 3  # types of pages
# type of a page -> field of its own header -> fields of the number of values and their encoding
_ABOUT_VALUES = {_OF_VALUES: (5, 1, 2), _OF_DICTIONARY: (7, 1, 2), _OF_VALUES_2: (8, 1, 4)}
# texts as what differs from the text before: a page may unpack to any number of bytes
_ENDLESS = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}


@dataclass
class Claims:
    """What the footer says of one column of values.

    Args:
        n_values: numbers, texts or elements of lists.
        unpacked: bytes that its pages unpack to.
        pages: start and length of each run of pages in the file, in bytes.
    """

    n_values: int = 0
    unpacked: int = 0
    pages: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Footer:
    """What the footer says; `columns` is by path, a tuple of names for columns with parts."""

    n_rows: int
    columns: Mapping[tuple[str, ...], Claims]
    metadata: Mapping[str, str]


def read_footer(stream: BinaryIO, size: int, path: str | Path) -> Footer:
    """The footer of an open file of `size` bytes.

    Raises:
        Refused: it is no Parquet file, is truncated, or its footer is damaged.
    """
    head = stream.read(LONGEST_HEAD)
    if not head.startswith(_MAGIC):
        kind = kind_of(head)
        why = f"its content is {kind}" if kind else "it does not begin as one"
        raise Refused(f"{path} is no Parquet file: {why if size else 'it is empty (0 bytes)'}")
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    length = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != _MAGIC or length > size - 12:
        raise Refused(f"{path} is truncated: its end is missing: copy or write the file again")
    stream.seek(size - 8 - length)
    try:
        claimed = ThriftReader(stream.read(length), _MOST_VALUES).structure()
        columns = _columns(claimed, size - 8 - length)
        return Footer(_count(claimed, _ROWS), columns, _texts(claimed.get(_METADATA, [])))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: its footer is damaged ({error}): copy or write it again") from error


def _columns(claimed: Structure, end: int) -> dict[tuple[str, ...], Claims]:
    """The claims of every column; `end` is where the footer begins."""
    paths = _leaves(claimed[_SCHEMA])
    found = {path: Claims() for path in paths}
    if len(found) < len(paths):
        raise ThriftError("it has two columns of one name")
    n_rows = 0
    for group in claimed.get(_PARTS, []):
        n_rows += _count(group, 3)
        # Arrow goes by the order of the schema alone
        for path, chunk in zip(paths, group.get(1, []), strict=True):
            about = chunk.get(_COLUMN_METADATA)
            if about is None or 1 in chunk:
                raise ThriftError("it has columns in other files")
            if tuple(name.decode() for name in about[3]) != path:
                raise ThriftError("its columns are not those of its schema")
            claims = found[path]
            starts = [_count(about, 9), *([_count(about, 11)] if 11 in about else [])]
            # writers before 2020 left 0 where there is no dictionary
            start, length = min(start for start in starts if start), _count(about, 7)
            if start + length > end:
                raise ThriftError("a column reaches beyond the file")
            claims.n_values += _count(about, 5)
            claims.unpacked += _count(about, 6)
            claims.pages.append((start, length))
    if n_rows != _count(claimed, _ROWS):
        raise ThriftError(f"its parts have {n_rows} rows")
    return found


def _leaves(schema: list[Structure]) -> list[tuple[str, ...]]:
    """The paths of the columns of values, in their order; elements stand before their children."""
    found: list[tuple[str, ...]] = []
    rest = iter(schema[1:])

    def below(above: tuple[str, ...], n_children: int) -> None:
        if len(above) > _MOST_PARTS:
            raise ThriftError("its columns are nested too deeply")
        for _ in range(n_children):
            element = next(rest, None)
            if element is None:
                raise ThriftError("its schema lacks columns")
            path = (*above, element[4].decode())
            n_inside = _count(element, 5, Int32) if 5 in element else 0
            if n_inside or 1 not in element:
                below(path, n_inside)
            else:
                found.append(path)

    below((), _count(schema[0], 5, Int32))
    return found


def _count(structure: Structure, number: int, of: type[int] = Int64) -> int:
    value = structure.get(number)
    if not isinstance(value, of) or not 0 <= value < 2**62:
        raise ThriftError(f"field {number} is {value!r:.40}, expected a number of 0 or more")
    return value


def _texts(entries: Any) -> dict[str, str]:
    return {entry[1].decode(errors="replace"): entry.get(2, b"").decode(errors="replace")
            for entry in entries if entry.get(1) != b"ARROW:schema"}  # fmt: skip


def read_pages(stream: BinaryIO, start: int, length: int) -> tuple[int, int]:
    """What the pages of a column claim in their headers.

    Args:
        stream: the file.
        start: of the first page, in bytes from the beginning of the file.
        length: of all pages with their headers.

    Returns:
        Bytes that they unpack to together, and the number of values in them.

    Raises:
        ThriftError: something there is no page header, a page reaches beyond `length`, or its
            values are written in a way whose size nothing states.
    """
    unpacked, n_values, place, end = 0, 0, start, start + length
    while place < end:
        stream.seek(place)
        reader = ThriftReader(
            stream.read(min(_LONGEST_PAGE_HEADER, end - place)), _MOST_IN_PAGE_HEADER
        )
        header = reader.structure()
        packed, size = _count(header, 3, Int32), _count(header, 2, Int32)
        unpacked += size
        n_values += _values_in(header, _count(header, 1, Int32), size)
        place += reader.place + packed
        if place > end:
            raise ThriftError(f"a page of {packed} bytes reaches beyond its column")
    return unpacked, n_values


def _values_in(header: Structure, kind: int, size: int) -> int:
    """The values in a page of `size` bytes; 0 for a dictionary and for pages of no values."""
    if kind not in _ABOUT_VALUES:
        return 0
    own, number, encoding = _ABOUT_VALUES[kind]
    about = header.get(own)
    if not isinstance(about, dict):
        raise ThriftError("a page does not say how many values it has")
    if (name := _ENDLESS.get(_count(about, encoding, Int32))) is not None:
        raise ThriftError(
            f"its texts are encoded as {name}, which is not read; write them as plain texts or "
            "with a dictionary"
        )
    n_values = _count(about, number, Int32)
    if kind != _OF_DICTIONARY:
        return n_values
    if n_values > 8 * size:
        raise ThriftError(f"a dictionary of {size} bytes claims {n_values} values")
    return 0
