"""The number of epochs of a training, where the configuration gives a budget instead."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vmf_embeddings.cli.assembly.refused import Refused

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset

log = logging.getLogger(__name__)


def resolve_epochs(cfg: DictConfig, data: "Dataset", run_dir: Path) -> None:
    """Sets `mode.epochs` to what `mode.images_seen` allows, or to what an earlier run settled on.

    Args:
        cfg: composed configuration; changed in place, so that records state the number.
        data: determines the number of training images or vectors.
        run_dir: where an interrupted run with `mode.minutes` may lie.

    Raises:
        Refused: two budgets, or one that is no number above 0.
    """
    from vmf_embeddings.training import budget

    images, minutes = cfg.mode.get("images_seen"), cfg.mode.get("minutes")
    if images is not None and minutes is not None:
        raise Refused(
            f"mode.images_seen={images} and mode.minutes={minutes} are two budgets: set one of "
            "them to null"
        )
    if images is not None:
        if type(images) is not int or images < 1:
            raise Refused(f"mode.images_seen must be a whole number >= 1 or null, got {images!r}")
        train = data.split("train")
        epochs = budget.epochs_for_images(images, len(train), cfg.mode.epochs)
        log.info("mode.images_seen=%d: %d epochs of %d %s", images, epochs, len(train), train.unit)
        cfg.mode.epochs = epochs
    elif minutes is not None and cfg.resume == "auto":
        cfg.mode.epochs = budget.epochs_of_interrupted_run(run_dir, minutes) or cfg.mode.epochs
