"""Runs the project's commands as a user would, in a process and a folder of their own."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAIN = "vmf_embeddings.main"
TIMEOUT_SECONDS = 240


def command(
    module: str, *arguments: str, cwd: Path, fresh: bool = False, **environment: str
) -> subprocess.CompletedProcess:
    """`python -m module arguments…` in `cwd`, with the output of both streams as text.

    Args:
        module: of this package.
        *arguments: as typed.
        cwd: folder it is typed in.
        fresh: whether a new interpreter imports everything itself, for tests of what is imported;
            otherwise the command is a fork of a process that has imported the libraries.
        **environment: variables beside today's.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    if fresh:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        request = {
            **{"module": module, "arguments": arguments, "cwd": str(cwd)},
            **{"environment": variables, "timeout": TIMEOUT_SECONDS},
            **{"output": output.name, "errors": errors.name},
        }
        code = _answer(json.dumps(request))
        return subprocess.CompletedProcess(
            [module, *arguments], int(code), output.read(), errors.read()
        )


def _answer(request: str) -> str:
    server = _server()
    server.stdin.write(request + "\n")
    server.stdin.flush()
    return server.stdout.readline()


@functools.cache
def _server() -> subprocess.Popen:
    """The fork server of this process; it ends when its standard input closes."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.commands.fork_server"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"
    return server


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
