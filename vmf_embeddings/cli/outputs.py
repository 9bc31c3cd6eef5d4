"""Files that a command writes where it was told to."""

from pathlib import Path

from vmf_embeddings.embeddings.endings import is_stored
from vmf_embeddings.untrusted.files import refuse_special
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable


def refuse_output(out: Path, run: Path | None, *, force: bool) -> None:
    """Refuses a file that may not be written, before any work is done.

    Args:
        out: the file.
        run: a trained run that stays as it is.
        force: whether `out` may be replaced.

    Raises:
        FileNotFoundError: its folder does not exist.
        Refused: it exists, is a folder or a device, or would lie in the run's folder.
    """
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{printable(out)}: there is no folder {printable(out.parent)}")
    if out.is_dir() and not is_stored(out):
        raise Refused(f"{printable(out)} is a folder; name a file")
    refuse_special(out)
    folder = None if run is None else _folder_of(run)
    if folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise Refused(f"{printable(out)} lies in {printable(folder)}, where nothing is written; "
                      "a file elsewhere")  # fmt: skip
    is_run = run is not None and run.exists() and out.exists() and out.samefile(run)
    if is_run or (out.exists() and not force):
        hint = "name another file" if is_run else "replace it with --force, or name another file"
        raise Refused(f"{printable(out)} exists; {hint}")


def _folder_of(run: Path) -> Path | None:
    """The folder that a training wrote, of a run that is named by its folder or a checkpoint."""
    if run.is_dir():
        return run
    return run.parent if (run.parent / ".hydra_train").is_dir() else None
