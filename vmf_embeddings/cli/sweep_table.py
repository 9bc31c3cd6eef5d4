"""What has become of the jobs of a sweep: `summarize --sweep FOLDER`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.cli import sweep_index
from vmf_embeddings.cli.failed_jobs import without_shared
from vmf_embeddings.cli.sweep_index import Job
from vmf_embeddings.training import run_status
from vmf_embeddings.training.run_status import RunStatus
from vmf_embeddings.untrusted.text import printable

STATES = (*reversed(run_status.STATES), "missing")
_WIDTH = 60  # characters of the column of overrides; longer ones push the note to the right


def print_sweep(folder: Path) -> int:
    """Prints a table of the jobs of the sweep in a folder.

    Returns:
        Exit code: 0; 1 if a job failed or was killed; 2 if there is no sweep in the folder.
    """
    try:
        jobs = sweep_index.read(folder)
        if not jobs:
            raise ValueError(
                f"{folder} has no {sweep_index.NAME}: name the folder of a sweep, where its "
                "multirun.yaml is, as in runs/sweeps/digits/vmf_softmax/3dim/demo"
            )
        found = [(job, *run_status.outcome(job.folder)) for job in jobs]
    except (OSError, ValueError) as error:
        print(f"summarize: {printable(error)}", file=sys.stderr)
        return 2
    counts = Counter(state for _, state, _, _ in found)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    print(f"{printable(folder)}: {len(jobs)} jobs: {said}")
    for line in _lines(found):
        print(line)
    return 1 if counts["failed"] else 0


def _lines(found: Sequence[tuple[Job, str, str, RunStatus]]) -> list[str]:
    """Aligned lines: state, epoch, best metric, seconds, overrides of the job, note."""
    shared = set.intersection(*(set(job.overrides) for job, *_ in found))
    rows = [("state", "epoch", "metric", "seconds", "overrides", "")]
    for job, state, note, status in found:
        own = without_shared(job.overrides, sorted(shared))
        epoch = "" if status.epoch is None else str(status.epoch)
        metric = "" if status.metric is None else f"{status.metric:.4f}"
        seconds = f"{status.seconds:.0f}" if status.started else ""
        words = (printable(typed.given(own)), printable(note))
        rows.append((state, epoch, metric, seconds, *words))
    widths = [min(_WIDTH, max(len(row[i]) for row in rows)) for i in range(5)]
    return [
        "  " + "  ".join(f"{w:<{n}}" for w, n in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
