"""Where Hydra writes: no name from data leads away from there, and no link is written through."""

import os
import stat
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.untrusted import files
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import path_component, printable

ONE_PART = ("dataset.name", "method.name", "mode.name", "mode.stage")
MORE_PARTS = ("name", "arch.params.embedding_dim")
LONGEST_NAME = 200  # characters; file systems take 255 bytes
OF_SWEEPS = ("multirun.yaml", "optimization_results.yaml")


def refuse_names_that_lead_away(cfg: DictConfig) -> None:
    """Refuses names that would make `runs/<data set>/<method>/<width>dim/<name>` another folder.

    Raises:
        Refused: naming the key.
    """
    for key in ONE_PART:
        name = _value(cfg, key)
        if name is not None:
            path_component(name, key)
    for key in MORE_PARTS:
        name = str(_value(cfg, key))
        if ".." in name.split("/") or printable(name) != name or len(name) > LONGEST_NAME:
            raise Refused(
                f"{key} is {printable(repr(name)[:80])}: expected a name for a part of the run's "
                "folder"
            )


def refuse_links(cfg: DictConfig, *keys: str) -> None:
    """Refuses a folder in which Hydra would write its logs and configurations through a link.

    Args:
        cfg: composed configuration.
        *keys: of the parts of the folder's path; a folder that cannot be told yet passes.

    Raises:
        Refused: naming the link, pipe or device that stands where a file would be written.
    """
    parts = [_value(cfg, key) for key in keys]
    if None in parts:
        return
    folder = Path(os.path.abspath(os.path.join(*map(str, parts))))
    root = _root(cfg, Path(os.path.abspath(str(parts[0]))))
    files.refuse_links(root, folder)
    if folder.is_dir():
        _refuse_planted(folder, _value(cfg, "hydra.output_subdir"))


def _value(cfg: DictConfig, key: str) -> Any:
    """A value, or None where it hangs on what each job of a sweep decides for itself."""
    return OmegaConf.select(
        cfg, key, throw_on_missing=False, throw_on_resolution_failure=False, default=None
    )


def _root(cfg: DictConfig, folder: Path) -> Path:
    """The part of a folder's path that the command names: `run=…`, or the whole of it."""
    run = _value(cfg, "run")
    named = folder if run is None else Path(os.path.abspath(str(run)))
    return named if folder.is_relative_to(named) else folder


def _refuse_planted(folder: Path, subfolder: str | None) -> None:
    """Looks at everything of a folder that Hydra could write to."""
    written = [path for path in folder.iterdir() if path.name.endswith(".log")]
    written += [folder / name for name in OF_SWEEPS]
    if subfolder is not None:
        files.refuse_links(folder, folder / subfolder)
        inside = folder / subfolder
        written += list(inside.iterdir()) if inside.is_dir() else []
    for path in written:
        files.refuse_links(folder, path)
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise Refused(f"{printable(path)} is no regular file: nothing is written to it")
