"""The jobs of a sweep that failed, as a table at its end: the other jobs have run to their ends.

A launcher may run the jobs in other processes of this machine. Each failed job therefore adds a
line to a temporary file, whose name the processes inherit in an environment variable.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.untrusted.text import printable

_FILE = "VMF_FAILED_JOBS"
_WIDTH = 60  # characters of the column of overrides; longer ones push the error to the right


@dataclass(frozen=True)
class FailedJob:
    """One failed job.

    Attributes:
        number: of the job in the sweep, from 0.
        overrides: of the job.
        error: the first line of its error.
    """

    number: int
    overrides: Sequence[str]
    error: str


@contextmanager
def recorded() -> Iterator[Path]:
    """Inside, `record` writes failed jobs to the file that is given, which then is removed."""
    descriptor, name = tempfile.mkstemp(prefix="failed_jobs_", suffix=".jsonl")
    os.close(descriptor)
    before = os.environ.get(_FILE)
    os.environ[_FILE] = name
    try:
        yield Path(name)
    finally:
        os.environ.pop(_FILE)
        if before is not None:
            os.environ[_FILE] = before
        Path(name).unlink(missing_ok=True)


def record(job: FailedJob) -> None:
    """Adds a job to the sweep's file; does nothing on a machine that has no such file."""
    file = Path(os.environ.get(_FILE, ""))
    if file.is_file():
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(job)) + "\n")


def read(file: Path, shared: Sequence[str] = ()) -> list[FailedJob]:
    """The failed jobs, by their numbers.

    Args:
        file: of `recorded`.
        shared: overrides that all jobs have, which are left out.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    jobs = [FailedJob(**json.loads(line)) for line in lines]
    own = [([o for o in j.overrides if o not in shared] or j.overrides) for j in jobs]
    found = [FailedJob(j.number, o, j.error) for j, o in zip(jobs, own, strict=True)]
    return sorted(found, key=lambda job: job.number)


def table(jobs: Sequence[FailedJob]) -> str:
    """The failed jobs, one a line: number, overrides, first line of the error.

    Args:
        jobs: the failed jobs, at least one.

    >>> print(table([FailedJob(1, ["method=dive", "name=a (1)"], "no teacher")]))
    failed jobs: 1; the others are finished and kept
      job  overrides                 error
      1    method=dive 'name=a (1)'  no teacher
    """
    rows = [("job", "overrides", "error")]
    rows += [(str(j.number), printable(typed.given(j.overrides)), j.error) for j in jobs]
    widths = [min(_WIDTH, max(len(row[i]) for row in rows)) for i in range(2)]
    lines = [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows]
    return "\n".join([f"failed jobs: {len(jobs)}; the others are finished and kept", *lines])
