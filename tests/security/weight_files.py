"""Files of weights as a stranger would forge them, byte by byte."""

import os
import pickle
import zipfile
from pathlib import Path


class Attack:
    """Unpickling this would create a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


def plain(value: object) -> bytes:
    """Instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def name(dotted: str) -> bytes:
    """Pushes what `module:name` stands for."""
    return b"c" + dotted.replace(":", "\n").encode() + b"\n"


def call(dotted: str, *arguments: bytes) -> bytes:
    """Calls `module:name` with what the arguments push."""
    return name(dotted) + b"(" + b"".join(arguments) + b"tR"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def storage(n_items: int, key: str = "0", kind: str = "FloatStorage", view: bytes = b"") -> bytes:
    parts = plain("storage") + name(f"torch:{kind}") + plain(key) + plain("cpu") + plain(n_items)
    return b"(" + parts + view + b"tQ"


NO_HOOKS = call("collections:OrderedDict")


def tensor(
    of: bytes,
    *,
    offset: int = 0,
    shape: tuple = (2,),
    strides: tuple = (1,),
    hooks: bytes = NO_HOOKS,
    more: bytes = b"",
) -> bytes:
    arguments = (of, plain(offset), plain(shape), plain(strides), plain(False), hooks, more)
    return call("torch._utils:_rebuild_tensor_v2", *arguments)


def state(value: bytes) -> bytes:
    """A dict of one key."""
    return b"}" + plain("w") + value + b"s"


def archive(
    path: Path,
    body: bytes,
    storages: tuple[bytes, ...] = (bytes(8),),
    *,
    compression: int = zipfile.ZIP_STORED,
    others: tuple[str, ...] = (),
    protocol: bytes | None = None,
) -> Path:
    """Writes a file as torch.save does, of any pickle and any storages."""
    with zipfile.ZipFile(path, "w", compression) as made:
        made.writestr("archive/data.pkl", program(body) if protocol is None else protocol)
        for number, content in enumerate(storages):
            made.writestr(f"archive/data/{number}", content)
        made.writestr("archive/version", "3\n")
        for other in others:
            made.writestr(other, b"80")
    return path


def legacy(path: Path, body: bytes, keys: tuple[str, ...] = (), content: bytes = b"") -> Path:
    """Writes a file in torch's format of before 2020."""
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    heads = (0x1950A86A20F9469CFC6C, 1001, sizes)
    parts = [pickle.dumps(head, 2) for head in heads]
    path.write_bytes(b"".join([*parts, program(body), pickle.dumps(list(keys), 2), content]))
    return path
