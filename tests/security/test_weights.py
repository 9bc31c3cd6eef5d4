"""Files of weights run no code, and take no more memory than they have bytes."""

import ast
import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vmf_embeddings
from tests.security.weight_files import (
    NO_HOOKS,
    Attack,
    archive,
    call,
    legacy,
    name,
    plain,
    state,
    storage,
    tensor,
)
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import read_safetensors, read_tensors

PACKAGE = Path(vmf_embeddings.__file__).parent


def states() -> dict:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2))
    net(torch.rand(2, 1, 4, 4)).sum().backward()
    optimizer = torch.optim.Adam(net.parameters())
    optimizer.step()
    return {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "view": torch.arange(6.0).view(2, 3).T,
        "empty": torch.zeros(0, 3),
        "half": torch.ones((), dtype=torch.bfloat16),
        "parameter": net[0].weight,
        "numbers": [np.float64(0.5), np.float32(0.25), np.int64(-3), float("nan"), None, True, "ä"],
    }


@pytest.mark.parametrize("today", (True, False), ids=("zip", "legacy"))
def test_what_torch_saves_of_a_training_is_read(tmp_path, today):
    saved = states()
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=today)
    loaded = read_tensors(tmp_path / "w.pt")
    assert all(torch.equal(loaded["net"][k], v) for k, v in saved["net"].items())
    assert torch.equal(loaded["view"], saved["view"])
    assert repr(loaded["numbers"]) == repr(saved["numbers"])
    moments = loaded["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(moments, saved["optimizer"]["state"][0]["exp_avg"])
    assert loaded["net"]._metadata["1"] == {"version": 2}


def test_parameters_written_before_2018_are_read(tmp_path):
    old = call(
        "torch._utils:_rebuild_tensor",
        *(storage(2), plain(0), plain((2,)), plain((1,))),
    )
    hooks = b"(" + plain(True) + plain(False) + NO_HOOKS + b"t"
    parameter = call("torch.nn.parameter:Parameter", old) + hooks + b"b"
    assert read_tensors(archive(tmp_path / "w.pt", state(parameter)))["w"].tolist() == [0, 0]


def code(path: Path) -> dict[str, bytes]:
    """Pickles, of which each would make a folder, or let a later one."""
    there = plain(str(path))
    return {
        "REDUCE": state(call("os:mkdir", there)),
        "posix": state(call("posix:mkdir", there)),
        "dotted": state(call("torch.serialization:os.mkdir", there)),
        "of pathlib": state(call("os:makedirs", there)),
        "eval": state(call("__builtin__:eval", plain(f"__import__('os').mkdir({str(path)!r})"))),
        "exec": state(call("builtins:exec", plain(f"import os; os.mkdir({str(path)!r})"))),
        "getattr": state(call("builtins:getattr", name("os:path"), plain("os"))),
        "partial": state(call("functools:partial", name("os:mkdir"), there)),
        "copyreg": state(call("copyreg:_reconstructor", name("os:mkdir"), name("os:mkdir"))),
        "INST": b"(" + there + b"ios\nmkdir\n",
        "OBJ": b"(" + name("os:mkdir") + there + b"o",
        "NEWOBJ": name("os:mkdir") + b"(" + there + b"t\x81",
        "EXT": b"\x82\x01",
        "STACK_GLOBAL": pickle.dumps(Attack(path), 4)[2:-1],
        "pickle in bytes": state(call("torch.storage:_load_from_bytes", plain("x"))),
        "torch.load": state(call("torch.serialization:load", there)),
        "TorchScript": state(call("torch.jit:load", there)),
        "hub": state(call("torch.hub:load", there, plain("x"))),
        "compiler": state(call("torch._inductor.codecache:PyCodeCache.load", there)),
        "type": state(call("torch._tensor:_rebuild_from_type_v2", name("os:mkdir"), there)),
        "numpy array": state(call("numpy.core.multiarray:_reconstruct", name("numpy:ndarray"))),
        "dtype of objects": state(call("numpy:dtype", plain("O8"), plain(False), plain(True))),
        "structured dtype": state(call("numpy:dtype", plain("V8"), plain(False), plain(True))),
        "dtype by text": state(call("numpy:dtype", plain("f8,O"), plain(False), plain(True))),
        "codec": state(call("_codecs:encode", plain("x"), plain("rot13"))),
        "hooks": state(tensor(storage(2), hooks=call("os:mkdir", there))),
        "hooks of a dict": state(
            tensor(storage(2), hooks=NO_HOOKS + plain(1) + name("os:mkdir") + b"s")
        ),
        "metadata": state(tensor(storage(2), more=call("os:mkdir", there))),
        "shape": state(call("torch:Size", call("os:mkdir", there))),
        "set_ of a tensor": state(tensor(storage(2)) + plain((1, 2, 3, 4)) + b"b"),
        "BUILD of a storage": state(storage(2) + plain({"dtype": 1}) + b"b"),
        "BUILD of a function": state(name("torch._utils:_rebuild_tensor_v2") + plain({}) + b"b"),
        "BUILD of a dict": state(NO_HOOKS + plain({"keys": 1}) + b"b"),
        "class as a value": state(name("collections:OrderedDict")),
        "other persistent id": plain(("module", "x", "y", "z")) + b"Q",
        "text as persistent id": plain("storage") + b"Q",
        "PERSID": b"Pstorage\n",
    }


@pytest.mark.parametrize("write", (archive, legacy))
@pytest.mark.parametrize("guise", code(Path("x")))
def test_code_under_every_guise_is_refused_and_not_run(tmp_path, guise, write):
    mark = tmp_path / "executed"
    path = write(tmp_path / "w.pt", code(mark)[guise])
    with pytest.raises(Refused, match=r"w\.pt was not loaded: "):
        read_tensors(path)
    assert not mark.exists()


def doubled(levels: int) -> list:
    """A list that holds a list twice, which holds a list twice, and so on."""
    value: list = []
    for _ in range(levels):
        value = [value, value]
    return value


BOMBS = {
    "bytes": call("builtins:bytearray", plain(10**11)),
    "tensor": call("torch:Tensor", plain(10**11)),
    "float tensor": call("torch:FloatTensor", plain(10**11)),
    "storage": call("torch.storage:UntypedStorage", plain(10**11)),
    "meta tensor": call("torch._utils:_rebuild_meta_tensor_no_storage", plain(1)),
    "sparse": call("torch._utils:_rebuild_sparse_tensor", plain(1), plain(2)),
    "counter": call("collections:Counter", plain("x")),
    "storage beyond its part": tensor(storage(3)),
    "storage short of its part": tensor(storage(1), shape=(1,)),
    "other item size": tensor(storage(2, kind="DoubleStorage")),
    "storage of 10^18": tensor(storage(10**18)),
    "negative storage": tensor(storage(-2)),
    "no such storage": tensor(storage(2, key="7")),
    "storage in another folder": tensor(storage(2, key="../version")),
    "beyond the storage": tensor(storage(2), shape=(3,)),
    "strides beyond": tensor(storage(2), strides=(2,)),
    "offset beyond": tensor(storage(2), offset=1),
    "negative offset": tensor(storage(2), offset=-1),
    "negative strides": tensor(storage(2), strides=(-1,)),
    "huge by strides 0": tensor(storage(2), shape=(10**12,), strides=(0,)),
    "shape of 10^30": tensor(storage(2), shape=(10**30,), strides=(0,)),
    "shape and strides differ": tensor(storage(2), strides=(1, 1)),
    "thousand axes": tensor(storage(2), shape=(1,) * 1000, strides=(1,) * 1000),
    "text for a shape": tensor(storage(2), shape="ab", strides="ab"),
    "memo with gaps": plain(1) + b"r" + struct.pack("<I", 2**32 - 1),
    "nested": b"]" * 100_000 + b"a" * 99_999,
    "self": b"]q\x00h\x00a",
    "doubled": plain(doubled(80)),
    "long text": b"X" + struct.pack("<I", 2**32 - 1) + b"x",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_claims_beyond_the_file_are_refused_before_memory_is_taken(tmp_path, bomb):
    with pytest.raises(Refused, match=r"w\.pt was not loaded: "):
        read_tensors(archive(tmp_path / "w.pt", state(BOMBS[bomb])))


def test_huge_storage_of_the_old_format_is_refused(tmp_path):
    body = state(tensor(storage(10**9, view=plain(None)), shape=(10**9,)))
    with pytest.raises(Refused, match="claims 4000000000 bytes"):
        read_tensors(legacy(tmp_path / "w.pt", body, ("0",), bytes(8)))


def test_views_of_storages_in_the_old_format_are_refused(tmp_path):
    body = state(tensor(storage(2, view=plain(("1", 10**9, 10**9)))))
    with pytest.raises(Refused, match="a storage"):
        read_tensors(legacy(tmp_path / "w.pt", body, ("0",), struct.pack("<q", 2) + bytes(8)))


def test_compressed_parts_are_refused(tmp_path):
    body = state(tensor(storage(2**22), shape=(2**22,)))
    path = archive(tmp_path / "w.pt", body, (bytes(2**24),), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(Refused, match="compressed or encrypted"):
        read_tensors(path)


GOOD = state(tensor(storage(2)))


@pytest.mark.parametrize(
    "other",
    (
        *("archive/constants.pkl", "archive/code/__torch__.py", "archive/data/0", "other/data/0"),
        *("archive/../../x", "/etc/x", "archive/DATA.PKL", "archive/data/x", "archive/.data/y"),
    ),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_parts_that_torch_does_not_write_are_refused(tmp_path, other):
    with pytest.raises(Refused, match=r"it has a part|two of its parts"):
        read_tensors(archive(tmp_path / "w.pt", GOOD, others=(other,)))


def test_forged_archive_without_its_forgery_is_read(tmp_path):
    assert read_tensors(archive(tmp_path / "w.pt", GOOD))["w"].tolist() == [0, 0]


def test_archive_behind_other_bytes_or_with_two_directories_is_refused(tmp_path):
    content = archive(tmp_path / "w.pt", GOOD).read_bytes()
    for forged in (b"PK\3\4" + content, content + content, content + b"x", content[:-30]):
        (tmp_path / "w.pt").write_bytes(forged)
        with pytest.raises(Refused, match=r"w\.pt was not loaded"):
            read_tensors(tmp_path / "w.pt")


def test_directory_that_claims_more_than_the_file_has_is_refused(tmp_path):
    content = bytearray(archive(tmp_path / "w.pt", GOOD).read_bytes())
    entry = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)  # of data/0
    content[entry + 20 : entry + 28] = struct.pack("<LL", 2**31, 2**31)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(Refused, match="claim"):
        read_tensors(tmp_path / "w.pt")


def test_archives_of_other_kinds_are_refused(tmp_path):
    torch.save(states(), buffer := io.BytesIO())
    with tarfile.open(tmp_path / "w.pt", "w") as tar:
        info = tarfile.TarInfo("pickle")
        info.size = len(content := pickle.dumps(Attack(tmp_path / "executed")))
        tar.addfile(info, io.BytesIO(content))
    for forged in ((tmp_path / "w.pt").read_bytes(), b"", b"\x80\x02", b"\x1f\x8b" + buffer.read()):
        (tmp_path / "w.pt").write_bytes(forged)
        with pytest.raises(Refused, match="no file by torch"):
            read_tensors(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Attack(tmp_path / "executed")))
    with pytest.raises(Refused, match="no file by torch"):
        read_tensors(tmp_path / "w.pt")
    assert not (tmp_path / "executed").exists()


def test_scripted_modules_are_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(Refused, match="TorchScript"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("read", (read_tensors, read_safetensors))
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(Refused, match="not a regular file"):
            read(path)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_weights_are_read_in_one_file_alone(path):
    if path == PACKAGE / "untrusted" / "tensors.py":
        return
    reads = {"torch.load", "torch.jit.load", "torch.hub.load", "safetensors.torch"}
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Attribute) or ast.unparse(node) not in reads
        assert not isinstance(node, ast.ImportFrom) or node.module not in reads
