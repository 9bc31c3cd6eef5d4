"""The jobs of a sweep and their folders: `sweep.jsonl`, beside `multirun.yaml`."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.file_lock import locked
from vmf_embeddings.untrusted.files import read_text, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused

NAME = "sweep.jsonl"
LOCK = ".sweep.jsonl.lock"


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: of the job, as Hydra spells them.
        folder: in which it works.
    """

    overrides: tuple[str, ...]
    folder: Path


def read(sweep: Path) -> list[Job]:
    """The jobs of the sweep in a folder; empty if it has no index.

    Raises:
        Refused: the index is malformed.
    """
    path = sweep / NAME
    if not path.exists():
        return []
    jobs = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            jobs.append(_job(parse_json_object(line, f"line {number}"), sweep))
        except ValueError as error:
            raise Refused(
                f"line {number} of {path} is no job of a sweep ({error}): remove this line; the "
                "command that started the sweep adds the jobs that are missing"
            ) from error
    return jobs


def _job(row: Mapping[str, Any], sweep: Path) -> Job:
    overrides, folder = row.get("overrides"), row.get("folder")
    is_list = isinstance(overrides, list) and all(isinstance(o, str) for o in overrides)
    if not is_list or not isinstance(folder, str):
        raise ValueError("it needs overrides, a list of texts, and a folder, a text")
    return Job(tuple(overrides), sweep / folder)


def add(sweep: Path, jobs: Sequence[Job]) -> None:
    """Adds jobs to the index of a sweep; a job takes the place of one in the same folder.

    Commands that add to one index at a time wait for one another, so that none loses jobs.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    with locked(sweep / LOCK):
        kept = {os.path.normpath(job.folder): job for job in [*read(sweep), *jobs]}
        rows = [
            {"overrides": list(job.overrides), "folder": os.path.relpath(job.folder, sweep)}
            for job in kept.values()
        ]
        with replacing(sweep / NAME) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in rows))
