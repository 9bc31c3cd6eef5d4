"""Builds and checks what a training or an extraction needs, from a composed configuration."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.checks import (
    is_adaptive,
    refuse_other_batches,
    refuse_single_class,
    warn_of_contradictions,
    warn_of_lost_norms,
    warn_of_rates,
    warn_of_slow_scale,
)
from vmf_embeddings.cli.assembly.construct import instantiate
from vmf_embeddings.cli.assembly.execution import float32_execution
from vmf_embeddings.cli.assembly.inputs import fill_in_features
from vmf_embeddings.cli.assembly.lengths import resolve_epochs
from vmf_embeddings.cli.assembly.net_inputs import resolve_net_inputs
from vmf_embeddings.cli.assembly.objective import objective
from vmf_embeddings.cli.assembly.optimizer_errors import checked_optimizer
from vmf_embeddings.cli.assembly.parts import dataset, method, refuse_unread_groups, resolve_use_vmf
from vmf_embeddings.cli.assembly.refused import Refused

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset, Split
    from vmf_embeddings.extract import ExtractionJob
    from vmf_embeddings.methods.base import Method
    from vmf_embeddings.samplers.base import BatchSampler
    from vmf_embeddings.training.job import TrainingJob
    from vmf_embeddings.training.optimizers import OptimizerFactory
    from vmf_embeddings.training.schedules import Schedule
    from vmf_embeddings.training.settings import TrainingSettings

SPLITS = ("train", "valid", "test")
STORES = ("npz", "folder")


def training_job(cfg: DictConfig, run_dir: Path, data: "Dataset | None" = None) -> "TrainingJob":
    """Builds everything that `training.fit.fit` needs.

    Args:
        cfg: composed configuration; `arch.params.use_vmf`, and `in_features` of a network on
            vectors, are filled in where they are null.
        run_dir: folder of the run. If an interrupted run is in it, the job resumes that run.
        data: data set to train on instead of the one that `cfg` names.

    Raises:
        Refused: parts do not work together, or the folder holds a run of another configuration.
        ValueError: a value is outside its range.
    """
    from vmf_embeddings.training.budget import refuse_other_lengths
    from vmf_embeddings.training.job import TrainingJob
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.training.selection import refuse_unsuited
    from vmf_embeddings.training.settings import TrainingSettings

    resolve_use_vmf(cfg)
    resolve_net_inputs(cfg)
    if cfg.run is not None:
        raise Refused(
            f"run={cfg.run} names a run to extract from: add mode=get_embeddings. The folder of a "
            "training is named by name=…"
        )
    settings = TrainingSettings.from_config(OmegaConf.to_container(cfg, resolve=True))
    seed_everything(cfg.random_seed)
    data = dataset(cfg) if data is None else data
    fill_in_features(cfg, data)
    resolve_epochs(cfg, data, run_dir)
    config = OmegaConf.to_container(cfg, resolve=True)
    settings = TrainingSettings.from_config(config)
    for name in (settings.validates_on, *settings.evaluate_on):
        data.split(name)  # raises now if the data set has no such split
    refuse_single_class(data)
    train = data.split("train")
    sampler = instantiate("sampler", cfg.sampler, labels=train.labels, seed=cfg.random_seed)
    if sampler.needs_blocks:
        sampler.set_blocks(train.blocks)
    make_optimizer = _optimizer_factory(cfg)
    schedule = instantiate("schedule", cfg.schedule)
    state = _state_to_resume(settings, run_dir, config, train.identity, schedule)
    refuse_unread_groups(cfg)
    built = _method_to_train(cfg, data, sampler, pretrained=state is None)
    _check_rates(built, make_optimizer, settings.epochs * len(sampler), cfg)
    held_out, open_set = data.split(settings.validates_on), data.open_set
    refuse_unsuited(settings.select_by, built, held_out, open_set=open_set)
    job = TrainingJob(
        method=built,
        dataset=data,
        sampler=sampler,
        make_optimizer=make_optimizer,
        settings=settings,
        run_dir=run_dir,
        config=config,
        state=state,
        schedule=schedule,
    )
    refuse_other_lengths(job)
    return job


def _check_rates(
    built: "Method", make_optimizer: "OptimizerFactory", n_steps: int, cfg: DictConfig
) -> None:
    """Refuses learning rates at which training diverges; warns of a scale that hardly moves."""
    rate, adaptive = float(cfg.mode.learning_rate), is_adaptive(make_optimizer)
    built.refuse_rates(rate, adaptive=adaptive)
    if adaptive and n_steps:
        warn_of_slow_scale(built, rate, n_steps)


def check_options(cfg: DictConfig) -> None:
    """Checks what needs neither data nor a network: settings, optimizer and schedule.

    Raises:
        Refused: a key or a value is not one that they take.
        ValueError: a value is outside its range.
    """
    from vmf_embeddings.training.settings import TrainingSettings

    TrainingSettings.from_config(OmegaConf.to_container(cfg, resolve=True))
    _optimizer_factory(cfg)
    instantiate("schedule", cfg.schedule)


def _optimizer_factory(cfg: DictConfig) -> "OptimizerFactory":
    """From parameter groups to the configured optimizer; called once to check its values now."""
    make_optimizer = instantiate("optimizer", cfg.optimizer, _partial_=True)
    checked_optimizer(make_optimizer, cfg.optimizer)
    return make_optimizer


def _state_to_resume(
    settings: "TrainingSettings",
    run_dir: Path,
    config: dict[str, Any],
    train_identity: str,
    schedule: "Schedule",
) -> dict[str, Any] | None:
    """The last checkpoint in the run's folder; None if there is none, or with resume=never."""
    from vmf_embeddings.training.checkpoint import last_state

    if settings.resume != "auto":
        return None
    return last_state(run_dir, config, train_identity, same_length=schedule.needs_length)


