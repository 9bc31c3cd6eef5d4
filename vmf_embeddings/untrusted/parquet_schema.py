"""What a Parquet file says of itself: its columns, their types, and where their pages lie."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vmf_embeddings.untrusted.contents import LONGEST_HEAD, kind_of
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NUMBER, TEXT, ROWS, OTHER = "number", "text", "rows", "other"
_MAGIC = b"PAR1"
_MOST_COLUMNS = 100_001


@dataclass
class Column:
    """A column of a file.

    Args:
        name: of the column.
        kind: `NUMBER` (numbers, booleans), `TEXT`, `ROWS` (lists of numbers), or `OTHER`.
        words: its type as Arrow calls it, for messages.
        width: bytes of one value; of texts, of the number that stands for one.
        n_values: numbers, texts or elements of lists that it claims to have.
        unpacked: bytes that its pages unpack to, as the file's directory claims.
        pages: start and length of each run of its pages in the file, in bytes.
    """

    name: str
    kind: str
    words: str
    width: int
    n_values: int = 0
    unpacked: int = 0
    pages: list[tuple[int, int]] = field(default_factory=list)


def check_ends(stream: BinaryIO, size: int, path: str | Path) -> None:
    """Refuses an open file of `size` bytes that does not begin and end as a Parquet file."""
    head = stream.read(LONGEST_HEAD)
    if not head.startswith(_MAGIC):
        kind = kind_of(head)
        why = f"its content is {kind}" if kind else "it does not begin as one"
        raise Refused(f"{path} is no Parquet file: {why if size else 'it is empty (0 bytes)'}")
    stream.seek(max(0, size - 4))
    if size < 12 or stream.read(4) != _MAGIC:
        raise Refused(f"{path} is truncated: its end is missing: copy or write the file again")


def columns_of(file: "pq.ParquetFile", path: str | Path) -> dict[str, Column]:
    """The columns of an open file, by name, in the order of the file.

    Raises:
        Refused: too many, two of one name, or of types that Arrow does not know.
    """
    import pyarrow as pa

    try:
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refused(f"{path} is no usable Parquet file: {printable(error)[:300]}") from error
    if len(schema) > _MOST_COLUMNS:
        raise Refused(f"{path} has {len(schema)} columns, at most {_MOST_COLUMNS} are read")
    found: dict[str, Column] = {}
    for one in schema:
        if one.name in found:
            raise Refused(f"{path} has two columns called {printable(one.name)[:60]!r}")
        kind, width = _kind(one.type)
        found[one.name] = Column(one.name, kind, str(one.type)[:80], width)
    _add_claims(found, file.metadata)
    return found


def _add_claims(columns: dict[str, Column], metadata: "pq.FileMetaData") -> None:
    """Adds what the file's directory claims of the parts of each column."""
    for group in range(metadata.num_row_groups):
        parts = metadata.row_group(group)
        for place in range(metadata.num_columns):
            part = parts.column(place)
            column = columns.get(_top(part.path_in_schema, columns))
            if column is None:
                continue
            start = part.data_page_offset
            if part.dictionary_page_offset is not None:
                start = min(start, part.dictionary_page_offset)
            column.n_values += part.num_values
            column.unpacked += part.total_uncompressed_size
            column.pages.append((start, part.total_compressed_size))


def _top(path_in_schema: str, columns: dict[str, Column]) -> str:
    """The column of a leaf; names may have dots themselves."""
    parts = path_in_schema.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in columns), parts[0])


def _kind(of: "pa.DataType") -> tuple[str, int]:
    """What a column holds, and the bytes of one value."""
    import pyarrow as pa

    types = pa.types
    of = of.storage_type if isinstance(of, pa.BaseExtensionType) else of
    if types.is_boolean(of) or types.is_integer(of) or types.is_floating(of):
        return NUMBER, max(1, of.bit_width // 8)
    words = of.value_type if types.is_dictionary(of) else of
    if any(is_(words) for is_ in (types.is_string, types.is_large_string, types.is_binary)):
        return TEXT, 4
    if types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of):
        kind, width = _kind(of.value_type)
        return (ROWS, width) if kind == NUMBER else (OTHER, 1)
    return OTHER, 1
