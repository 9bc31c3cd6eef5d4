"""The jobs of a sweep that failed, as a table at its end: the other jobs have run to their ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from vmf_embeddings import typed
from vmf_embeddings.untrusted.text import printable

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


def without_shared(overrides: Sequence[str], shared: Sequence[str]) -> list[str]:
    """The overrides of a job without those that all jobs have; all of them if none is left.

    >>> without_shared(["a=1", "b=2"], ["a=1"]), without_shared(["a=1"], ["a=1"])
    (['b=2'], ['a=1'])
    """
    return [one for one in overrides if one not in shared] or list(overrides)


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
