"""The columns of a Parquet file: what they hold, and what they claim."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.untrusted.parquet_footer import Claims, Footer
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NUMBER, TEXT, ROWS, OTHER = "number", "text", "rows", "other"
_MOST_COLUMNS = 100_001


@dataclass(frozen=True)
class Column:
    """A column of a file.

    Args:
        name: of the column.
        kind: `NUMBER` (numbers, booleans), `TEXT`, `ROWS` (lists of numbers), or `OTHER`.
        words: its type as Arrow calls it, for messages.
        width: bytes of one value; of texts, of the number that stands for one.
        claims: what the footer says of its values.
    """

    name: str
    kind: str
    words: str
    width: int
    claims: Claims


def columns_of(file: "pq.ParquetFile", footer: Footer, path: str | Path) -> dict[str, Column]:
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
    claims = {parts[0]: one for parts, one in footer.columns.items()}
    found: dict[str, Column] = {}
    for one in schema:
        if one.name in found:
            raise Refused(f"{path} has two columns called {printable(one.name)[:60]!r}")
        kind, width = _kind(one.type)
        if kind != OTHER and one.name not in claims:
            raise Refused(f"{path}: its footer is damaged: nothing is said of "
                          f"{printable(one.name)[:60]!r}")  # fmt: skip
        found[one.name] = Column(
            one.name, kind, str(one.type)[:80], width, claims.get(one.name, Claims())
        )
    return found


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
