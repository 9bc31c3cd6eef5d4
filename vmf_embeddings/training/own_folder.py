"""What to type so that a run gets a folder of its own, where its folder holds another run."""

from pathlib import Path
from typing import Any

from vmf_embeddings import typed


def override_for_own_folder(run_dir: Path, config: dict[str, Any]) -> str:
    """The override by which the same command works in a folder that does not exist yet.

    A second stage works in the folder `mode.stage` of the run that it builds upon, which `name`
    does not change; other trainings, and both stages of `stages=`, in a folder by their `name`.

    Args:
        run_dir: the folder that holds another run.
        config: configuration of the command.

    Returns:
        `name=…` or `mode.stage=…`, quoted for the shell.
    """
    stage = (config.get("mode") or {}).get("stage")
    is_stage = stage is not None and not config.get("stages")
    key, now = ("mode.stage", stage) if is_stage else ("name", config.get("name") or run_dir.name)
    n = 2
    while run_dir.with_name(f"{now}_{n}").exists():
        n += 1
    return typed.override(key, f"{now}_{n}")
