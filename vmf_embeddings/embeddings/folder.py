"""Folders of embeddings, as `folder_writing` writes them: the arrays of an `.npz` in files."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vmf_embeddings.untrusted.array_folder import open_folder

_LARGEST = sys.float_info.max


def read_folder(path: str | Path, wanted: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Arrays of a folder, with `temp` and `meta` as an `.npz` has them; see `arrays.read_npz`.

    Args:
        path: of the folder.
        wanted: key -> kinds of dtype that it may have.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is not complete, or its files are not as its `meta.json` says.
    """
    folder = open_folder(path, wanted)
    arrays = {key: folder.read(key, wanted[key]) for key in folder.arrays}
    temperature, meta = folder.record.get("temperature", 1.0), folder.record.get("meta")
    if type(temperature) not in (int, float) or abs(temperature) > _LARGEST:
        raise ValueError("temperature in meta.json must be a number, at most 1.8e308")
    arrays["temp"] = np.asarray(temperature, dtype=np.float64)
    if meta is not None:
        arrays["meta"] = np.asarray(json.dumps(meta))
    return arrays
