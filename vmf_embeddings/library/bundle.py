"""A trained run as one file that can be sent: weights, configuration, transform, class names.

A `.zip` without compression of `run.json` (plain values), `weights.safetensors` (nothing but
numbers) and `README.txt`. Reading one runs no code of it.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vmf_embeddings.untrusted.bundles import read_parts
from vmf_embeddings.untrusted.files import TEXT_LIMIT, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import META, Kind, check_record
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import bytes_of_safetensors, safetensors_of_bytes

ENDING = ".zip"
SCHEMA = 1
VALUES, WEIGHTS, NOTE = "run.json", "weights.safetensors", "README.txt"
_LARGEST = {VALUES: TEXT_LIMIT, WEIGHTS: 2**40, NOTE: 2**20}
_OF_CHECKPOINT = ("epoch", "best_epoch", "selected_on", "n_classes", "class_names",
                  "image_transform")  # fmt: skip
_KINDS = {"schema": META["schema"],
          "config": Kind("a JSON object", lambda value: isinstance(value, dict))}  # fmt: skip
_NOTE = """A trained run of vmf_embeddings. In Python:

    import vmf_embeddings as vmf
    run = vmf.load("{name}")
    embeddings = run.embed("folder of images")

or: vmf-embeddings embed {name} FOLDER -o embeddings.npz
"""


def write_bundle(
    path: str | Path, values: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Writes a bundle under a temporary name and renames it.

    Args:
        path: of the file, ending in `.zip`.
        values: `config`, `class_names`, `image_transform`, … of the run, as JSON values.
        weights: name -> tensor.
    """
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    parts = {
        VALUES: json.dumps({"schema": SCHEMA, **values}, indent=1).encode(),
        WEIGHTS: bytes_of_safetensors(own),
        NOTE: _NOTE.format(name=Path(path).name).encode(errors="replace"),
    }
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            # a date of its own would give the same run another file every time
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def read_bundle(path: str | Path) -> dict[str, Any]:
    """The content of a bundle, with the keys of a checkpoint; their values are not checked yet.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no bundle, or one of a later version.
    """
    parts = read_parts(path, _LARGEST)
    try:
        text = parts[VALUES].decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{VALUES} in {path} is not UTF-8 text") from error
    values = parse_json_object(text, f"{VALUES} in {path}")
    try:
        check_record(values, _KINDS, f"{VALUES} in {path}")
    except ValueError as error:
        raise Refused(str(error)) from error
    if values.get("config") is None or values.get("schema") is None:
        raise Refused(f"{VALUES} in {path} states no schema or no config: it is no bundle")
    if values["schema"] > SCHEMA:
        raise Refused(f"{path} has schema {values['schema']}, this version reads up to {SCHEMA}: "
                      "update")  # fmt: skip
    state = {key: values[key] for key in _OF_CHECKPOINT if values.get(key) is not None}
    # a key that is there and null: nothing states how images become inputs
    state.setdefault("image_transform", None)
    weights = safetensors_of_bytes(parts[WEIGHTS], f"{WEIGHTS} in {path}")
    return {**state, "config": json.dumps(values["config"]), "method_state_dict": weights}
