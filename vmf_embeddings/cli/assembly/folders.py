"""Folders of runs and sweeps, as `conf/config.yaml` names them, and the runs inside a folder."""

import hashlib
import re
from pathlib import Path

from omegaconf import OmegaConf

from vmf_embeddings.cli.runs_root import runs_root, sweeps_root

MAX_NAME_LENGTH = 120


def register_resolvers() -> None:
    """Registers the OmegaConf resolvers with which `conf/config.yaml` names folders."""
    OmegaConf.register_new_resolver("runs_root", lambda: str(runs_root()), replace=True)
    OmegaConf.register_new_resolver("sweeps_root", lambda: str(sweeps_root()), replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)


def run_folder(run: str | None, default: str, stage: str | None = None) -> str:
    """The folder in which a command works: `default`, `run`, or the folder `stage` inside `run`.

    Embeddings of the length of the input vectors, `embedding_dim=null`, are in `Fdim`.

    >>> run_folder(None, "runs/a"), run_folder("runs/b", "runs/a"), run_folder("b", "a", "crt")
    ('runs/a', 'runs/b', 'b/crt')
    """
    default = default.replace("/Nonedim/", "/Fdim/")
    return default if not run else f"{run}/{stage}" if stage else run


def sweep_folder(overrides: str, run: str | None = None, stage: str | None = None) -> str:
    """Folder name for one job of a sweep: its overrides, or a shortened form with a hash.

    Jobs that extract from `run` work in the folder of the run itself: their name is `.`.

    >>> sweep_folder("mode.learning_rate=0.1,random_seed=2")
    'mode.learning_rate=0.1,random_seed=2'
    >>> sweep_folder("arch.params.weights=a/b")
    'arch.params.weights=a_b~23e26aa3'
    >>> sweep_folder('logger.group="1.10",random_seed=2')  # quoted to stay text
    'logger.group=1.10,random_seed=2'
    """
    if run and not stage:
        return "."
    typed = re.sub(r"""(?<==)(['"])([A-Za-z0-9_.+@~-]*)\1(?=,|$)""", r"\2", overrides)
    safe = re.sub(r"[^A-Za-z0-9_.=,+@~-]", "_", typed)
    if safe == typed and len(safe) <= MAX_NAME_LENGTH:
        return safe or "defaults"
    return f"{safe[:MAX_NAME_LENGTH]}~{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def runs_below(folder: Path) -> list[Path]:
    """The folders of trained runs: `folder` itself or, for a sweep, those inside; never empty."""
    if any(folder.glob("model*.pt")):
        return [folder]
    jobs = sorted({path.parent for path in folder.rglob("model*.pt")})
    return jobs or [folder]
