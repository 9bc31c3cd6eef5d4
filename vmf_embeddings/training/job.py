"""What `fit` works on: the built and checked objects of one training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmf_embeddings.datasets.base import Dataset
from vmf_embeddings.methods.base import Method
from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.training.optimizers import OptimizerFactory
from vmf_embeddings.training.schedules import Constant, Schedule
from vmf_embeddings.training.settings import TrainingSettings


def _constant_rates() -> Schedule:
    return Constant("epoch", 0, None)


@dataclass(frozen=True)
class TrainingJob:
    """The objects and values of one training.

    Attributes:
        method: trained in place.
        dataset: source of the splits `train`, `settings.validates_on` and `settings.evaluate_on`.
        sampler: batches of indices into the training split; each is divided among the processes.
        make_optimizer: builds the optimizer from parameter groups.
        settings: options of the training loop.
        run_dir: existing folder for checkpoints and records.
        config: the whole configuration as plain values; every checkpoint stores it as JSON.
        state: last checkpoint of an interrupted run, from which training resumes; None starts at
            epoch 0.
        schedule: sets the learning rates during training; the default keeps them constant.
    """

    method: Method
    dataset: Dataset
    sampler: BatchSampler
    make_optimizer: OptimizerFactory
    settings: TrainingSettings
    run_dir: Path
    config: dict[str, Any]
    state: dict[str, Any] | None = None
    schedule: Schedule = field(default_factory=_constant_rates)
