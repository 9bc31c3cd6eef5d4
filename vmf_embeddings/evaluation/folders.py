"""Finds embedding files below run folders, sweep folders, or where they are named directly."""

from collections.abc import Iterable
from pathlib import Path


def find_embedding_files(paths: Iterable[Path], split: str) -> dict[Path, Path]:
    """Embedding files of one split, each with the argument that it was found under.

    A folder stands for every `<dataset>_<split>.npz` in it, or where it has none in its subfolders:
    each is one replication. So a run is scored without the second stages in its subfolders. Hidden
    folders (Hydra's) are left out. A file that two arguments reach counts once.

    Args:
        paths: folders or `.npz` files.
        split: "train", "valid" or "test"; not asked of files named directly.

    Returns:
        file -> argument, in the order of arguments, then by name.

    Raises:
        FileNotFoundError: an argument leads to no file; names the pattern and the command.
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
    if path.is_file():
        return [path]
    pattern = f"*_{split}.npz"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: expected a run folder or an .npz file")
    files = _nearest(path, pattern)
    if not files:
        others = sorted({file.name for file in path.rglob("*.npz")})
        instead = f" (there is {', '.join(others[:5])}; see --split)" if others else ""
        raise FileNotFoundError(
            f"no {path}/{pattern} and none below it{instead}. Extract the embeddings first:\n"
            f"  python -m vmf_embeddings.main mode=get_embeddings run={path}"
        )
    return files


def _nearest(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder itself, else those of its subfolders by the same rule."""
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    own = [path for path in entries if path.is_file() and path.match(pattern)]
    return own or [file for path in entries if path.is_dir() for file in _nearest(path, pattern)]


def dataset_of(file: Path) -> str:
    """The data set by the name of a file `<dataset>_<split>.npz`."""
    return file.stem.rsplit("_", 1)[0]


def split_of(file: Path) -> str:
    """The split by the name of a file `<dataset>_<split>.npz`."""
    return file.stem.rsplit("_", 1)[-1]
