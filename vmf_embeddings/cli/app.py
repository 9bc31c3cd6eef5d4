"""The command `train`: composes a configuration, builds its objects, runs the chosen mode."""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vmf_embeddings.cli import (
    composition,
    failed_jobs,
    failures,
    job_place,
    overrides,
    own_data,
    sweeps,
)
from vmf_embeddings.cli.assembly import Refused, refusals, register_resolvers
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.training import interruption, run_status
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset

log = logging.getLogger(__name__)


def train(cfg: DictConfig, run_dir: Path, data: "Dataset | None" = None) -> float:
    """Trains what `cfg` names in `run_dir` and returns the best validation metric.

    Args:
        cfg: composed configuration.
        run_dir: folder of the run.
        data: data set to train on instead of the one that `cfg` names.
    """
    from vmf_embeddings.cli import assembly
    from vmf_embeddings.training.fit import fit

    with assembly.refusals():
        job = assembly.training_job(cfg, run_dir, data)
        assembly.refuse_second_stages(job.method)
        assembly.check_learning_sampler(job)
    with interruption.watched():
        return fit(job)


def get_embeddings(cfg: DictConfig, run_dir: Path) -> None:
    """Writes the embeddings of the run in `run_dir`, or of every run of a sweep there."""
    from vmf_embeddings.cli import assembly
    from vmf_embeddings.extract import extract

    overrides = list(HydraConfig.get().overrides.task)
    for folder in assembly.runs_below(run_dir):
        with assembly.refusals():
            job = assembly.extraction_job(cfg, folder, overrides)
        extract(job)


def finetune(cfg: DictConfig, run_dir: Path, overrides: list[str] | None = None) -> float:
    """Trains a head on the frozen backbone of `cfg.run`; returns the best validation metric."""
    from vmf_embeddings.cli import assembly, second_stage
    from vmf_embeddings.training.fit import fit

    if overrides is None:
        overrides = list(HydraConfig.get().overrides.task)
    with assembly.refusals():
        job = second_stage.finetuning_job(cfg, run_dir, overrides)
        assembly.check_learning_sampler(job)
    with interruption.watched():
        return fit(job)


def posthoc(cfg: DictConfig, run_dir: Path, overrides: list[str] | None = None) -> float:
    """Chooses the best of several untrained heads on the backbone of `cfg.run`, by validation."""
    from vmf_embeddings.cli import assembly, posthoc_kappa, second_stage
    from vmf_embeddings.training.posthoc import choose

    if overrides is None:
        overrides = list(HydraConfig.get().overrides.task)
    variants = {
        "tau_norm": second_stage.tau_norms,
        "maxnorm": second_stage.maximal_norms,
        "ncm": second_stage.class_means,
        "vmf_bayes": second_stage.class_densities,
    }
    of_runs_head = {
        "posthoc_tau": second_stage.adjusted_logits,
        "posthoc_kappa": posthoc_kappa.overlap_job,
    }
    with assembly.refusals():
        if cfg.mode.name in of_runs_head:
            job = of_runs_head[cfg.mode.name](cfg, run_dir, overrides)
        else:
            job = second_stage.posthoc_job(cfg, run_dir, overrides, variants[cfg.mode.name])
    return choose(job)


def uncertainty(cfg: DictConfig, run_dir: Path, overrides: list[str] | None = None) -> float:
    """Fits a predictor of the loss to `cfg.run`; returns its AUROC of being right, or NaN."""
    from vmf_embeddings.cli import assembly, uncertainty_stage
    from vmf_embeddings.training.uncertainty import fit_uncertainty

    if overrides is None:
        overrides = list(HydraConfig.get().overrides.task)
    with assembly.refusals():
        job = uncertainty_stage.uncertainty_job(cfg, run_dir, overrides)
    return fit_uncertainty(job)


def both_stages(cfg: DictConfig, run_dir: Path) -> float:
    """Trains, then runs the second stage of `cfg.stages` on that run; resumes in either stage."""
    from vmf_embeddings.cli import assembly, second_stage

    with assembly.refusals():  # composed first, so that mistakes show before training
        second = second_stage.composed(cfg, run_dir)
    folder = run_dir / second.mode.stage
    log.info("Stage 1 of 2, in %s", run_dir)
    train(cfg, run_dir)
    log.info("Stage 2 of 2: %s, in %s", " ".join(cfg.stages.second), folder)
    return MODES[second.mode.name](second, folder, list(cfg.stages.second))


def virtual_dist(cfg: DictConfig, run_dir: Path) -> None:
    """Measures the virtual examples of the run in `run_dir`, or of every run of a sweep there."""
    from vmf_embeddings.cli import assembly, trained_run
    from vmf_embeddings.virtual_distribution.run import virtual_distribution

    overrides = list(HydraConfig.get().overrides.task)
    for folder in assembly.runs_below(run_dir):
        with assembly.refusals():
            job = trained_run.virtual_distribution_job(cfg, folder, overrides)
        virtual_distribution(job)


