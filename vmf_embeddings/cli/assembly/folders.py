"""Where a command works: what `conf/config.yaml` says of folders, and the runs below one."""

import hashlib
import re
from pathlib import Path

from omegaconf import OmegaConf

from vmf_embeddings.cli.runs_root import runs_root, sweeps_root

LONGEST_FOLDER = 120


def register_resolvers() -> None:
    """Registers what `conf/config.yaml` uses to name folders."""
    OmegaConf.register_new_resolver("runs_root", lambda: str(runs_root()), replace=True)
    OmegaConf.register_new_resolver("sweeps_root", lambda: str(sweeps_root()), replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)


def run_folder(run: str | None, usual: str, stage: str | None = None) -> str:
    """Where a command works: in its `usual` folder, in that of `run`, or in the run's `stage`.

    >>> run_folder(None, "runs/a"), run_folder("runs/b", "runs/a"), run_folder("b", "a", "crt")
    ('runs/a', 'runs/b', 'b/crt')
    """
    return usual if not run else f"{run}/{stage}" if stage else run


def sweep_folder(overrides: str, run: str | None = None, stage: str | None = None) -> str:
    """A folder name for one job of a sweep: its overrides, shortened with a hash where needed.

    Jobs that extract from the folder `run` work in it; those of a second stage differ.

    >>> sweep_folder("mode.learning_rate=0.1,random_seed=2")
    'mode.learning_rate=0.1,random_seed=2'
    >>> sweep_folder("arch.params.weights=a/b")
    'arch.params.weights=a_b~23e26aa3'
    """
    if run and not stage:
        return "."
    safe = re.sub(r"[^A-Za-z0-9_.=,+@~-]", "_", overrides)
    if safe == overrides and len(safe) <= LONGEST_FOLDER:
        return safe or "defaults"
    return f"{safe[:LONGEST_FOLDER]}~{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def runs_below(folder: Path) -> list[Path]:
    """The trained runs that a folder stands for: itself, or where it is a sweep's, its jobs."""
    if any(folder.glob("model*.pt")):
        return [folder]
    jobs = sorted({path.parent for path in folder.rglob("model*.pt")})
    return jobs or [folder]
