"""Writes the images of a list into tars for `dataset=tar`; goes on where it was interrupted.

A tar holds `00000012/train/cat.jpg` and `00000012/train/cat.cls` for line 12 of the images, counted
from 0: the image as it is, and its label. Beside each complete tar lies its SHA-256.
"""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory

if __name__ == "__main__":
    leave_working_directory()  # before anything else is imported

import argparse  # noqa: E402
import hashlib  # noqa: E402
import io  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import tarfile  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path, PurePosixPath  # noqa: E402

from vmf_embeddings import typed  # noqa: E402
from vmf_embeddings.datasets.list_table import ListTable, read_list_table  # noqa: E402
from vmf_embeddings.datasets.prepare.source import UserMistake  # noqa: E402
from vmf_embeddings.datasets.rows import refuse_escapes  # noqa: E402
from vmf_embeddings.datasets.tar_table import LONGEST_LABEL  # noqa: E402
from vmf_embeddings.progress import Progress  # noqa: E402
from vmf_embeddings.untrusted.files import open_regular, replacing  # noqa: E402
from vmf_embeddings.untrusted.image_formats import is_picture  # noqa: E402
from vmf_embeddings.untrusted.refused import Refused  # noqa: E402
from vmf_embeddings.untrusted.tar_members import members_of_tar  # noqa: E402
from vmf_embeddings.untrusted.text import has_control, printable  # noqa: E402

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_OF_PATHS = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)
_BLOCK = 512  # of a tar: headers take one, and contents whole ones


