"""Files of cached features: named by what they were computed from, verified before they are used.

A file `KEY.npy` holds float32 [V, N, F], and `KEY.json` its shape and checksum. KEY is a hash of
the weights of the backbone, the options of the data set, the images, and what else features depend
on.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.weights_hash import weights_hash
from vmf_embeddings.untrusted.files import read_text, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object

# options of `arch` that do not change features, or only through the weights, which are hashed
WITHOUT_EFFECT = (
    *("embedding_dim", "n_classes", "use_vmf", "learn_temp", "init_temp", "kappa_confidence"),
    *("normalize", "projection", "frozen", "weights", "pretrained"),
)
N_PROBES = 16  # images whose pixels, as the network gets them, are part of the key
BLOCK = 2**24  # bytes read at once for the checksum


def backbone_hash(arch: Arch) -> str:
    """Hash of all weights and statistics of a backbone, without its embedding layer."""
    state = arch.state_dict().items()
    return weights_hash({k: tensor for k, tensor in state if not k.startswith("projection.")})


def arch_options(node: Any) -> Any:
    """The options of a configuration's `arch` that change the features."""
    params = dict((node or {}).get("params") or {})
    return {key: value for key, value in params.items() if key not in WITHOUT_EFFECT}


def split_parts(split: Split) -> dict[str, Any]:
    """What tells whether the images of a split, without augmentation, are still the same ones.

    The list of images and labels, the pixels of a few as the network gets them, and of files also
    the size and the time of the last change.
    """
    digest = hashlib.sha256()
    for index in np.unique(np.linspace(0, len(split) - 1, N_PROBES).astype(int)).tolist():
        digest.update(split.example(index).cpu().contiguous().numpy().tobytes())
    for path in split.paths or ():
        found = Path(path).stat()
        digest.update(f"{found.st_size} {found.st_mtime_ns};".encode())
    return {"identity": split.identity, "n_images": len(split), "images": digest.hexdigest()}


def key_of(parts: dict[str, Any]) -> str:
    """The name of the file for such parts, 40 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def write(path: Path, chunks: Iterable[Tensor], shape: tuple[int, int, int], about: Any) -> None:
    """Writes features as they are computed; the file gets its name when it is complete.

    Args:
        path: `KEY.npy`; its folder is created.
        chunks: float32 [n, F], together all rows of all copies, in order.
        shape: (V, N, F).
        about: written into `KEY.json`, for people who look at it.

    Raises:
        OSError: the disk is full; no file of that name is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = 0
    # written like any file, not mapped: on a full disk, writing to mapped memory kills the process
    with replacing(path) as part, part.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for chunk in chunks:
            content = chunk.contiguous().numpy().astype("<f4", copy=False).tobytes()
            checksum = zlib.crc32(content, checksum)
            stream.write(content)
    described = {"shape": list(shape), "crc32": checksum, "about": about}
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(described, indent=1) + "\n")


def read(path: Path, shape: tuple[int, int, int], *, verified: bool = False) -> Tensor | None:
    """The features in a file, mapped into memory; None where there is no complete file.

    Args:
        path: `KEY.npy`.
        shape: (V, N, F) that they must have.
        verified: whether the checksum was compared already, by another process.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        array = np.lib.format.open_memmap(path, mode="c")  # of a .npy alone, whatever else it is
        if array.shape != shape or array.dtype != np.dtype("<f4"):
            return None
        described = parse_json_object(read_text(path.with_suffix(".json"), limit=2**20), str(path))
        if not verified and described.get("crc32") != _checksum(path, array.nbytes):
            return None
    except (OSError, ValueError, EOFError):  # missing, cut off, or overwritten
        return None
    return torch.from_numpy(array)


def _checksum(path: Path, n_bytes: int) -> int:
    """CRC-32 of the last `n_bytes` bytes of a file."""
    checksum = 0
    with path.open("rb") as stream:
        stream.seek(-n_bytes, 2)
        while block := stream.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
