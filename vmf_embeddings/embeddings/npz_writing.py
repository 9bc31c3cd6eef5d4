"""Writes `.npz` archives whose arrays can be mapped into memory where they lie."""

import struct
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

_ALIGNED_TO = 64  # bytes, as NumPy aligns the values behind the header of an array
_PADDING = 0xD935  # a field of zip headers that stands for nothing; `zipalign` uses the same
_LOCAL_HEADER = 30  # bytes before the name of a member
_ZIP64 = 20  # bytes of the sizes of a member that may be larger than 4 GiB


def write_npz(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as `np.savez` does, uncompressed, each at a multiple of 64 bytes.

    Args:
        stream: to write to, at its beginning.
        arrays: name -> array of plain values.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy")
            before = stream.tell() + _LOCAL_HEADER + len(entry.filename.encode()) + _ZIP64
            n_padding = -(before + 4) % _ALIGNED_TO
            entry.extra = struct.pack("<HH", _PADDING, n_padding) + bytes(n_padding)
            with archive.open(entry, "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)
