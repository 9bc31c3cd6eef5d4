"""Changes that damage files and values, each drawn from a generator with a fixed seed."""

import copy
import io
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "nan", "1e3", "1_0", "01", "true"),
    *("null", "é", "日本", "\u202eabc", "a\nb", "\x00", "\x1b[31m", "a" * 5000, "../../etc", "~"),
    *("${oc.env:HOME}", "${name}", "!!python/object:os.system", "{a: b", "[", "'", "a=b", "#", ","),
    *([], [1, "a"], [[[]]], {}, {"": 1}, {"a": {"b": {}}}, {"_target_": "os.getcwd"}),
)
ENCODINGS = ("utf-16", "utf-32", "latin-1", "utf-8-sig", "cp037")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, cut off, left out, doubled, or put in between."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + rng.choice((1, 4, 100, 10_000)))
    return rng.choice((
        _flipped(data, rng, rng.choice((1, 3, 20)), len(data)),
        _flipped(data, rng, 1, 128),  # where formats keep their headers
        data[:a],
        data[:a] + data[b:],
        data[:b] + data[a:],
        data[:a] + rng.randbytes(rng.choice((1, 2, 64))) + data[a:],
        data[:a] + bytes(b - a) + data[b:],
        b"",
    ))  # fmt: skip