MODES = {
    "train": train,
    "get_embeddings": get_embeddings,
    "corrupt": get_embeddings,
    "virtual_dist": virtual_dist,
    "finetune": finetune,
    "crt": finetune,
    "lws": finetune,
    "tau_norm": posthoc,
    "maxnorm": posthoc,
    "ncm": posthoc,
    "vmf_bayes": posthoc,
    "posthoc_tau": posthoc,
    "posthoc_kappa": posthoc,
    "uncertainty": uncertainty,
}


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run(cfg: DictConfig) -> float | None:
    """Runs one job; Hydra calls it with each composed configuration."""
    hydra_cfg = HydraConfig.get()
    # relative paths of a command are relative to the folder in which it was typed
    os.chdir(hydra_cfg.runtime.cwd)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    job_place.join_tasks()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        job_place.group_in_trackers(f"{cfg.dataset.name}/{cfg.name}")
    if "n_jobs" in hydra_cfg.launcher:
        job_place.deal_gpu(int(hydra_cfg.job.num))
    try:
        overrides.check_keys(cfg)
        overrides.check_value_types(cfg)
        log.info("Run folder: %s", _from_here(run_dir))
        result = _run_mode(cfg, run_dir, tuple(hydra_cfg.overrides.task))
        log.info("Finished mode=%s in %s", cfg.mode.name, _from_here(run_dir))
        return result
    except Exception as error:
        _log_to_file(error)
        if hydra_cfg.mode == RunMode.MULTIRUN:  # the other jobs of the sweep continue
            print(f"error in job {hydra_cfg.job.num}: {_lines(error)}", file=sys.stderr)
            raise
        sys.exit(report(error))


def _run_mode(cfg: DictConfig, run_dir: Path, command: tuple[str, ...]) -> float | None:
    """Runs the mode of a job, or both stages; a training keeps `status.json` in its folder."""
    work = both_stages if cfg.get("stages") else MODES[cfg.mode.name]
    if cfg.mode.name in sweeps.TRAIN_NOTHING or int(os.environ.get("RANK", "0")):
        return work(cfg, run_dir)
    with run_status.recorded(run_dir, command, _first_line) as recorder:
        recorder.metric = work(cfg, run_dir)
        return recorder.metric


def main() -> None:
    """Runs the command line; exits with 2 for a user's mistake and with 1 for a failure."""
    os.environ.setdefault(FULL_TRACE, "0")
    wants_trace, os.environ[FULL_TRACE] = (
        os.environ[FULL_TRACE],
        "1",
    )  # Hydra re-raises errors, for `report`
    register_resolvers()
    sys.argv[1:] = overrides.with_rank_overrides(sys.argv[1:])
    os.environ[WANTS_TRACE] = wants_trace
    try:
        overrides.refuse_pickles(sys.argv[1:])
        with refusals():
            sys.argv[1:] = own_data.typed_out(sys.argv[1:], _say)
        sys.argv[1:] = overrides.quoted(sys.argv[1:])
        overrides.refuse_before_composing(sys.argv[1:])
        composition.install()
        _run_every_job()
    except KeyboardInterrupt:
        print(
            "interrupted; the same command resumes after the last finished epoch", file=sys.stderr
        )
        sys.exit(130)
    except Exception as error:
        sys.exit(report(error))


def _run_every_job() -> None:
    """Runs the command's job, or every job of its sweep; exits with 1 if one of these failed."""
    with sweeps.recorded(_first_line) as sweep:
        try:
            run()
        except Exception as error:  # of all failed jobs, Hydra raises the first one's
            if not sweep.failed:
                raise
            report(error)
        if sweep.failed:  # a search goes on after them
            print(failed_jobs.table(sweep.failed), file=sys.stderr)
            sys.exit(1)


FULL_TRACE = "HYDRA_FULL_ERROR"
WANTS_TRACE = "VMF_FULL_ERROR"


def report(error: Exception) -> int:
    """Prints an error to standard error, with a traceback if it is no mistake of the user.

    Returns:
        The exit code: 2 for a user's mistake, 1 for a failure.
    """
    if os.environ.get(WANTS_TRACE) == "1":
        traceback.print_exception(error)
    if isinstance(error, Refused):
        print(f"error: {_lines(error)}", file=sys.stderr)
        return 2
    if isinstance(error, HydraException | OmegaConfBaseException):
        explained = job_place.missing_launcher(error) or overrides.explain(error, sys.argv[1:])
        print(f"error: {_lines(explained)}", file=sys.stderr)
        return 2
    machine = failures.explained(error)
    if machine is not None:
        print(f"error: {_lines(machine)}", file=sys.stderr)
        return 1
    if os.environ.get(WANTS_TRACE) != "1":
        own = [f for f in traceback.extract_tb(error.__traceback__) if "/hydra/" not in f.filename]
        print("".join(traceback.format_list(own)), end="", file=sys.stderr)
    print(f"error: {type(error).__name__}: {_lines(error)}", file=sys.stderr)
    return 1


def _first_line(error: BaseException) -> str:
    """What an error says first, with its type where it was not foreseen."""
    line = printable((str(error).splitlines() or [""])[0])
    return line if isinstance(error, Refused) else f"{type(error).__name__}: {line}"


def _say(line: str) -> None:
    """Prints what is said before logging begins; by the first process of `torchrun` alone."""
    if int(os.environ.get("RANK", "0")) == 0:
        print(printable(line), file=sys.stderr)


def _from_here(folder: Path) -> Path:
    """The path of a folder as one would type it: relative where it lies below this one."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _lines(text: object) -> str:
    """The text with every control character but the newline as its escape sequence."""
    return "\n".join(map(printable, str(text).split("\n")))


def _log_to_file(error: Exception) -> None:
    """Writes an error into the job's log file; `report` prints it."""
    record = log.makeRecord(
        log.name, logging.ERROR, __file__, 0, "%s: %s", (type(error).__name__, error), None
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)
