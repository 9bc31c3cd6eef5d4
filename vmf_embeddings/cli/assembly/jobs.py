"""Whole jobs: everything that a training or an extraction needs, built and checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.checks import (
    refuse_other_batches,
    warn_of_contradictions,
    warn_of_lost_lengths,
    warn_of_rates,
)
from vmf_embeddings.cli.assembly.construct import instantiate
from vmf_embeddings.cli.assembly.objective import objective
from vmf_embeddings.cli.assembly.parts import dataset, method, refuse_unread_groups, resolve_use_vmf
from vmf_embeddings.cli.assembly.refused import Refused


def training_job(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Everything that `training.fit.fit` needs, built and checked."""
    import torch

    from vmf_embeddings.cli import trained_run
    from vmf_embeddings.training.checkpoint import last_state
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.training.settings import Settings

    resolve_use_vmf(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    if cfg.run is not None:
        raise Refused(
            f"run={cfg.run} names a run to extract from: add mode=get_embeddings. Training names "
            "its folder by name=…"
        )
    settings = Settings.from_config(plain)
    seed_everything(cfg.random_seed)
    data = dataset(cfg)
    labels = data.split("train").labels
    for name in (settings.validates_on, *settings.evaluate_on):
        data.split(name)  # refuses now where the data set has no such split
    sampler = instantiate("sampler", cfg.sampler, labels=labels, seed=cfg.random_seed)
    make_optimizer: Callable[[list[dict]], Any] = instantiate(
        "optimizer", cfg.optimizer, _partial_=True
    )
    make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])  # refuses wrong values now
    schedule = instantiate("schedule", cfg.schedule)
    state = None
    if settings.resume == "auto":
        identity = data.split("train").identity
        state = last_state(run_dir, plain, identity, same_length=schedule.needs_length)
    refuse_unread_groups(cfg)
    built = method(cfg, data, pretrained=state is None)
    trained_run.give_teacher(built, cfg, data)
    refuse_other_batches(built, sampler, data)
    warn_of_contradictions(built, sampler)
    warn_of_rates(built, cfg.mode.learning_rate)
    warn_of_lost_lengths(built)
    return {
        "method": built,
        "dataset": data,
        "sampler": sampler,
        "make_optimizer": make_optimizer,
        "schedule": schedule,
        "settings": settings,
        "run_dir": run_dir,
        "config": plain,
        "state": state,
    }


def extraction_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Everything that `extract.extract` needs, built from the run's own configuration."""
    from vmf_embeddings.cli.run_config import configuration_of_run
    from vmf_embeddings.training.checkpoint import load_best
    from vmf_embeddings.training.execution import ExecutionSettings
    from vmf_embeddings.training.seeding import seed_everything

    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    speed = ExecutionSettings.from_config(
        trainer | {"precision": "no"}
    )  # embeddings are written in float32
    checkpoint = load_best(run_dir)
    trained = configuration_of_run(cfg, run_dir, checkpoint, overrides)
    seed_everything(trained.random_seed)
    data = dataset(trained)
    built = method(trained, data, pretrained=False)
    splits = ("train", "valid", "test") if cfg.split == "all" else (cfg.split,)
    known = {"train", "valid", "test"}
    if not set(splits) <= known:
        raise Refused(f"split={cfg.split}: expected test, valid, train or all")
    return {
        "method": built,
        "dataset": data,
        "checkpoint": checkpoint,
        "splits": splits,
        "run_dir": run_dir,
        "method_name": str(trained.method.name),
        "objective": objective(trained),
        "seed": int(trained.random_seed),
        "batch_size": int(cfg.mode.batch_size),
        "num_workers": int(cfg.num_workers),
        "speed": speed,
    }
