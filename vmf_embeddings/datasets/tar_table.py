"""Tars of images as columns: names, labels, and where each image lies in its tar.

The naming is that of WebDataset: files that follow one another under one name before the first dot
belong together, `0001.jpg` with `0001.cls` (the label as text) or `0001.json` (with a key `label`).
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vmf_embeddings.datasets import column_cache
from vmf_embeddings.datasets.list_table import ListTable, columns_of_paths
from vmf_embeddings.datasets.rows import FileStates
from vmf_embeddings.datasets.texts import FileBytes, Texts
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.members import MemberPath
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tar_members import Member, members_of_tar
from vmf_embeddings.untrusted.text import has_control

LONG = 16 * 2**20  # bytes of all tars of a split from which on their columns are cached
_VERSION = 1  # of the files in the cache
_COLUMNS = {
    **{"ends": "<u4", "codes": "<i4", "hashes": "<u8", "blank": "<i8", "dotted": "<i8"},
    **{"tar_of": "<i4", "starts": "<i8", "sizes": "<i8"},
}
LONGEST_LABEL, _LONGEST_JSON = 1000, 2**20  # bytes
_AT_ONCE = 10_000  # images whose columns are written together
_HEAD = 2**16  # bytes at both ends of a tar that stand for its content


class TarFiles(Texts):
    """Names `<tar>/<member>` of images in tars; each is a `MemberPath` when it is asked for.

    Args:
        content: see `Texts`.
        ends: see `Texts`.
        tars: absolute paths.
        places: `tar_of`, `starts` and `sizes` of all images, int [N].
    """

    has_places = True

    def __init__(
        self,
        content: bytes | FileBytes,
        ends: np.ndarray,
        tars: Sequence[str],
        places: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__(content, ends)
        self.tars, self.places = list(tars), dict(places)

    def _made(self, row: int, text: str) -> str:
        tar, start, size = (int(self.places[n][row]) for n in ("tar_of", "starts", "sizes"))
        return MemberPath(super()._made(row, text), self.tars[tar], start, size)

    @property
    def blocks(self) -> np.ndarray:
        """Number of the tar of each image, int [N]."""
        tar_of = self.places["tar_of"]
        return tar_of if self.rows is None else tar_of[self.rows]

    def states(self) -> FileStates:
        """Sizes of the images, and keys of tar and place: one image has one key."""
        tar_of, starts, sizes = (
            self.places[name] if self.rows is None else self.places[name][self.rows]
            for name in ("tar_of", "starts", "sizes")
        )
        files = [os.stat(tar) for tar in self.tars]
        numbers = np.array([hash((one.st_dev, one.st_ino)) for one in files], np.int64)
        return FileStates(sizes, np.stack([numbers[tar_of], starts], axis=1))


@dataclass(frozen=True)
class TarTable(ListTable):
    """The images of some tars, in the order of the tars and of their members."""

    def place(self, row: int) -> str:
        """Which image, for messages."""
        return f"{self.path.parent / self.files[row]}"


def read_tar_table(tars: Sequence[Path], root: Path) -> TarTable:
    """Reads the names, labels and places of all images of some tars.

    Args:
        tars: in order, at least one.
        root: folder that the names of tars start from.

    Raises:
        FileNotFoundError: a tar does not exist.
        Refused: a tar is not as `members_of_tar` wants it; an image has no label, several files of
            one name are images, or two images have one name.
    """
    keys = [_key_of(path) for path in tars]
    names = [os.path.relpath(path, root) for path in tars]
    cached = None
    if sum(path.stat().st_size for path in tars) > LONG:
        digest = hashlib.sha256("\n".join([*names, *keys]).encode()).hexdigest()
        cached = f"{digest}.tars.{_VERSION}"
    found = column_cache.columns_of(cached, _COLUMNS, functools.partial(_parse, tars, names))
    columns = dict(found.values)
    places = {name: columns.pop(name) for name in ("tar_of", "starts", "sizes")}
    paths = [os.path.abspath(path) for path in tars]
    files = TarFiles(found.paths, columns.pop("ends"), paths, places)
    return TarTable(root / names[0], files, words=found.words, **columns)


def _key_of(path: Path) -> str:
    """What tells a tar from others: its size, time, beginning and end."""
    with open_regular(path) as stream:
        state = os.fstat(stream.fileno())
        head = stream.read(_HEAD)
        stream.seek(max(0, state.st_size - _HEAD))
        digest = hashlib.sha256(head + stream.read(_HEAD)).hexdigest()
    return f"{state.st_size} {state.st_mtime_ns} {digest}"


def _parse(tars: Sequence[Path], names: Sequence[str], sinks: Mapping[str, BinaryIO]) -> list[str]:
    """Reads all tars, writes the columns to `sinks`, and returns the different labels."""
    codes_of: dict[str, int] = {}
    n_rows = n_bytes = 0
    for number, (path, name) in enumerate(zip(tars, names, strict=True)):
        hashes: list[np.ndarray] = []
        for images in _some(_labelled(path)):
            files = [f"{name}/{image.name}" for image, _ in images]
            columns = columns_of_paths(path, files, n_rows, n_bytes)
            codes = [codes_of.setdefault(label, len(codes_of)) for _, label in images]
            columns["codes"] = np.array(codes, "<i4")
            columns["tar_of"] = np.full(len(images), number, "<i4")
            columns["starts"] = np.array([image.start for image, _ in images], "<i8")
            columns["sizes"] = np.array([image.size for image, _ in images], "<i8")
            for column, values in columns.items():
                sinks[column].write(values)
            hashes.append(columns["hashes"])
            n_rows, n_bytes = n_rows + len(images), int(columns["ends"][-1]) + 1
        _refuse_twice(path, hashes)
    if not n_rows:
        raise Refused(f"{tars[0]} holds no images; expected members such as 0001.jpg and 0001.cls")
    return list(codes_of)


def _refuse_twice(path: Path, hashes: Sequence[np.ndarray]) -> None:
    """Refuses a tar in which two images have one name, by the hashes of their names.

    Such a tar was added to by `tar -r`, whose readers take the later one.
    """
    found = np.sort(np.concatenate([*hashes, np.zeros(0, np.uint64)]))
    if (found[1:] == found[:-1]).any():
        seen: set[str] = set()
        for image, _ in _labelled(path):
            if image.name in seen:
                raise Refused(f"{path}: two images are called {image.name!r}: write the tar again")
            seen.add(image.name)


def _some(
    images: Iterator[tuple[Member, str]],
) -> Iterator[list[tuple[Member, str]]]:
    """Some thousands at a time."""
    found: list[tuple[Member, str]] = []
    for image in images:
        found.append(image)
        if len(found) == _AT_ONCE:
            yield found
            found = []
    if found:
        yield found


def _labelled(path: Path) -> Iterator[tuple[Member, str]]:
    """The images of a tar with their labels."""
    with open_regular(path) as stream:
        key, group = "", {}
        for member in members_of_tar(path):
            own, ending = _key_and_ending(member.name)
            if own != key:
                yield from _of_group(path, stream, key, group)
                key, group = own, {}
            if ending in group:
                raise Refused(f"{path}: two members are called {member.name!r}")
            group[ending] = member
        yield from _of_group(path, stream, key, group)


def _key_and_ending(name: str) -> tuple[str, str]:
    """The name before the first dot of the last part, and the rest in lower case.

    >>> _key_and_ending("a.b/0001.JPG"), _key_and_ending("0001.seg.png")
    (('a.b/0001', 'jpg'), ('0001', 'seg.png'))
    """
    folder, _, last = name.rpartition("/")
    word, _, ending = last.partition(".")
    return f"{folder}/{word}" if folder else word, ending.lower()


def _of_group(
    path: Path, stream: BinaryIO, key: str, group: Mapping[str, Member]
) -> Iterator[tuple[Member, str]]:
    """The image of the files of one name with its label; nothing where they are no image."""
    images = [m for end, m in group.items() if "." not in end and is_picture(m.name)]
    if not images and not {"cls", "json"} & group.keys():
        return
    if len(images) != 1:
        came = " and ".join(member.name for member in images) or "none"
        raise Refused(f"{path}: expected one image of the name {key!r}, found {came}")
    if "cls" in group:
        label = _text(stream, group["cls"], LONGEST_LABEL, path).strip()
    elif "json" in group:
        text = _text(stream, group["json"], _LONGEST_JSON, path)
        value = parse_json_object(text, f"{path}: {group['json'].name}").get("label")
        label = str(value).strip() if isinstance(value, str | int) else ""
    else:
        raise Refused(
            f"{path}: {images[0].name} has no label: {key}.cls beside it, with the label as text, "
            'or a .json {"label": …}'
        )
    if not label or has_control(label):
        raise Refused(f"{path}: the label of {images[0].name} is {label[:80]!r}")
    yield images[0], label


def _text(stream: BinaryIO, member: Member, longest: int, path: Path) -> str:
    if member.size > longest:
        raise Refused(f"{path}: {member.name} has {member.size:,} bytes, at most {longest:,}")
    try:
        return os.pread(stream.fileno(), member.size, member.start).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: {member.name} is not UTF-8 text ({error})") from error
