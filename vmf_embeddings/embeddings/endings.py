"""The endings of the names of files that hold embeddings."""

from pathlib import Path

FOLDER = ".emb"
"""Folders of `.npy` files, which can be written and read in parts."""
KEYED = (".npz", ".safetensors", ".parquet", FOLDER)
"""Files of arrays or columns by name."""
ARRAYS = (".npz", ".npy", ".parquet", ".safetensors", FOLDER)
TEXT_TABLES = (".csv", ".tsv")
TABLES = (*TEXT_TABLES, *(f"{ending}.gz" for ending in TEXT_TABLES))
READ = (*ARRAYS, *TABLES)
"""All that are read."""
WRITTEN = (".npz", ".parquet", ".safetensors", ".csv", ".npy", FOLDER)


def is_stored(path: Path) -> bool:
    """Whether a path is a file, or a folder of embeddings by its ending."""
    return path.is_file() or (path.is_dir() and ends_with(path, (FOLDER,)))


def ends_with(path: str | Path, endings: tuple[str, ...]) -> bool:
    """Whether the name of a file has one of some endings, in any case of letters.

    >>> ends_with("a/B.CSV.gz", TABLES), ends_with("a.csv.gz", TEXT_TABLES)
    (True, False)
    """
    return Path(path).name.lower().endswith(endings)