def _method_to_train(
    cfg: DictConfig, data: "Dataset", sampler: "BatchSampler", *, pretrained: bool
) -> "Method":
    """The configured method with its teacher, checked against the sampler and the data set."""
    from vmf_embeddings.cli import trained_run

    built = method(cfg, data, pretrained=pretrained)
    trained_run.set_teacher(built, cfg, data)
    options = cfg.dataset.get("params", {}).keys()
    refuse_other_batches(built, sampler, data, options=options)
    warn_of_contradictions(built, sampler)
    warn_of_rates(built, cfg.mode.learning_rate)
    warn_of_lost_norms(built)
    return built


def extraction_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> "ExtractionJob":
    """Builds everything that `extract.extract` needs, from the configuration of a trained run.

    Args:
        cfg: composed configuration of the command.
        run_dir: folder of the trained run.
        overrides: the command's overrides as typed; they must not contradict the run.

    Raises:
        Refused: an override contradicts the run, or `split` is unknown.
        FileNotFoundError: there is no checkpoint in the folder.
    """
    from vmf_embeddings.cli.run_config import configuration_of_run
    from vmf_embeddings.cli.stored_sizes import building_from
    from vmf_embeddings.extract import ExtractionJob
    from vmf_embeddings.training.checkpoint import load_best
    from vmf_embeddings.training.seeding import seed_everything

    _check_store(cfg)
    corrupted = _corrupted(cfg.mode) if "corruption" in cfg.mode else None
    execution = float32_execution(cfg)
    checkpoint = load_best(run_dir)
    run_cfg = configuration_of_run(cfg, run_dir, checkpoint, overrides)
    seed_everything(run_cfg.random_seed)
    data = dataset(run_cfg)
    with building_from(checkpoint, str(run_dir)):
        built = method(run_cfg, data, pretrained=False)
    splits = SPLITS if cfg.split == "all" else (cfg.split,)
    if not set(splits) <= set(SPLITS):
        raise Refused(f"split={cfg.split}: expected test, valid, train or all")
    return ExtractionJob(
        method=built,
        dataset=data,
        checkpoint=checkpoint,
        splits=splits,
        run_dir=run_dir,
        method_name=str(run_cfg.method.name),
        seed=int(run_cfg.random_seed),
        batch_size=int(cfg.mode.batch_size),
        num_workers=int(cfg.num_workers),
        execution=execution,
        objective=objective(run_cfg),
        store=str(cfg.mode.store),
        part=_part(cfg.mode.part),
        shard_rows=cfg.mode.shard_rows,
        corrupted=corrupted,
    )


def _corrupted(mode: DictConfig) -> "Callable[[Dataset, str], Split]":
    """What `mode=corrupt` asks for.

    Raises:
        ValueError: a corruption or a level is none.
    """
    from vmf_embeddings.datasets.corruption import Corruptions, corrupted_split

    strengths = OmegaConf.to_container(mode.strengths)
    # text, as the values of keys that are text: also a list
    names = [name.strip() for name in str(mode.corruption).strip("[]").split(",")]
    if names == ["all"]:
        names = list(strengths)
    if type(mode.seed) is not int or mode.seed < 0:
        raise ValueError(f"mode.seed must be a whole number, 0 or more; got {mode.seed!r}")
    levels = {name: tuple(strengths.get(name) or ()) for name in names}
    return partial(corrupted_split, corruptions=Corruptions(levels, mode.seed))


def _part(value: Any) -> tuple[int, int] | None:
    """`mode.part`, such as 3/64, as its two numbers."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value))
    part, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= count:
        raise Refused(f"mode.part={value}: expected a part of several, from 1/64 to 64/64, or null")
    return part, count


def _check_store(cfg: DictConfig) -> None:
    """Refuses an unknown store, and values that belong to another one.

    Raises:
        Refused: names the key.
    """
    if cfg.mode.store not in STORES:
        raise Refused(f"mode.store={cfg.mode.store}: expected {' or '.join(STORES)}")
    if cfg.mode.part is not None and cfg.mode.store != "folder":
        raise Refused(f"mode.part={cfg.mode.part} needs mode.store=folder")
    _part(cfg.mode.part)
    rows = cfg.mode.shard_rows
    if type(rows) is not int or rows < 1024 or rows % 1024:
        raise Refused(f"mode.shard_rows={rows}: expected a multiple of 1024, such as 16384")
