"""The content of a checkpoint: the keys of 2021, and what resuming and later use need."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from vmf_embeddings.training.class_parts import KEY as CLASS_PARTS
from vmf_embeddings.training.data_description import data_description
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.loop import Loop


class States(NamedTuple):
    """States of the method and of the optimizer.

    Attributes:
        of_method: of the method.
        of_optimizer: of the optimizer.
        class_parts: names the files with what they lack, see `class_parts`; None = nothing.
    """

    of_method: dict[str, Any]
    of_optimizer: dict[str, Any]
    class_parts: dict[str, int] | None = None


def states(loop: Loop, run_dir: Path) -> States:
    """The states for a checkpoint, complete in the first process; every process must call it.

    Where classes are divided, each process writes those of its own to the run's folder.
    """
    optimizer = loop.optimizer.optimizer
    if loop.backbone is None:
        found = loop.method.state_dict(), optimizer.state_dict()
    else:
        found = loop.backbone.whole_states(optimizer)
    if loop.sharded is None:
        return States(*found)
    return States(*loop.sharded.write_rows(*found, optimizer, run_dir))


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
        best: the best epoch, see `Selection.updated`.
        status: of `loop.status()`.
    """
    of_method, of_optimizer, class_parts = parts
    of_arch = {k.removeprefix("arch."): x for k, x in of_method.items() if k.startswith("arch.")}
    return {
        "epoch": epoch,
        "best_epoch": dict(best),
        "selected_on": loop.settings.select,
        "selected_by": loop.selection.by,
        "train_identity": loop.batches.split.identity,
        "arch_state_dict": of_arch if loop.backbone else loop.method.arch.state_dict(),
        "optimizer_state_dict": of_optimizer,
        "scheduler_state_dict": loop.schedule.state_dict(),
        "z_kappa_mult": status.get("kappa_scale", 1.0),
        "method_state_dict": of_method,
        "sampler_state_dict": loop.batches.sampler.state_dict(),
        "config": json.dumps(job.config),
        **({} if class_parts is None else {CLASS_PARTS: class_parts}),
        **data_description(job.dataset),
    }
