"""The embedding file: everything that scores and figures need of one split of one run.

An `.npz` with the keys of the 2021 code (`embeddings ids temp weights logits original_ids
examples`) and, added later, `pictures`, `paths`, `is_query`, `is_gallery` and `meta` (JSON).
Files of 2021 have no `meta` and still load. Nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.embeddings.endings import FOLDER, ends_with
from vmf_embeddings.embeddings.fields import (
    FLOATS,
    KEY_OF_FIELD,
    KINDS_OF_KEY,
    SCHEMA,
    as_array,
    check_shapes,
    numbered,
)
from vmf_embeddings.embeddings.folder import read_folder
from vmf_embeddings.embeddings.npz_writing import write_npz
from vmf_embeddings.embeddings.values import refuse_not_finite
from vmf_embeddings.untrusted.array_maps import lies_in_file
from vmf_embeddings.untrusted.arrays import read_npz
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import META, check_record


@dataclass(frozen=True, eq=False)
class EmbeddingFile:
    """Embeddings of one split with labels and more; N rows, D dimensions, C classes, S samples.

    Args:
        embeddings: [N, D] float32, as `Method.embed` returns them (vMF: norm = concentration).
        ids: [N] int64 class labels. Labels of other types are numbered: as `class_names` of meta
            name them, else in sorted order, which `class_names` then has. None: the labels are
            unknown, as of new images; such a file can be searched, and not scored.
        temperature: exp(tau) = 1 / beta, > 0; 1.0 where the method has no temperature.
        class_weights: [C, D] float32, or None where the method has no class weights.
        logits: [N, C] or [N, S, C] (S draws per item) float32; None for open sets.
        original_ids: [N] labels before they were made contiguous; open sets only.
        examples: [N, ...] the inputs of the network, for small data sets.
        pictures: [N, channels, H, W] uint8 images, where there are no examples.
        paths: [N] file names of the images.
        is_query: [N] bool, query rows; None means all.
        is_gallery: [N] bool, gallery rows; None means all.
        camera: [N] int64, which camera took each image; names are numbered in sorted order.
        sequence: [N] int64, which sequence of images each is from; likewise.
        confidence: [N] float32, >= 0, larger = more confident; `confidence_name` of meta says what
            it is, such as "kappa".
        predicted: [N] names of the training classes that were predicted, or their numbers.
        probability: [N] float32 in [0, 1], of the predicted classes.
        source: [N] int64, of corrupted images: row of the clean image in its own file.
        corruption: [N] name of what was done to each, `clean` for nothing.
        level: [N] float32, how strongly, 0 for clean ones.
        meta: schema, dataset, split, split_hash, train_identity, train_class_counts [C], open_set,
            method, geometry, seed, …; None in files of 2021.
    """

    embeddings: np.ndarray
    ids: np.ndarray | None = None
    temperature: float = 1.0
    class_weights: np.ndarray | None = None
    logits: np.ndarray | None = None
    original_ids: np.ndarray | None = None
    examples: np.ndarray | None = None
    pictures: np.ndarray | None = None
    paths: np.ndarray | None = None
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None
    camera: np.ndarray | None = None
    sequence: np.ndarray | None = None
    confidence: np.ndarray | None = None
    predicted: np.ndarray | None = None
    probability: np.ndarray | None = None
    source: np.ndarray | None = None
    corruption: np.ndarray | None = None
    level: np.ndarray | None = None
    meta: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in KEY_OF_FIELD:
            value = getattr(self, name)
            if value is not None and name != "ids":
                object.__setattr__(self, name, as_array(name, value))
        if self.ids is not None:
            ids, meta = numbered(self.ids, self.meta, has_logits=self.logits is not None)
            object.__setattr__(self, "ids", ids)
            object.__setattr__(self, "meta", meta)
        check_shapes(vars(self))

    @property
    def open_set(self) -> bool:
        """Whether the classes were unseen in training (2021: files of closed sets carry logits)."""
        if self.meta is not None and "open_set" in self.meta:
            return bool(self.meta["open_set"])
        return self.logits is None


def save_embeddings(path: str | Path, file: EmbeddingFile) -> None:
    """Write to a temporary file beside `path` and rename it, so that no reader sees half a file.

    Args:
        path: of the file, usually `<run folder>/<dataset>_<split>.npz`. Its folder is created.
        file: what to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        write_npz(stream, arrays_of(file))


