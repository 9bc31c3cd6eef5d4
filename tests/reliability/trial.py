"""Commands under conditions that go wrong, and what every end of a command must be."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.commands.run import ROOT

TIMEOUT_SECONDS = 240
TRACES = re.compile(
    r'Traceback|^ *File ".*", line \d+|Logging error|\w+Warning: |Exception in thread|'
    r"^error: \w+(Error|Exception|Warning): |"
    r"not supported between|object has no attribute|object is not|index out of range",
    re.MULTILINE,
)
# Python's words for a value, after the group or the part of a checkpoint that holds it
NAMED = re.compile(
    r"^error: (\w+\.params=\{.*\} cannot be used|the last .* does not fit): .*$", re.M
)


@dataclass(frozen=True)
class End:
    """How a command ended: exit code (negative: killed), both streams, and its duration."""

    code: int
    output: str
    errors: str
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong with this end, empty if nothing is.

        Right is: exit code 0, or 1 or 2 with a message; no trace from a library's depths.
        """
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}: {self.errors[-300:]}"
        trace = TRACES.search(NAMED.sub("", self.errors))
        if trace:
            return f"exit code {self.code}, {trace[0]!r} in:\n{self.errors[-1500:]}"
        return "" if self.code == 0 or self.errors.strip() else f"exit code {self.code}, no message"


def trial(
    *arguments: object, cwd: Path, kill_after: float | None = None, **conditions: object
) -> End:
    """`python -m vmf_embeddings arguments…` in `cwd`, in a fork that goes wrong as asked.

    Args:
        *arguments: as typed.
        cwd: folder it is typed in.
        kill_after: seconds until SIGKILL.
        **conditions: of `fork_server.prepare`.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VMF_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    request = {
        "arguments": [str(word) for word in arguments], "cwd": str(cwd), "conditions": conditions,
        "environment": environment, "kill_after": kill_after, "timeout": TIMEOUT_SECONDS,
    }  # fmt: skip
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return End(**json.loads(server.stdout.readline()))


def succeeds(*arguments: object, cwd: Path, **conditions: object) -> End:
    """The end of a command that must exit with 0."""
    end = trial(*arguments, cwd=cwd, **conditions)
    assert end.code == 0 and not end.fault, f"{arguments}: {end}"
    return end


@functools.cache
def _server() -> subprocess.Popen:
    """The fork server of this process; it ends when its standard input closes."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.fork_server"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"
    return server


def contents(folder: Path) -> dict[str, str]:
    """Name below the folder -> hash, of every file; temporary names and logs are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".log" and "tensorboard" not in path.parts
    }