@dataclass(frozen=True)
class TarPlan:
    """Which rows of a list lie in which tar; it depends on the sizes of the images alone.

    Attributes:
        tar: to write.
        rows: of the list.
        size: bytes of the tar.
    """

    tar: Path
    rows: range
    size: int

    @property
    def checksum(self) -> Path:
        """Where the SHA-256 of the complete tar lies, as `sha256sum` writes it."""
        return self.tar.with_name(f"{self.tar.name}.sha256")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tars of one list.

    Args:
        arguments: of the command line, without the name of the program; `sys.argv[1:]` if None.

    Returns:
        Exit code: 0; 1 if the disk failed; 2 if the command must be changed.
    """
    parser = argparse.ArgumentParser(
        description="Write the images of a list, lines `path label`, into tars for dataset=tar."
    )
    parser.add_argument("list", metavar="LIST", type=Path, help="the list file")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    parser.add_argument("--images", metavar="FOLDER", type=Path,
                        help="folder that paths start from (that of LIST)")  # fmt: skip
    parser.add_argument("--name", help="names are NAME-00000.tar, … (the name of LIST)")
    parser.add_argument("--size", type=_bytes, default="512MB", help="of a tar, about (512MB)")
    options = parser.parse_args(arguments)
    name = options.name or options.list.stem
    try:
        n_images = write_tars(
            options.list, options.out, options.images or options.list.parent, name, options.size
        )
    except (UserMistake, ValueError, OSError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1 if isinstance(error, OSError) and not isinstance(error, _OF_PATHS) else 2
    print(f"{options.out / name}-*.tar: {n_images} images")
    print(
        "Next: python -m vmf_embeddings.main dataset=tar "
        f"{typed.override('dataset.params.dataset_path', options.out)}"
    )
    return 0


def write_tars(source: Path, out: Path, images: Path, name: str, size: int) -> int:
    """Writes the tars that are missing, and returns the number of images in all.

    Args:
        source: list file with lines `path label`.
        out: folder, which is created.
        images: folder that paths start from.
        name: of the tars, before their number.
        size: bytes of a tar, about; a larger image has one of its own.

    Raises:
        UserMistake: an image is missing or no image by its name; a tar there holds other images or
            labels. Names it.
        ValueError: the list is malformed.
    """
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise UserMistake(f"--name {name!r}: expected letters, digits, -, _ and .")
    table = read_list_table(source, separator=None)
    refuse_escapes([table.files[row] for row in table.dotted.tolist()], str(source))
    _refuse_labels(table)
    out.mkdir(parents=True, exist_ok=True)
    n_tars = 0
    with Progress(f"Writing {len(table.files):,} images", len(table.files)) as progress:
        for plan in _plans(table, out, images, name, size):
            if not _is_finished(plan, table):
                _write(plan, table, images)
            n_tars += 1
            progress(plan.rows.stop)
    _refuse_leftovers(out, name, n_tars)
    return len(table.files)


def _refuse_labels(table: ListTable) -> None:
    """Refuses labels that `dataset=tar` would not read."""
    for code, word in enumerate(table.words):
        if has_control(word) or len(word.encode()) > LONGEST_LABEL:
            raise UserMistake(
                f"{table.place(table.first_row(code))}: the label {word[:80]!r} holds control "
                f"characters, or has more than {LONGEST_LABEL:,} bytes"
            )


def _is_finished(plan: TarPlan, table: ListTable) -> bool:
    """Whether the tar is complete: with its checksum file, and names and labels of these rows.

    Raises:
        UserMistake: there is a tar of another list, of other images, of another size, or without a
            checksum file.
    """
    if not os.path.lexists(plan.tar):
        return False
    has_checksum = plan.checksum.is_file()
    try:
        if _holds(plan, table) and plan.tar.stat().st_size == plan.size:
            return has_checksum
        for _ in members_of_tar(plan.tar):  # whether it is whole
            pass
    except Refused:
        if has_checksum:  # it was damaged since: it is written again
            return False
    raise UserMistake(
        f"{plan.tar} is there, and is not what this command would write: another list, --size "
        "or images. Write to another folder, add --name NAME, or remove the tar"
    )


def _holds(plan: TarPlan, table: ListTable) -> bool:
    """Whether a tar has the names and labels of the rows of its plan; reads no image."""
    members = members_of_tar(plan.tar)
    with open_regular(plan.tar) as stream:
        for row in plan.rows:
            wanted = _names(row, table.files[row])
            found = list(itertools.islice(members, 2))
            if tuple(member.name for member in found) != wanted:
                return False
            label = _label(table, row).encode()
            is_same = found[1].size == len(label)
            if not is_same or os.pread(stream.fileno(), len(label), found[1].start) != label:
                return False
    return next(members, None) is None


def _refuse_leftovers(out: Path, name: str, n_tars: int) -> None:
    """Refuses tars of the same name after the last one, which `dataset=tar` would read too."""
    pattern = re.compile(rf"{re.escape(name)}-([0-9]{{5,}})\.tar")
    names = [entry for entry in os.listdir(out) if pattern.fullmatch(entry)]
    more = sorted(one for one in names if int(one[len(name) + 1 : -4]) >= n_tars)
    if more:
        raise UserMistake(
            f"all {n_tars} tars are written, but {out} also holds {more[0]} of an earlier command, "
            f"which dataset=tar would read too: remove {len(more)} tars from it on"
        )


def _bytes(word: str) -> int:
    """An argparse type: a size such as 512MB."""
    found = re.fullmatch(r"(\d{1,9})(KB|MB|GB)", word.upper())
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"needs a size such as 512MB, got {word!r}")
    return int(found[1]) * UNITS[found[2]]


def _plans(table: ListTable, out: Path, images: Path, name: str, size: int) -> Iterator[TarPlan]:
    """The tars in order; only the sizes of images are looked at."""
    first = n_bytes = number = 0
    for row, file in enumerate(table.files):
        own = _size_of(images / file, table.place(row)) + _overhead(row, file, _label(table, row))
        if n_bytes and n_bytes + own > size:
            yield TarPlan(out / f"{name}-{number:05d}.tar", range(first, row), _whole(n_bytes))
            first, n_bytes, number = row, 0, number + 1
        n_bytes += own
    yield TarPlan(out / f"{name}-{number:05d}.tar", range(first, len(table.files)), _whole(n_bytes))


def _size_of(path: Path, place: str) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserMistake(f"{place}: {path} cannot be read ({error.strerror})") from error
    if not path.is_file() or not is_picture(path):
        raise UserMistake(f"{place}: {path} is no image by its name")
    return _blocks(size)


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _whole(n_bytes: int) -> int:
    """Size of a tar with members of so many bytes: two blocks end it, 20 make a record."""
    return -(-(n_bytes + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _overhead(row: int, file: str, label: str) -> int:
    """Bytes of both headers of an image, and of its label."""
    infos = [tarfile.TarInfo(name) for name in _names(row, file)]
    headers = sum(len(info.tobuf(tarfile.GNU_FORMAT)) for info in infos)
    return headers + _blocks(len(label.encode()))


def _label(table: ListTable, row: int) -> str:
    return table.words[int(table.codes[row])]


def _names(row: int, file: str) -> tuple[str, str]:
    """Names of an image and of its label in a tar; the image's without dots but the last."""
    path = PurePosixPath(file)
    folder = "/".join(part for part in path.parts[:-1] if part not in ("/", ".", ".."))
    stem = f"{row:08d}/{folder}/{path.stem.replace('.', '_')}".replace("//", "/")
    return f"{stem}{path.suffix}", f"{stem}.cls"


def _write(plan: TarPlan, table: ListTable, images: Path) -> None:
    with replacing(plan.tar) as temporary:
        with (
            temporary.open("wb") as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for row in plan.rows:
                _add(tar, row, table, images)
        if temporary.stat().st_size != plan.size:
            raise UserMistake(f"images of {plan.tar} changed while it was written: start again")
        with temporary.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        plan.checksum.unlink(missing_ok=True)  # of an older tar, until this one has its name
    with replacing(plan.checksum) as temporary:
        temporary.write_text(f"{digest}  {plan.tar.name}\n", encoding="utf-8")


def _add(tar: tarfile.TarFile, row: int, table: ListTable, images: Path) -> None:
    """Adds an image and its label; nothing but name, size and content is written."""
    file = table.files[row]
    image, label = map(tarfile.TarInfo, _names(row, file))
    with open_regular(images / file) as stream:
        image.size = os.fstat(stream.fileno()).st_size
        tar.addfile(image, stream)
    content = _label(table, row).encode()
    label.size = len(content)
    tar.addfile(label, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
