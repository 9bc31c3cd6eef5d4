"""The content of a checkpoint: the keys of 2021, and what resuming and later use need."""

import json
from typing import Any

from vmf_embeddings.training.data_description import data_description
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.loop import Loop

States = tuple[dict[str, Any], dict[str, Any]]


def states(loop: Loop) -> States:
    """States of the method and of the optimizer; complete in the first process."""
    if loop.sharded is not None:
        return loop.sharded.whole_states(loop.optimizer.optimizer)
    return loop.method.state_dict(), loop.optimizer.state_dict()


def content(
    loop: Loop,
    job: TrainingJob,
    parts: States,
    *,
    epoch: int,
    best: dict[str, Any],
    status: dict[str, float],
) -> dict[str, Any]:
    """The content of a checkpoint.

    Args:
        loop: parts of the training.
        job: what is trained.
        parts: of `states`.
        epoch: the latest finished one; -1 before the first.
        best: `epoch`, `train_loss` and `valid_acc` of the best epoch.
        status: of `loop.status()`.
    """
    of_method, of_optimizer = parts
    return {
        "epoch": epoch,
        "best_epoch": dict(best),
        "selected_on": loop.settings.select,
        "train_identity": loop.batches.split.identity,
        "arch_state_dict": loop.method.arch.state_dict(),
        "optimizer_state_dict": of_optimizer,
        "scheduler_state_dict": loop.schedule.state_dict(),
        "z_kappa_mult": status.get("kappa_scale", 1.0),
        "method_state_dict": of_method,
        "sampler_state_dict": loop.batches.sampler.state_dict(),
        "config": json.dumps(job.config),
        **data_description(job.dataset),
    }
