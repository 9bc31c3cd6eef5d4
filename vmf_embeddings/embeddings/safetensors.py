"""Embedding files as `.safetensors`: numbers as tensors, texts as metadata.

The keys are those of the `.npz`. Arrays of texts (`paths`) are lists in the JSON of the metadata
`texts`; `meta` is a text of its own.
"""

import json
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings.fields import KINDS_OF_KEY
from vmf_embeddings.embeddings.file import EmbeddingFile, arrays_of, file_of
from vmf_embeddings.embeddings.keyed import MARK
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.safetensors_arrays import map_tensor, read_header, write_arrays

_VERSION = "1"


def save_safetensors(path: Path, file: EmbeddingFile) -> None:
    """Writes everything that `file` holds.

    Raises:
        ValueError: an array has a type that the format has not, or the texts exceed 100 MB.
    """
    arrays = arrays_of(file)
    texts = {key: array.tolist() for key, array in arrays.items() if array.dtype.kind == "U"}
    metadata = {MARK: _VERSION}
    if "meta" in texts:
        metadata["meta"] = texts.pop("meta")
    if texts:
        metadata["texts"] = json.dumps(texts)
    numbers = {key: array for key, array in arrays.items() if array.dtype.kind != "U"}
    write_arrays(path, numbers, metadata)


def load_safetensors(path: Path) -> EmbeddingFile:
    """Reads what `save_safetensors` wrote, without trusting it; see `load_embeddings`."""
    header = read_header(path)
    arrays = {
        key: np.array(map_tensor(path, key, tensor))
        for key, tensor in header.tensors.items()
        if key in KINDS_OF_KEY
    }
    source = f"texts of {path}"
    for key, words in parse_json_object(header.metadata.get("texts", "{}"), source).items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{source}: expected a list of texts per key")
        if key in KINDS_OF_KEY:
            arrays[key] = np.array(words, dtype=np.str_)
    if "meta" in header.metadata:
        arrays["meta"] = np.array(header.metadata["meta"])
    return file_of(arrays, path)
