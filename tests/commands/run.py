"""Runs the project's commands as a user would, in a process and a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAIN = "vmf_embeddings.main"


def command(
    module: str, *arguments: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess:
    """`python -m module arguments…` in `cwd`, with the output of both streams as text."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def succeeds(module: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """The standard output of a command that must exit with 0."""
    done = command(module, *arguments, cwd=cwd, **environment)
    assert done.returncode == 0, (
        f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


def refused(module: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """The complaint of a command that must exit with 2, as for a user's mistake, with no trace."""
    done = command(module, *arguments, cwd=cwd, **environment)
    assert done.returncode == 2, (
        f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    assert "Traceback" not in done.stderr
    return done.stderr
