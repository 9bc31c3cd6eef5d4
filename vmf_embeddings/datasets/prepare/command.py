"""The command line of the prepare scripts: PATH [--archive FILE …] [--url ADDRESS …]."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from vmf_embeddings import typed
from vmf_embeddings.datasets.prepare.extract import extract
from vmf_embeddings.datasets.prepare.fetch import fetch
from vmf_embeddings.datasets.prepare.lists import missing_images, write_lists
from vmf_embeddings.datasets.prepare.source import (
    Download,
    Lists,
    PreparationFailure,
    Source,
    UserMistake,
)
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

ARCHIVE_SUFFIXES = (".tgz", ".gz", ".tar", ".zip", ".bz2", ".xz")


def main(source: Source, arguments: Sequence[str] | None = None) -> int:
    """Runs the command line of one data set.

    Args:
        source: the data set.
        arguments: of the command line, without the name of the program; `sys.argv[1:]` if None.

    Returns:
        Exit code: 0; 1 if network or disk failed; 2 if the command must be changed.
    """
    options = _parser(source).parse_args(arguments)
    try:
        lists = prepare(source, Path(options.path), options.archive, options.url)
    except (UserMistake, Refused) as mistake:
        print(f"error: {printable(mistake)}", file=sys.stderr)
        return 2
    except (PreparationFailure, OSError) as failure:
        print(f"error: {printable(failure)}", file=sys.stderr)
        return 1
    folder = Path(options.path, source.folder)
    for name, images in lists.items():
        n_classes = len({label for _, label in images})
        print(f"{folder / name}.txt: {len(images)} images of {n_classes} classes")
    for line in next_commands(source, folder):
        print(line)
    return 0


def next_commands(source: Source, folder: Path) -> list[str]:
    """Commands for the next step: a training from scratch, and the one of the paper."""
    where = typed.override("dataset.params.dataset_path", folder)
    name = typed.override("name", source.config)
    scratch = "arch=resnet18 arch.params.first_conv_3x3=False"
    return [
        f"Next: python -m vmf_embeddings.main dataset={source.config} {where} {scratch} {name}",
        "or, as in the paper, from ImageNet weights (fetched once, or arch.params.weights=FILE):",
        f"      python -m vmf_embeddings.main experiment={source.config}_vmf_softmax {where}",
    ]


def prepare(source: Source, path: Path, archives: Sequence[str], urls: Sequence[str]) -> Lists:
    """Downloads and extracts a data set, unless it is complete already, and writes its lists.

    Args:
        source: the data set.
        path: folder for all files; created if missing.
        archives: files to use instead of downloads.
        urls: addresses to use instead of the published ones.

    Returns:
        The lists that were written.

    Raises:
        UserMistake: PATH, an archive or its content is wrong.
        PreparationFailure: a download failed.
    """
    for archive in archives:
        if not Path(archive).is_file():
            raise UserMistake(f"--archive {archive} does not exist")
    if path.exists() and not path.is_dir():
        raise UserMistake(f"{path} is a file; expected a folder to put the data in")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserMistake(f"cannot make the folder {path}: {error}") from error
    if archives:
        _unpack([Path(archive) for archive in archives], path)
    elif not _is_complete(source, path):
        _unpack(_download(source, path, urls), path)
    lists = _read_complete(source, path)
    write_lists(path / source.folder, lists)
    return lists


def _parser(source: Source) -> argparse.ArgumentParser:
    files = ", ".join(download.file for download in source.downloads)
    parser = argparse.ArgumentParser(description=f"Download {source.title} and list its splits.")
    parser.add_argument("path", metavar="PATH", help="folder for the data; created if missing")
    parser.add_argument(
        "--archive",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"use these files instead of downloading: {files}",
    )
    parser.add_argument(
        "--url",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help=f"download {files} from other addresses",
    )
    return parser


def _download(source: Source, path: Path, urls: Sequence[str]) -> list[Path]:
    try:
        return [
            fetch(download, path, lambda line: print(line, file=sys.stderr))
            for download in _addresses(source, urls)
        ]
    except PreparationFailure as failure:
        files = " ".join(f"FOLDER/{download.file}" for download in source.downloads)
        raise PreparationFailure(
            f"{failure}. If you have the data: --archive {files}; another address: --url ADDRESS"
        ) from failure


def _addresses(source: Source, urls: Sequence[str]) -> list[Download]:
    """The downloads, with the user's addresses if given; md5 sums are not checked for those."""
    downloads = list(source.downloads)
    for url in urls:
        suffix = PurePosixPath(urlsplit(url).path).suffix
        is_no_archive = suffix != "" and suffix not in ARCHIVE_SUFFIXES
        for i, download in enumerate(downloads):
            if (PurePosixPath(download.file).suffix not in ARCHIVE_SUFFIXES) == is_no_archive:
                downloads[i] = replace(download, url=url, md5=None)
    return downloads


def _unpack(files: Sequence[Path], path: Path) -> None:
    """Extracts archives; copies other files, such as annotations, into the folder."""
    for file in files:
        if file.suffix in ARCHIVE_SUFFIXES:
            extract(file, path)
        elif file.resolve() != (path / file.name).resolve():
            with replacing(path / file.name) as temporary:
                shutil.copyfile(file, temporary)


def _is_complete(source: Source, path: Path) -> bool:
    if not all((path / file).is_file() for file in source.marker_files):
        return False
    return not missing_images(path / source.images, source.read(path))


def _read_complete(source: Source, path: Path) -> Lists:
    absent = [str(path / f) for f in source.marker_files if not (path / f).is_file()]
    if absent:
        files = " ".join(f"FOLDER/{download.file}" for download in source.downloads)
        raise UserMistake(
            f"{', '.join(absent)} is missing after extraction; give all published files: "
            f"--archive {files}"
        )
    lists = source.read(path)
    missing = missing_images(path / source.images, lists)
    if missing:
        total = sum(len(images) for images in lists.values())
        raise UserMistake(
            f"{len(missing)} of {total} images are missing after extraction, the first is "
            f"{missing[0]}: the archive is incomplete"
        )
    return lists
