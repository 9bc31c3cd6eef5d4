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
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused

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


def epochs_for_minutes(minutes: float, seconds: float, most: int) -> int:
    """Epochs of `seconds` each that fit into `minutes`; at least one, at most `most`.

    >>> epochs_for_minutes(2, 25.0, 1000), epochs_for_minutes(0.1, 25.0, 1000)
    (4, 1)
    """
    return min(most, max(1, int(60 * minutes / max(seconds, 1e-9))))


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


def settled(job: TrainingJob, loop: Loop, epoch: int, seconds: float) -> tuple[TrainingJob, Loop]:
    """The job and the loop with the number of epochs that `mode.minutes` allows.

    Both are as they were after later epochs, and without that budget. Every process gets the number
    of the first one. Learning rates that depend on the length follow it from the second epoch on.

    Args:
        job: what is trained.
        loop: the parts of the training.
        epoch: that has ended, from 0.
        seconds: that it took, with its validation.
    """
    settings, minutes = job.settings, job.settings.minutes
    if minutes is None or epoch > 0:
        return job, loop
    found = torch.tensor(
        epochs_for_minutes(minutes, seconds, settings.epochs), device=loop.accelerator.device
    )
    epochs = int(broadcast(found))
    config: dict[str, Any] = {**job.config, "mode": {**job.config["mode"], "epochs": epochs}}
    settings = replace(settings, epochs=epochs)
    loop.schedule.set_length(epochs, len(loop.batches))
    log.info("mode.minutes=%g: %d epochs of %.1f s", minutes, epochs, seconds)
    return replace(job, settings=settings, config=config), replace(loop, settings=settings)
