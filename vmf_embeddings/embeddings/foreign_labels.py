"""The labels of an `.npy`, in a file of their own."""

from pathlib import Path

from numpy.typing import ArrayLike

from vmf_embeddings import typed
from vmf_embeddings.embeddings.endings import TEXT_TABLES
from vmf_embeddings.embeddings.names import LABEL_KEYS, chosen
from vmf_embeddings.embeddings.table import labels_in_table
from vmf_embeddings.untrusted.arrays import BYTES, NUMBERS, TEXTS, npz_keys, read_npy, read_npz
from vmf_embeddings.untrusted.files import read_text

_ANY = f"{NUMBERS}{TEXTS}{BYTES}"
_ENDINGS = (".npy", ".txt", ".csv", ".npz")


def labels_of_npy(
    path: Path, named: Path | None, needed: bool = True
) -> tuple[ArrayLike | None, Path]:
    """Labels [N] for the rows of an `.npy`, and the file that they are from.

    Args:
        path: of the `.npy`.
        named: file of the labels; None = `<name>_labels` beside it, with one of the endings
            `.npy`, `.txt` (one per line), `.csv` and `.npz`.
        needed: whether it is an error that there is none beside it; else labels are None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no labels.
    """
    beside = [path.with_name(f"{path.stem}_labels{ending}") for ending in _ENDINGS]
    file = next((one for one in beside if one.exists()), beside[0]) if named is None else named
    if not file.exists() and named is None and not needed:
        return None, file
    if not file.exists():
        raise FileNotFoundError(
            f"no labels {file} for {path}: give labels=PATH or labels=[…], one per row, or "
            f"evaluate {typed.argument(path)} --labels PATH; a file {', '.join(_ENDINGS)} is read"
        )
    ending = file.suffix.lower()
    if ending == ".npy":
        return read_npy(file, _ANY), file
    if ending == ".npz":
        key = chosen(file, "labels", None, LABEL_KEYS, npz_keys(file))
        try:
            return read_npz(file, {key: _ANY})[key], file
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    if ending == ".txt":
        return read_text(file).removesuffix("\n").split("\n"), file
    if ending in TEXT_TABLES:
        return labels_in_table(file, LABEL_KEYS), file
    raise ValueError(f"{file}: expected labels in a file {', '.join(_ENDINGS)}")
