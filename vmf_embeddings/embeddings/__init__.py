"""The embedding file: what training writes and evaluation reads."""

from vmf_embeddings.embeddings.file import (
    SCHEMA,
    EmbeddingFile,
    load_embeddings,
    save_embeddings,
)

__all__ = ["SCHEMA", "EmbeddingFile", "load_embeddings", "save_embeddings"]
