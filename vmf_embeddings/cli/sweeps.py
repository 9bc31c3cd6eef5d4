"""Runs the jobs of a sweep that are not finished, by any of Hydra's launchers.

Which jobs are finished is read from their `status.json` before anything slow is imported.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from vmf_embeddings.cli import sweep_index, sweep_study
from vmf_embeddings.cli.failed_jobs import FailedJob, without_shared
from vmf_embeddings.cli.help import CONF, config_folders
from vmf_embeddings.training import run_status
from vmf_embeddings.training.run_status import RunStatus

# modes that work in the folder of a run
TRAIN_NOTHING = ("get_embeddings", "corrupt", "virtual_dist")
Overrides = tuple[str, ...]


class Sweep:
    """The jobs of one command with `-m`.

    Args:
        describe: from an exception to the line of a job's error.

    Attributes:
        failed: the jobs that failed, in the order of their numbers.
    """

    def __init__(self, describe: Callable[[Any], str]) -> None:
        self.describe = describe
        self.failed: list[FailedJob] = []
        self.configuration = _configuration_hash(sys.argv[1:])
        self.shared = list(sys.argv)
        self.is_first = int(os.environ.get("RANK", "0")) == 0
        self.composed: dict[Overrides, DictConfig] = {}
        self.known: dict[Overrides, Path] = {}

    def begin(self, loader: ConfigLoader, config: DictConfig) -> None:
        """Reads the index of former commands on the same sweep.

        Args:
            loader: composes the configuration of a job.
            config: of the sweep.
        """
        self.loader, self.config = loader, config
        self.folder = Path(str(config.hydra.sweep.dir))
        self.known = {job.overrides: job.folder for job in sweep_index.read(self.folder)}

    def compose(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes the unfinished jobs, so that mistakes show before the first job runs."""
        for job in map(tuple, batch):
            if job not in self.composed and self.finished(job) is None:
                self.composed[job] = self.loader.load_sweep_config(self.config, list(job))

    def finished(self, overrides: Overrides) -> RunStatus | None:
        """The status of a job that need not run again; None for other jobs."""
        folder = self.known.get(overrides)
        if folder is None:
            return None
        state, _, status = run_status.outcome(folder)
        if state != "done":
            return None
        is_same = (status.command, status.configuration) == (overrides, self.configuration)
        return status if is_same and any(folder.glob("*.pt")) else None

    def launch(
        self, launcher: Launcher, batch: Sequence[Sequence[str]], first: int
    ) -> list[JobReturn]:
        """Launches the unfinished jobs; the results of all, in the order of the batch.

        Args:
            launcher: runs jobs.
            batch: overrides of each job.
            first: number of the first job.
        """
        jobs: list[Overrides] = [tuple(job) for job in batch]
        statuses = {job: self.finished(job) for job in jobs}
        rest = list(dict.fromkeys(job for job in jobs if statuses[job] is None))
        n_finished = sum(status is not None for status in statuses.values())
        if n_finished:
            self._say(f"{n_finished} of {len(statuses)} jobs are finished already")
        self.compose(rest)
        folders = self._queue(rest, first)
        results: dict[Overrides, JobReturn] = {}
        try:
            if rest:
                results = dict(zip(rest, launcher.launch(rest, first), strict=True))
        finally:
            for number, job in enumerate(rest, first):
                self._note_failure(number, job, results.get(job), folders.get(job))
        finished = {job: _result(job, status) for job, status in statuses.items() if status}
        return [(results | finished)[job] for job in jobs]

    def _queue(self, jobs: Sequence[Overrides], first: int) -> dict[Overrides, Path]:
        """Marks jobs as queued and adds them to the index; returns the folders of trainings."""
        folders = {}
        for number, job in enumerate(jobs, first):
            cfg = self.composed.pop(job)
            with open_dict(cfg):
                cfg.hydra.job.num = cfg.hydra.job.id = number
            if cfg.mode.name in TRAIN_NOTHING:
                continue
            folder = folders[job] = Path(str(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir))
            if self.is_first:
                folder.mkdir(parents=True, exist_ok=True)
                if run_status.outcome(folder)[0] != "running":
                    repeatable = self.configuration if cfg.resume == "auto" else ""
                    run_status.write(folder, RunStatus("queued", job, repeatable))
        if self.is_first and folders:
            sweep_index.add(self.folder, [sweep_index.Job(*item) for item in folders.items()])
        return folders

    def _say(self, line: str) -> None:
        if self.is_first:  # Hydra configures logging later
            print(line, file=sys.stderr)

    def _note_failure(
        self, number: int, job: Overrides, result: JobReturn | None, folder: Path | None
    ) -> None:
        """Adds a job to `failed` if its result, or without one its status, says so."""
        error = None
        if result is not None and result.status == JobStatus.FAILED:
            error = self.describe(result._return_value)
        elif result is None and folder is not None:
            state, note, _ = run_status.outcome(folder)
            error = note if state == "failed" else None
        if error is not None:
            self.failed.append(FailedJob(number, without_shared(job, self.shared), error))


def _result(overrides: Overrides, status: RunStatus) -> JobReturn:
    """What a launcher would return for a job that is finished already."""
    result = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    result.return_value = status.metric
    return result


class _Unfinished(Launcher):
    """Gives another launcher the unfinished jobs of a sweep."""

    def __init__(self, inner: Launcher, sweep: Sweep) -> None:
        self.inner, self.sweep = inner, sweep

    def setup(self, **arguments: Any) -> None:
        """Sets the other launcher up."""
        self.inner.setup(**arguments)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs jobs; see `Sweep.launch`."""
        return self.sweep.launch(self.inner, job_overrides, initial_job_idx)


@contextmanager
def recorded(describe: Callable[[Any], str]) -> Iterator[Sweep]:
    """Inside, a sweep that Hydra begins skips its finished jobs and keeps an index of all.

    Args:
        describe: from an exception to the line of a job's error.
    """
    plugins, sweep = Plugins.instance(), Sweep(describe)
    make_sweeper, make_launcher = plugins.instantiate_sweeper, plugins.instantiate_launcher

    def launcher_of(**arguments: Any) -> Launcher:
        sweep.begin(arguments["hydra_context"].config_loader, arguments["config"])
        return _Unfinished(make_launcher(**arguments), sweep)

    def sweeper_of(**arguments: Any) -> Any:
        with sweep_study.quiet():
            sweeper = make_sweeper(**arguments)
        restore()  # before plugins are sent to other processes
        if hasattr(sweeper, "validate_batch_is_legal"):
            sweeper.validate_batch_is_legal = sweep.compose
        return sweep_study.continued(sweeper, sweep.folder)

    def restore() -> None:
        for name in ("instantiate_sweeper", "instantiate_launcher"):
            vars(plugins).pop(name, None)

    vars(plugins).update(instantiate_sweeper=sweeper_of, instantiate_launcher=launcher_of)
    try:
        yield sweep
    finally:
        restore()


def _configuration_hash(arguments: list[str]) -> str:
    """Hash of the files of options of this package and of `--config-dir`."""
    digest = hashlib.sha256()
    for folder in [CONF, *config_folders(arguments)]:
        for path in sorted(folder.rglob("*.yaml")):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
