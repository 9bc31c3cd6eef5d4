"""Finds embedding files: named directly, in run folders, or in the runs of a sweep folder."""

from collections.abc import Iterable
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.embeddings import canonical_split
from vmf_embeddings.embeddings.endings import ARRAYS, FOLDER, is_stored
from vmf_embeddings.untrusted.files import refuse_links
from vmf_embeddings.untrusted.text import printable

_EXTRACTED = (".npz", FOLDER)


def find_embedding_files(paths: Iterable[Path], split: str) -> dict[Path, Path]:
    """Embedding files of one split, each with the argument that it was found under.

    Of a folder, every `<dataset>_<split>.npz` or `.emb` in it is taken; only where it has none,
    those of its subfolders. So a run is scored without the second stages in its subfolders. Hidden
    folders (Hydra's) are skipped. A file that two arguments lead to is taken once. Scores are
    written beside each file, so a symbolic link to a folder elsewhere is refused; a link to a
    folder below the same argument is skipped, because that folder is searched anyway.

    Args:
        paths: folders or embedding files.
        split: "train", "valid" or "test"; files named directly may be of any split.

    Returns:
        file -> argument, in the order of arguments, then by name.

    Raises:
        FileNotFoundError: an argument leads to no file; names the pattern and the command.
        ValueError: an argument is neither a folder nor a regular file; a folder in it is a link
            that leads out of it; a name holds control characters.
    """
    found: dict[Path, Path] = {}
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path, split):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                found[file] = path
    return found


def _below(path: Path, split: str) -> list[Path]:
    if is_stored(path):
        return [path]
    pattern = f"*_{split}"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: expected a run folder or an embedding file")
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder nor a regular file: expected a run folder")
    files = _nearest(path, pattern, path.resolve())
    if not files:
        arrays = [file for ending in ARRAYS for file in path.rglob(f"*{ending}")]
        others = sorted({printable(f.name) for f in arrays if f.parent.suffix != FOLDER})
        see = "see --split, or name the file itself"
        instead = f" (there is {', '.join(others[:5])}; {see})" if others else ""
        raise FileNotFoundError(
            f"no {path}/{pattern}.npz and none below it{instead}. Extract the embeddings first:\n"
            f"  {typed.command('main', 'mode=get_embeddings', typed.override('run', path))}"
        )
    return files


def _nearest(folder: Path, pattern: str, root: Path) -> list[Path]:
    """The matching files of a folder; if it has none, those of its subfolders by the same rule."""
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    named = [path for path in entries if path.suffix in _EXTRACTED and path.match(f"{pattern}.*")]
    own = [path for path in named if is_stored(path)]
    _refuse_same_twice(own)
    folders = [path for path in entries if path.is_dir() and not is_stored(path)]
    below = [] if own else [path for path in folders if not _is_link(path, root)]
    for path in (*own, *below):
        if printable(path.name) != path.name:
            raise ValueError(f"the name of {printable(path)} has control characters: rename it")
    return own or [file for path in below for file in _nearest(path, pattern, root)]


def _refuse_same_twice(files: list[Path]) -> None:
    """Refuses an `.npz` and a folder of the same embeddings, which would count as two runs."""
    for path in files:
        other = path.with_suffix(FOLDER)
        if path != other and other in files:
            raise ValueError(
                f"{path} and {other} hold the same split of one run: name one of them, or remove "
                "the other"
            )


def _is_link(folder: Path, root: Path) -> bool:
    """Whether a folder is a symbolic link to one below `root`; a link elsewhere is refused."""
    if not folder.is_symlink():
        return False
    if not folder.resolve().is_relative_to(root):
        raise ValueError(
            f"{printable(folder)} is a symbolic link to a folder elsewhere: nothing is written "
            "through one. Name that folder itself on the command line"
        )
    return True


def refuse_planted(folder: Path, names: Iterable[str]) -> None:
    """Refuses a folder in which links or folders have the names of files that will be written.

    Args:
        folder: where the files will be written; it may come from somebody else.
        names: of the files.

    Raises:
        ValueError: naming the link or folder.
    """
    for name in names:
        refuse_links(folder, name)
        if (folder / name).is_dir():
            raise ValueError(
                f"{folder / name} is a folder, but a file of that name will be written: remove it"
            )


def dataset_of(file: Path) -> str:
    """The data set's name, from the name of a file `<dataset>_<split>.npz`."""
    stem = _stem(file)
    name, _, split = stem.rpartition("_")
    return name if name and canonical_split(split) else stem


def split_of(file: Path) -> str:
    """The split's name, from that of a file `<dataset>_<split>.npz`; "test" if it names none."""
    return canonical_split(_stem(file).rpartition("_")[2]) or "test"


def _stem(file: Path) -> str:
    """The name of a file without its endings."""
    stem = file.name.removesuffix(".gz")
    return stem.rpartition(".")[0] or stem
