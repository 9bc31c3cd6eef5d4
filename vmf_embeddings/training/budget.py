"""The number of epochs that a budget of images or of minutes allows."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast

from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.loop import Loop
from vmf_embeddings.training.settings import TrainingSettings
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused

TOLERANCE = 0.1  # fraction by which a training may exceed its minutes before it is shortened

log = logging.getLogger(__name__)


def epochs_for_images(images_seen: int, n_images: int, most: int) -> int:
    """Epochs after which about `images_seen` images were trained on, counting repetitions.

    Args:
        images_seen: >= 1.
        n_images: images of an epoch, >= 1.
        most: epochs, >= 0.

    >>> epochs_for_images(100_000, 13_600, 1000), epochs_for_images(100, 13_600, 1000)
    (8, 1)
    """
    return min(most, max(1, math.ceil(images_seen / n_images)))


def epochs_for_minutes(minutes: float, seconds: float, most: int, before: float = 0.0) -> int:
    """Epochs of `seconds` each that fit into `minutes`; at least one, at most `most`.

    Args:
        minutes: budget of the whole training, > 0.
        seconds: that an epoch takes.
        most: epochs, >= 1.
        before: seconds that passed before the first epoch, as for features of a frozen backbone.

    >>> epochs_for_minutes(2, 25.0, 1000), epochs_for_minutes(0.1, 25.0, 1000)
    (4, 1)
    >>> epochs_for_minutes(2, 25.0, 1000, before=60.0)
    2
    """
    return min(most, max(1, int((60 * minutes - before) / max(seconds, 1e-9))))


def epochs_by_now(
    minutes: float, seconds: float, done: int, planned: int, before: float = 0.0
) -> int:
    """The number of epochs after `done` of them: fewer than planned if they have become slower.

    Up to a tenth above the budget, the plan stays, since the learning rates follow it.

    Args:
        minutes: budget of the whole training, > 0.
        seconds: mean duration of an epoch so far.
        done: epochs so far, >= 1.
        planned: epochs, >= `done`.
        before: as for `epochs_for_minutes`.

    >>> epochs_by_now(2, 26.0, 2, 5), epochs_by_now(2, 40.0, 2, 5), epochs_by_now(2, 90.0, 2, 5)
    (5, 3, 2)
    """
    if before + planned * seconds <= 60 * minutes * (1 + TOLERANCE):
        return planned
    return max(done, epochs_for_minutes(minutes, seconds, planned, before))


def epochs_of_interrupted_run(run_dir: Path, minutes: float) -> int | None:
    """The number of epochs that a run with this budget of minutes settled on; None without one."""
    if not (run_dir / checkpoint.LAST).exists():
        return None
    stored = parse_json_object(
        checkpoint.load(run_dir / checkpoint.LAST).get("config", "{}"), str(run_dir)
    )
    mode = stored.get("mode")
    if not isinstance(mode, dict) or mode.get("minutes") != minutes:
        return None
    epochs = mode.get("epochs")
    return epochs if isinstance(epochs, int) and epochs >= 1 else None


def refuse_other_lengths(job: TrainingJob) -> None:
    """Refuses a budget of minutes where a part must know the number of epochs from the beginning.

    Raises:
        Refused: names the part.
    """
    parts = {
        f"sampler={type(job.sampler).__name__}": job.sampler.needs_length,
        f"method={job.method.name}": job.method.needs_n_epochs,
    }
    named = [name for name, needs in parts.items() if needs]
    if job.settings.minutes is not None and named:
        raise Refused(
            f"mode.minutes={job.settings.minutes:g}: the number of epochs follows from the time of "
            f"the first one, but {' and '.join(named)} needs it before: use mode.epochs or "
            "mode.images_seen"
        )


def length_in_words(settings: TrainingSettings, start: int) -> str:
    """What a training that begins with epoch `start` will do, for the log."""
    if start:
        return f"epoch {start} of {settings.epochs}"
    if settings.minutes is not None:
        return f"as many epochs as fit into {settings.minutes:g} minutes"
    return f"{settings.epochs} epochs"


def settled(
    job: TrainingJob, loop: Loop, epoch: int, seconds: float, before: float
) -> tuple[TrainingJob, Loop]:
    """The job and the loop with the number of epochs that `mode.minutes` allows.

    Both are as they were without that budget, and while the epochs still fit. Every process gets
    the number of the first one. Learning rates that depend on the length follow it.

    Args:
        job: what is trained.
        loop: the parts of the training.
        epoch: that has ended, from 0.
        seconds: mean duration of an epoch so far, with its validation.
        before: seconds that passed before the first epoch.
    """
    settings, minutes = job.settings, job.settings.minutes
    if minutes is None:
        return job, loop
    planned = settings.epochs
    now = (
        epochs_by_now(minutes, seconds, epoch + 1, planned, before)
        if epoch
        else epochs_for_minutes(minutes, seconds, planned, before)
    )
    epochs = int(broadcast(torch.tensor(now, device=loop.accelerator.device)))
    if epoch and epochs == planned:
        return job, loop
    config: dict[str, Any] = {**job.config, "mode": {**job.config["mode"], "epochs": epochs}}
    settings = replace(settings, epochs=epochs)
    loop.schedule.set_length(epochs, len(loop.batches))
    instead = f" instead of {planned}, since they have become slower" if epoch else ""
    n_epochs = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    log.info("mode.minutes=%g: %s of %.1f s%s", minutes, n_epochs, seconds, instead)
    return replace(job, settings=settings, config=config), replace(loop, settings=settings)