def arrays_of(file: EmbeddingFile) -> dict[str, np.ndarray]:
    """The content of an `.npz` of this package: key -> array; `temp` and `meta` have no axes."""
    arrays = {key: getattr(file, name) for name, key in KEY_OF_FIELD.items()}
    arrays = {key: array for key, array in arrays.items() if array is not None}
    arrays["temp"] = np.asarray(file.temperature, dtype=np.float64)
    if file.meta is not None:
        arrays["meta"] = np.asarray(json.dumps({"schema": SCHEMA, **file.meta}, sort_keys=True))
    return arrays


def load_embeddings(path: str | Path) -> EmbeddingFile:
    """Read an embedding file, of this version or of 2021, without trusting it.

    Nothing is unpickled, sizes in headers are compared with the size of the file before memory is
    allocated (`untrusted.arrays`), and the type of every value of meta is checked
    (`untrusted.records`). Arrays of 16 MiB and more that are stored uncompressed are mapped into
    memory, copy-on-write; whether their numbers are finite is not looked at: see `check_values`.

    Args:
        path: the `.npz`, or a folder `.emb`.

    Returns:
        The content of the file, with shapes and class numbers checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an npz archive or a complete folder, lacks a key, holds Python
            objects, states sizes that it does not have, has a value of the wrong type in meta,
            labels that name no class, numbers that are not finite, or arrays of contradictory
            shapes.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no embedding file {path}; write it with: "
            + typed.command("main", "mode=get_embeddings", typed.override("run", path.parent))
        )
    try:
        if ends_with(path, (FOLDER,)):
            arrays = read_folder(path, KINDS_OF_KEY)
        else:
            arrays = read_npz(path, KINDS_OF_KEY, large_mapped=True)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an embedding file: {error}") from error
    return file_of(arrays, path)


def file_of(arrays: Mapping[str, np.ndarray], path: Path) -> EmbeddingFile:
    """The checked embedding file of what `arrays_of` gave; see `load_embeddings` for errors.

    Args:
        arrays: key -> array, as a stranger may have written them.
        path: where they are from, for messages.
    """
    for key, array in arrays.items():
        if array.dtype.kind not in KINDS_OF_KEY[key]:
            raise ValueError(f"{path}: {key} has the wrong type, {str(array.dtype)[:40]}")
    # new images have no labels: such a file of this package has `temp`, and no `ids`
    for key in ("embeddings",) if {"meta", "temp"} & arrays.keys() else ("embeddings", "ids"):
        if key not in arrays:
            raise ValueError(
                f"{path} has no {key!r}; it holds {sorted(arrays)}: not an embedding file"
            )
    fields: dict[str, Any] = {name: arrays.get(key) for name, key in KEY_OF_FIELD.items()}
    try:
        file = EmbeddingFile(
            **fields, temperature=_temperature(arrays.get("temp")), meta=_meta(arrays.get("meta"))
        )
        check_values(file, mapped=False)
        return file
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_values(file: EmbeddingFile, *, mapped: bool = True) -> None:
    """Raise ValueError for empty arrays, numbers that are not finite, and contradictory classes.

    Args:
        file: the embeddings.
        mapped: whether the numbers of arrays that are mapped into memory are looked at, which
            reads them all.
    """
    for name in FLOATS:
        array = getattr(file, name)
        if array is not None and array.size == 0:
            raise ValueError(f"{name} {list(array.shape)} is empty")
        if array is not None and (mapped or not lies_in_file(array)):
            refuse_not_finite(array, name, allow_minus_infinity=name == "logits")
    most = -1 if file.ids is None else int(file.ids.max())
    if file.logits is not None and not file.open_set and most >= file.logits.shape[-1]:
        raise ValueError(
            f"ids go up to {most}, logits {list(file.logits.shape)} have fewer classes"
        )


def _temperature(array: np.ndarray | None) -> float:
    """exp(tau) as a float; files of 2021 store it as a scalar or as [1, 1]."""
    if array is None:
        return 1.0
    if array.size != 1:
        raise ValueError(f"temp must hold one number, got shape {list(array.shape)}")
    value = float(array.reshape(-1)[0])
    if not 0 < value < np.inf:
        raise ValueError(f"temp must be a number above 0 (the temperature), got {value}")
    return value


def _meta(array: np.ndarray | None) -> dict[str, Any] | None:
    if array is None:
        return None
    if array.shape != ():
        raise ValueError(f"meta must be one text, got shape {list(array.shape)}")
    text = array.item()
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise ValueError(f"meta is not UTF-8 text ({error.reason})") from error
    meta = parse_json_object(text, "meta")
    check_record(meta, META, "meta")
    schema = meta.get("schema")
    if schema is not None and schema > SCHEMA:
        raise ValueError(f"meta has schema {schema}, this version reads up to {SCHEMA}: update")
    return meta
