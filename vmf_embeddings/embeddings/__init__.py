"""Embeddings in files: the file that training writes and evaluation reads, and foreign ones."""

from vmf_embeddings.embeddings.file import (
    SCHEMA,
    EmbeddingFile,
    load_embeddings,
    save_embeddings,
)
from vmf_embeddings.embeddings.foreign import read, write
from vmf_embeddings.embeddings.labels import integer_labels

__all__ = [
    "SCHEMA",
    "EmbeddingFile",
    "integer_labels",
    "load_embeddings",
    "read",
    "save_embeddings",
    "write",
]
