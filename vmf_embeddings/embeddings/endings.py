"""The endings of the names of files that hold embeddings."""

from pathlib import Path

KEYED = (".npz", ".safetensors", ".parquet")
"""Files of arrays or columns by name."""
ARRAYS = (".npz", ".npy", ".parquet", ".safetensors")
TEXT_TABLES = (".csv", ".tsv")
TABLES = (*TEXT_TABLES, *(f"{ending}.gz" for ending in TEXT_TABLES))
READ = (*ARRAYS, *TABLES)
"""All that are read."""
WRITTEN = (".npz", ".parquet", ".safetensors", ".csv", ".npy")


def ends_with(path: str | Path, endings: tuple[str, ...]) -> bool:
    """Whether the name of a file has one of some endings, in any case of letters.

    >>> ends_with("a/B.CSV.gz", TABLES), ends_with("a.csv.gz", TEXT_TABLES)
    (True, False)
    """
    return Path(path).name.lower().endswith(endings)
