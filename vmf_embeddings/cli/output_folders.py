"""Checks of the folders that Hydra writes to: of names in their path, and of symbolic links."""

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
LONGEST_NAME = 200  # characters; file names have at most 255 bytes
SWEEP_FILES = ("multirun.yaml", "optimization_results.yaml")


def refuse_names_that_lead_away(cfg: DictConfig) -> None:
    """Refuses names by which `runs/<dataset>/<method>/<D>dim/<name>` would lead elsewhere.

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
        *keys: of the parts of the folder's path; a folder that is not known yet is not checked.

    Raises:
        Refused: naming the link, pipe or device in the place of a file to be written.
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
    """A value; None where it depends on the overrides of a sweep's job."""
    return OmegaConf.select(
        cfg, key, throw_on_missing=False, throw_on_resolution_failure=False, default=None
    )


def _root(cfg: DictConfig, folder: Path) -> Path:
    """The part of a folder's path that the user chose: `run=…`, or all of it."""
    run = _value(cfg, "run")
    named = folder if run is None else Path(os.path.abspath(str(run)))
    return named if folder.is_relative_to(named) else folder


def _refuse_planted(folder: Path, subfolder: str | None) -> None:
    """Checks all files of a folder that Hydra could write to."""
    written = [path for path in folder.iterdir() if path.name.endswith(".log")]
    written += [folder / name for name in SWEEP_FILES]
    if subfolder is not None:
        files.refuse_links(folder, folder / subfolder)
        inside = folder / subfolder
        written += list(inside.iterdir()) if inside.is_dir() else []
    for path in written:
        files.refuse_links(folder, path)
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise Refused(f"{printable(path)} is no regular file: nothing is written to it")
