"""Columns of Parquet files as NumPy arrays; sizes are checked before memory is taken.

The rule is that of `arrays`: what is read takes at most `FLOOR` bytes or `MOST_EXPANSION` times the
file. A column of texts or of lists must fill every row: an empty value is refused by its row.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.untrusted.arrays import FLOOR, MOST_EXPANSION
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.parquet_footer import read_footer, read_pages
from vmf_embeddings.untrusted.parquet_schema import (
    NUMBER,
    OTHER,
    ROWS,
    TEXT,
    Column,
    columns_of,
)
from vmf_embeddings.untrusted.refused import MissingPackage, Refused
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.thrift import ThriftError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH = 16 * 2**20  # bytes that are unpacked together, about


def require_pyarrow(path: str | Path) -> None:
    """Raises `MissingPackage` where pyarrow is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"{path} needs pyarrow, which is not installed: pip install pyarrow"
        ) from error


class ParquetColumns:
    """A Parquet file whose columns are read when they are asked for.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        MissingPackage: pyarrow is not installed; also an ImportError.
        Refused: it is no such file, or claims what it does not have.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_regular(path) as stream:
            self._size = os.fstat(stream.fileno()).st_size
            footer = read_footer(stream, self._size, path)
        self._limit = max(FLOOR, MOST_EXPANSION * self._size)
        self._taken = 0
        self.n_rows = footer.n_rows
        self.columns = columns_of(self._open(), footer, path)
        self.metadata = footer.metadata

    def _open(self, texts: Sequence[str] = ()) -> "pq.ParquetFile":
        require_pyarrow(self.path)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(
                pa.memory_map(str(self.path)),
                read_dictionary=list(texts),
                pre_buffer=False,
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Refused(
                f"{self.path} is no usable Parquet file: {printable(error)[:300]}"
            ) from error

    def read(self, name: str) -> np.ndarray:
        """The values of a column.

        Args:
            name: of the column.

        Returns:
            [N] numbers or texts, or [N, D] numbers.

        Raises:
            Refused: a row has no value, rows have lists of different lengths, or the type is of no
                use; names the row, counted from 0.
        """
        column = self.columns[name]
        if column.kind == OTHER:
            raise Refused(
                f"{self._named(name)} is {column.words}: expected numbers, text or lists of numbers"
            )
        self._take(column)
        if column.kind == TEXT:
            return self._read_texts(column)
        if column.kind == ROWS:
            return self._read_lists(column)
        parts = [_values(array) for _, (array,) in self._batches([column])]
        return np.concatenate(parts) if parts else np.zeros(0)

    def read_together(self, names: Sequence[str]) -> np.ndarray:
        """The values [N, D] of D columns of numbers; see `read` for errors."""
        columns = [self.columns[name] for name in names]
        for column in columns:
            if column.kind != NUMBER:
                raise Refused(f"{self._named(column.name)} is {column.words}: expected numbers")
            self._take(column)
        rows: np.ndarray | None = None
        for start, arrays in self._batches(columns):
            part = np.stack([_values(array) for array in arrays], axis=1)
            if rows is None:
                rows = np.empty((self.n_rows, len(columns)), part.dtype)
            rows[start : start + len(part)] = part
        return np.zeros((0, len(columns))) if rows is None else rows

    def _named(self, name: str) -> str:
        return f"{self.path}: column {printable(name)[:60]!r}"

    def _take(self, column: Column) -> None:
        """Compares what a column would unpack to with the file, by its directory and its pages."""
        claimed = max(
            column.claims.unpacked, max(column.claims.n_values, self.n_rows) * column.width
        )
        self._refuse_above(self._taken + claimed, column.name)
        unpacked, n_values = 0, 0
        with open_regular(self.path) as stream:
            for start, length in column.claims.pages:
                try:
                    more = read_pages(stream, start, length)
                except (ThriftError, OSError) as error:
                    raise Refused(f"{self._named(column.name)} cannot be read: {error}") from error
                unpacked, n_values = unpacked + more[0], n_values + more[1]
        if n_values != column.claims.n_values:
            raise Refused(
                f"{self._named(column.name)} is damaged: it claims {column.claims.n_values} "
                f"values, its pages {n_values}"
            )
        self._taken += max(claimed, unpacked)
        self._refuse_above(self._taken, column.name)

    def _refuse_above(self, size: int, name: str) -> None:
        if size > self._limit:
            raise Refused(
                f"{self._named(name)} would unpack to {size} bytes of a file of {self._size}, more "
                f"than {MOST_EXPANSION} times as many and more than {FLOOR}: write it uncompressed"
            )

    def _batches(self, columns: Sequence[Column]) -> "Iterator[tuple[int, list[pa.Array]]]":
        """The arrays of columns, with the number of their first row."""
        import pyarrow as pa

        file = self._open([column.name for column in columns if column.kind == TEXT])
        total = sum(column.claims.n_values * column.width for column in columns)
        size = max(1, min(self.n_rows, _BATCH * self.n_rows // max(1, total)))
        names, start = [column.name for column in columns], 0
        try:
            for batch in file.iter_batches(batch_size=size, columns=names):
                arrays = [self._filled(batch.column(name), name, start) for name in names]
                if start + len(batch) > self.n_rows:
                    break
                yield start, arrays
                start += len(batch)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise Refused(
                f"{self.path}: {names[0]!r} cannot be read: {printable(error)[:300]}"
            ) from error
        if start != self.n_rows:
            raise Refused(f"{self._named(names[0])} has not the {self.n_rows} rows that it claims")

    def _filled(self, array: "pa.Array", name: str, start: int) -> "pa.Array":
        """The array itself; refuses one in which a row has no value."""
        array = getattr(array, "storage", array)  # of an extension type
        if array.null_count:
            row = start + _values(array.is_null()).argmax()
            raise Refused(f"{self._named(name)} has no value in row {row} (counted from 0)")
        array.validate(full=True)  # places in dictionaries and lists, and UTF-8
        return array

    def _read_texts(self, column: Column) -> np.ndarray:
        parts = [np.zeros(0, dtype="U1")]
        for _, (array,) in self._batches([column]):
            try:
                words = [_text(word) for word in array.dictionary.to_pylist()]
            except UnicodeDecodeError as error:
                raise Refused(f"{self._named(column.name)} is not UTF-8 text ({error})") from error
            longest = max(map(len, words), default=1)
            if self._taken + 4 * longest * self.n_rows > self._limit:
                raise Refused(
                    f"{self._named(column.name)} has a text of {longest:,} characters, too long "
                    f"for a label or a name in {self.n_rows:,} rows"
                )
            parts.append(np.array(words or [""], dtype=np.str_)[_values(array.indices)])
        return np.concatenate(parts)

    def _read_lists(self, column: Column) -> np.ndarray:
        rows: np.ndarray | None = None
        for start, (array,) in self._batches([column]):
            lengths = _lengths(array)
            if not start:
                width = int(lengths[0])
            if len(wrong := np.flatnonzero(lengths != width)):
                raise Refused(
                    f"{self._named(column.name)}: row {start + wrong[0]} (counted from 0) has "
                    f"{lengths[wrong[0]]} numbers, those above have {width}"
                )
            numbers = self._numbers(array, width, column.name, start)
            if rows is None:  # of another size where a later row has another length
                n_rows = self.n_rows if self.n_rows * width == column.claims.n_values else 0
                rows = np.empty((n_rows, width), numbers.dtype)
            if len(rows):
                rows[start : start + len(numbers)] = numbers
        if not self.n_rows:
            raise Refused(f"{self.path} has no rows")
        if rows is None or len(rows) != self.n_rows:
            raise Refused(f"{self._named(column.name)} has not the values that it claims")
        return rows

    def _numbers(self, array: "pa.Array", width: int, name: str, start: int) -> np.ndarray:
        """The numbers [n, D] of lists of `width` numbers each."""
        values = array.flatten()
        if not width:
            raise Refused(f"{self._named(name)} has empty lists")
        if values.null_count:
            place = int(_values(values.is_null()).argmax())
            raise Refused(
                f"{self._named(name)}: number {place % width} of row {start + place // width} "
                "(both counted from 0) is missing"
            )
        return _values(values).reshape(-1, width)


def _values(array: "pa.Array") -> np.ndarray:
    """Numbers or booleans without nulls as an array; `to_numpy` would import pandas."""
    import pyarrow as pa

    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).view(np.bool_)
    return np.from_dlpack(array)


def _lengths(array: "pa.Array") -> np.ndarray:
    """How many values each list has, [N]."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        return np.full(len(array), array.type.list_size)
    return np.diff(_values(array.offsets))


def _text(word: str | bytes) -> str:
    return word.decode("utf-8") if isinstance(word, bytes) else word
