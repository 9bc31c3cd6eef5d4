"""Embeddings in files: the file that training writes and evaluation reads, and foreign ones.

Every name in `__all__` is imported when it is first used, so that the names of splits and endings
of files cost nothing.
"""

from typing import TYPE_CHECKING

from vmf_embeddings.lazy import lazy_exports

if TYPE_CHECKING:
    from vmf_embeddings.embeddings.file import (
        SCHEMA,
        EmbeddingFile,
        check_values,
        load_embeddings,
        save_embeddings,
    )
    from vmf_embeddings.embeddings.foreign import Found, read, read_with_notes
    from vmf_embeddings.embeddings.labels import integer_labels
    from vmf_embeddings.embeddings.names import canonical_split
    from vmf_embeddings.embeddings.opened import OpenedFile, open_embeddings
    from vmf_embeddings.embeddings.parquet import save_parquet
    from vmf_embeddings.embeddings.values import as_flags
    from vmf_embeddings.embeddings.writing import write

__all__ = [
    "SCHEMA",
    "EmbeddingFile",
    "Found",
    "OpenedFile",
    "as_flags",
    "canonical_split",
    "check_values",
    "integer_labels",
    "load_embeddings",
    "open_embeddings",
    "read",
    "read_with_notes",
    "save_embeddings",
    "save_parquet",
    "write",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "file": ("SCHEMA", "EmbeddingFile", "check_values", "load_embeddings", "save_embeddings"),
        "foreign": ("Found", "read", "read_with_notes"),
        "labels": ("integer_labels",),
        "names": ("canonical_split",),
        "opened": ("OpenedFile", "open_embeddings"),
        "parquet": ("save_parquet",),
        "values": ("as_flags",),
        "writing": ("write",),
    },
)
