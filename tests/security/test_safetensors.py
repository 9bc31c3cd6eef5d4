"""A forged header of a `.safetensors` file is refused by name."""

import json
import pickle
import struct

import pytest

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import read_safetensors


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def entry(shape: list[int], offsets: list[int]) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": offsets}


SAFETENSORS = {
    "empty": b"",
    "short": b"abc",
    "length beyond": header(b"{}", 2**63),
    "length of a hundred megabytes": header(b"{}", 10**8),
    "no JSON": header(b"{"),
    "no text": header(b"\xff\xfe"),
    "a list": header(b"[]"),
    "nested": header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "offsets beyond": header(json.dumps({"w": entry([2], [0, 8])}).encode()),
    "offsets backwards": header(json.dumps({"w": entry([2], [8, 0])}).encode()) + bytes(8),
    "huge shape": header(json.dumps({"w": entry([2**40, 2**40], [0, 8])}).encode()) + bytes(8),
    "negative shape": header(json.dumps({"w": entry([-2], [0, 8])}).encode()) + bytes(8),
    "other size": header(json.dumps({"w": entry([3], [0, 8])}).encode()) + bytes(8),
    "hole": header(json.dumps({"w": entry([1], [4, 8])}).encode()) + bytes(8),
    "same name twice": header(
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    )
    + bytes(8),
    "unknown dtype": header(b'{"w":{"dtype":"O","shape":[1],"data_offsets":[0,4]}}') + bytes(4),
    "a pickle": pickle.dumps([1, 2]),
}


@pytest.mark.parametrize("forgery", SAFETENSORS)
def test_safetensors_with_a_forged_header_are_refused_by_name(tmp_path, forgery):
    (tmp_path / "w.safetensors").write_bytes(SAFETENSORS[forgery])
    with pytest.raises(Refused, match=r"w\.safetensors"):
        read_safetensors(tmp_path / "w.safetensors")