def _flipped(data: bytes, rng: random.Random, n: int, end: int) -> bytes:
    """The bytes with one bit of `n` of the first `end` flipped."""
    changed = bytearray(data)
    for _ in range(n if data else 0):
        changed[rng.randrange(min(len(data), end))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Paths to every value within nested dicts and lists."""
    items = (
        tree.items() if isinstance(tree, dict)
        else enumerate(tree) if isinstance(tree, list) else ()
    )  # fmt: skip
    found = []
    for key, value in items:
        found += [(*path, key), *places(value, (*path, key))]
    return found


def changed_tree(tree: Any, rng: random.Random) -> Any:
    """Nested dicts and lists with one to three of their values or keys changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        where = places(tree)
        if not where:
            break
        *to, key = rng.choice(where)
        node = tree
        for step in to:
            node = node[step]
        _change_child(node, key, rng)
    return tree


def _change_child(node: Any, key: Any, rng: random.Random) -> None:
    kind = rng.choice(("value", "value", "value", "delete", "rename", "swap", "wrap", "text"))
    if kind == "delete":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        name = rng.choice((f"{key}x", str(key).upper(), "", "é", f" {key}", "__class__", "7"))
        node[name] = node.pop(key)
    elif kind == "swap":
        other = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[key], node[other] = node[other], node[key]
    elif kind == "wrap":
        node[key] = rng.choice(([node[key]], {"a": node[key]}))
    elif kind == "text":
        node[key] = str(node[key])
    else:
        node[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def changed_arrays(arrays: dict[str, np.ndarray], rng: random.Random) -> dict[str, np.ndarray]:
    """Arrays by name with one to two of them changed in type, shape, values or name."""
    arrays = dict(arrays)
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(sorted(arrays))
        change = rng.choice(ARRAY_CHANGES)
        if change is _without:
            del arrays[key]
        elif change is _renamed:
            arrays[rng.choice((f"{key}x", key.upper(), "features", "é", "labels", "split"))] = (
                arrays.pop(key)
            )
        elif change is _swapped:
            other = rng.choice(sorted(arrays))
            arrays[key], arrays[other] = arrays[other], arrays[key]
        else:
            arrays[key] = change(np.array(arrays[key]), rng)
    return arrays


def _without(array: np.ndarray, rng: random.Random) -> np.ndarray: ...


def _renamed(array: np.ndarray, rng: random.Random) -> np.ndarray: ...


def _swapped(array: np.ndarray, rng: random.Random) -> np.ndarray: ...


def _retyped(array: np.ndarray, rng: random.Random) -> np.ndarray:
    names = ("f2", "f4", "f8", ">f8", "i1", "u8", "i8", "c16", "?", "U", "S", "M8[s]", "m8[s]", "O",
             "V4", "g")  # fmt: skip
    try:
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(names))
    except (ValueError, TypeError):
        return np.array(["x"] * max(len(np.atleast_1d(array)), 1))


def _reshaped(array: np.ndarray, rng: random.Random) -> np.ndarray:
    rows = np.atleast_1d(array)
    return rng.choice((
        array.reshape(-1), array[None], array[..., None], rows[..., :0], rows[:0], rows[:-1],
        array.T, np.array(0.0), np.zeros((0, 0)), np.concatenate([rows, rows]), rows[..., :1],
    ))  # fmt: skip


def _revalued(array: np.ndarray, rng: random.Random) -> np.ndarray:
    if array.dtype.kind not in "fiub" or not array.size:
        return np.array(rng.choice(("", "{}", "[1]", "null", '{"schema": 99}', "\x00", "é" * 50)))
    array = array.astype(rng.choice((array.dtype, np.float64)))
    odd = (np.nan, np.inf, -np.inf, 0, -1, 1e300, -1e300, 1e-320, 2**53, 0.5, 10**6)
    flat = array.reshape(-1)
    where = rng.choice((slice(None), slice(0, 1), slice(None, None, 2), slice(-3, None)))
    with np.errstate(all="ignore"):
        if array.dtype.kind == "f":
            flat[where] = rng.choice(odd)
        else:
            flat[where] = rng.choice((0, 1, 100))
    return flat.reshape(array.shape)


ARRAY_CHANGES: tuple[Callable[[np.ndarray, random.Random], np.ndarray], ...] = (
    _without, _renamed, _swapped, _retyped, _retyped, _reshaped, _reshaped, _revalued, _revalued,
    _revalued,
)  # fmt: skip


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """An archive of arrays, Python objects among them as NumPy would pickle them."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def changed_archive(data: bytes, rng: random.Random) -> bytes:
    """A zip archive with members renamed, doubled, left out, emptied or with other headers."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    kind = rng.choice(("name", "double", "leave", "content", "header", "header", "order", "packed"))
    if kind == "name":
        members[at] = (
            rng.choice(("../x.npy", "a/b.npy", name[:-4], "é.npy", "/x.npy", ".npy")),
            content,
        )
    elif kind == "double":
        members.append((name, damaged(content, rng)))
    elif kind == "leave":
        del members[at]
    elif kind == "content":
        members[at] = (name, damaged(content, rng))
    elif kind == "header":
        members[at] = (name, _changed_header(content, rng))
    elif kind == "order":
        rng.shuffle(members)
    stream = io.BytesIO()
    method = zipfile.ZIP_BZIP2 if kind == "packed" else rng.choice((0, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", method) as archive:
        for member, content in members:
            archive.writestr(zipfile.ZipInfo(member), content, compress_type=method)
    return stream.getvalue()


def _changed_header(content: bytes, rng: random.Random) -> bytes:
    """An `.npy` whose header states another type, shape or order, or is no header."""
    swaps = (
        (b"'<f4'", b"'<f8'"), (b"'<f4'", b"'|O' "), (b"'<f4'", b"'<i4'"), (b"'<i8'", b"'<f8'"),
        (b"'<i8'", b"'>i8'"), (b"False", b"True "), (b"(", b"(9"), (b"'shape'", b"'shapo'"),
        (b"'descr'", b"'fescr'"), (b"{", b"["), (b"\x93NUMPY", b"\x93NUMPI"),
        (b"\x01\x00", b"\x09\x00"),
        (b"(", b"(-"), (b",)", b",0"), (b"'<f4'", b"'<U9'"), (b"'<f4'", b"[('a','<f4')]"),
    )  # fmt: skip
    old, new = rng.choice(swaps)
    head, rest = content[:128], content[128:]
    return head.replace(old, new, 1)[:128] + rest


def changed_text(text: str, rng: random.Random) -> bytes:
    """A text with lines or cells changed, in this or another encoding, or with damaged bytes."""
    kind = rng.choice(("cell", "cell", "cell", "line", "line", "code", "bytes", "signs"))
    if kind == "cell":
        text = _with_other_cell(text, rng)
    elif kind == "line":
        text = _with_other_lines(text, rng)
    elif kind == "code":
        return text.replace("a", "é").encode(rng.choice(ENCODINGS), errors="replace")
    elif kind == "bytes":
        return damaged(text.encode("utf-8", errors="replace"), rng)
    else:
        old, new = rng.choice((("\n", "\r"), ("\n", "\r\n"), ("\n", "\n\n"), ("\n", "\u2028"),
                               (",", ";"), (",", "\t"), (",", "|"), (",", ", ")))  # fmt: skip
        text = text.replace(old, new)
    return text.encode("utf-8", errors="surrogatepass")


def _with_other_cell(text: str, rng: random.Random) -> str:
    """A cell of a table in text has another value, is left out, quoted or followed by one more."""
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    cells = lines[at].split(",")
    cell = rng.randrange(len(cells))
    cells[cell : cell + 1] = rng.choice((
        [str(rng.choice(ODD_VALUES))], [str(rng.choice(ODD_VALUES))], [], [f'"{cells[cell]}'],
        [cells[cell], "1"],
    ))  # fmt: skip
    lines[at] = ",".join(cells)
    return "\n".join([*lines, ""])


def _with_other_lines(text: str, rng: random.Random) -> str:
    """A line is left out, comes twice, or changes its place with another."""
    lines = text.splitlines(keepends=True)
    at, other = (rng.randrange(len(lines)) for _ in range(2))
    kind = rng.choice(("drop", "double", "swap"))
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return "".join(lines)
