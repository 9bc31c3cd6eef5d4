"""The folders that runs and sweeps are written to; imports nothing heavy."""

import os
from pathlib import Path

VARIABLE = "VMF_RUNS"
_PACKAGE = "vmf_embeddings"


def runs_root() -> Path:
    """The folder of all runs: `VMF_RUNS`, else `vmf_embeddings/runs` in a checkout, else `runs`.

    The working directory counts as a checkout if it has a folder `vmf_embeddings`, so that runs
    that an earlier version wrote to `vmf_embeddings/runs` are found where they are.
    """
    chosen = _chosen()
    return chosen if chosen is not None else Path(_PACKAGE if _in_checkout() else "", "runs")


def sweeps_root() -> Path:
    """The folder of all sweeps: `vmf_embeddings/sweeps` in a checkout, else `sweeps` among runs."""
    if _chosen() is None and _in_checkout():
        return Path(_PACKAGE, "sweeps")
    return runs_root() / "sweeps"


def _chosen() -> Path | None:
    """The value of `VMF_RUNS`; None where it is unset or empty."""
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser() if value else None


def _in_checkout() -> bool:
    return Path(_PACKAGE).is_dir()
