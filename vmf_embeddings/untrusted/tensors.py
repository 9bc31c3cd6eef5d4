"""Reading weights from others: the only place that calls `torch.load` or safetensors.

A file of weights may hold tensors and plain values (numbers, texts, lists and dicts of them). What
it claims is checked first, by readers that take no memory: `torch_zip` for the archive, `pickles`
for what lies in it. Then torch reads the same open file with `weights_only=True`.
"""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.numpy_scalars import KindOfNumber, number
from vmf_embeddings.untrusted.pickles import LARGEST_PICKLE, check_legacy, check_pickle
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.safetensors_arrays import check_header
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.torch_zip import pickle_and_sizes

_ZIP = b"PK\3\4"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number of old files
_SAFE_GLOBALS = [
    (KindOfNumber, "numpy.dtype"),
    (number, "numpy.core.multiarray.scalar"),
    (number, "numpy._core.multiarray.scalar"),
]
_BROKEN = (
    *(pickle.UnpicklingError, RuntimeError, ValueError, TypeError, AttributeError),
    *(LookupError, EOFError, OverflowError, OSError, AssertionError, struct.error),
    tarfile.TarError,
)


def read_tensors(path: str | Path) -> Any:
    """What a file by `torch.save` holds, on the CPU; no code of it is run.

    Args:
        path: of the file, in today's format or in that of before 2020.

    Returns:
        Tensors and plain values: numbers, texts, lists, tuples and dicts of them. NumPy's float64,
        float32 and int64 numbers are read too, which checkpoints of 2021 hold.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no such file, holds something else, or claims sizes that it does not have.
    """
    with open_regular(path) as stream:
        try:
            _check(stream)
            stream.seek(0)
            with torch.serialization.safe_globals(_SAFE_GLOBALS):
                return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
        except _BROKEN as error:
            raise Refused(f"{path} was not loaded: {printable(str(error)[:500])}") from error


def _check(stream: BinaryIO) -> None:
    """Looks through a file by torch.save before torch reads it."""
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(len(_LEGACY))
    stream.seek(0)
    if start.startswith(_ZIP):
        part, sizes = pickle_and_sizes(stream, size)
        if part.file_size > LARGEST_PICKLE:
            raise Refused(f"its data.pkl has {part.file_size} bytes, at most {LARGEST_PICKLE}")
        check_pickle(io.BytesIO(_content(stream, part.filename)), sizes, size)
    elif start == _LEGACY:
        check_legacy(io.BytesIO(stream.read(LARGEST_PICKLE)), size)
    else:
        raise Refused("it is no file by torch.save (nor may it be a .tar of before 2017)")


def _content(stream: BinaryIO, name: str) -> bytes:
    try:
        with zipfile.ZipFile(stream) as archive:
            return archive.read(name)
    except zipfile.BadZipFile as error:
        raise Refused(f"its part {printable(name[:80])} is damaged: {printable(error)}") from error


def bytes_of_safetensors(state: dict[str, Tensor]) -> bytes:
    """The content of a `.safetensors` file with these tensors."""
    import safetensors.torch

    return safetensors.torch.save(state)


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, by name, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: its header is not one, or claims sizes that the file does not have.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with open_regular(path) as stream:
        check_header(stream, os.fstat(stream.fileno()).st_size, str(path))
    try:
        return load_file(path)
    except (SafetensorError, *_BROKEN) as error:
        raise Refused(f"{path} was not loaded: {printable(str(error)[:500])}") from error


def safetensors_of_bytes(content: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of the content of a `.safetensors` file, by name, on the CPU.

    Raises:
        Refused: its header is not one, or claims sizes that the content does not have.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    check_header(io.BytesIO(content), len(content), source)
    try:
        return load(content)
    except (SafetensorError, *_BROKEN) as error:
        raise Refused(f"{source} was not loaded: {printable(str(error)[:500])}") from error
