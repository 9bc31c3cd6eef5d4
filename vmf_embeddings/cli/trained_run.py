"""Trained runs as what a command builds upon: a teacher, or a network to look at."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.run_config import configuration_of_run
from vmf_embeddings.training.checkpoint import load_best
from vmf_embeddings.training.stored_state import give_weights

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method


class TrainedRun:
    """The best state of a run, and the configuration it was trained with.

    Args:
        cfg: today's composed configuration, for what the run does not decide.
        folder: of the run.
        overrides: today's overrides, where they may not contradict the run.
    """

    def __init__(self, cfg: DictConfig, folder: Path, overrides: Sequence[str] = ()) -> None:
        if not folder.is_dir():
            raise Refused(f"{folder}: no trained run, for there is no such folder")
        self.folder = folder
        self.checkpoint: dict[str, Any] = load_best(folder)
        self.config = configuration_of_run(cfg, folder, self.checkpoint, list(overrides))

    @cached_property
    def dataset(self) -> "Dataset":
        """The run's own data set, checked to be there."""
        return assembly.dataset(self.config)

    @property
    def train_identity(self) -> str:
        """Hash of its training images; checkpoints that lack it have their data set looked at."""
        return self.checkpoint.get("train_identity") or self.dataset.split("train").identity

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of the images it was trained on."""
        return tuple(assembly.instantiate("dataset", self.config.dataset).image_shape)

    def method(self, dataset: "Dataset") -> "Method":
        """The trained method, in evaluation mode and without gradients.

        Args:
            dataset: says how many classes there are where the run's configuration does not.
        """
        method = assembly.method(self.config, dataset, pretrained=False)
        give_weights(method, self.checkpoint, str(self.folder))
        return method.eval().requires_grad_(False)


def refuse_other_images(run: TrainedRun, dataset: "Dataset", what: str) -> None:
    """Makes sure that a run was trained on the training images of `dataset`.

    Args:
        run: trained before.
        dataset: of today's command.
        what: the part that the run plays, for the message.

    Raises:
        Refused: it was trained on other images or classes, or saw them in another size.
    """
    mine = dataset.split("train").identity
    if run.train_identity != mine:
        raise Refused(
            f"{what} {run.folder} was trained on other images (dataset="
            f"{run.config.dataset.name}, identity {run.train_identity[:12]}) than these "
            f"(dataset={dataset.name}, identity {mine[:12]}): what it saw of theirs would leak. "
            "Take the same dataset and dataset.params as that run, or a run trained on these images"
        )
    if run.image_shape != tuple(dataset.image_shape):
        raise Refused(
            f"{what} {run.folder} was trained on images {run.image_shape} (channels, height, "
            f"width), here they are {tuple(dataset.image_shape)}; take the same dataset.params"
        )


def give_teacher(method: "Method", cfg: DictConfig, dataset: "Dataset") -> None:
    """Hands a method the trained method it learns from, if it learns from one.

    Raises:
        Refused: no teacher is named, or it was trained on other images.
    """
    if not type(method).has_teacher():
        return
    if method.teacher_run is None:
        raise Refused(
            f"method={method.name} needs a trained teacher: add method.params.teacher=RUN, the "
            "folder of a run on the same training images"
        )
    teacher = TrainedRun(cfg, Path(method.teacher_run))
    refuse_other_images(teacher, dataset, "the teacher")
    method.set_teacher(teacher.method(dataset))


def virtual_distribution_job(cfg: DictConfig, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Everything that `virtual_distribution.run.virtual_distribution` needs."""
    from vmf_embeddings.metrics import Thresholds
    from vmf_embeddings.training.execution import ExecutionSettings
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.virtual_distribution.distribution import softenings

    mode = OmegaConf.to_container(cfg.mode, resolve=True)
    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    wanted = softenings(mode["temperatures"], mode["powers"])
    thresholds = Thresholds(mode["many_above"], mode["few_below"], mode["few_max_inclusive"])
    run = TrainedRun(cfg, folder, overrides)
    seed_everything(run.config.random_seed)
    refuse_other_images(run, run.dataset, "the run")
    runs = {str(folder): run.method(run.dataset)}
    for other in map(Path, mode["compare"]):
        compared = TrainedRun(cfg, other)
        refuse_other_images(compared, run.dataset, "the run")
        runs[str(other)] = compared.method(run.dataset)
    return {
        "runs": runs,
        "dataset": run.dataset,
        "wanted": wanted,
        "thresholds": thresholds,
        "run_dir": folder,
        "seed": int(run.config.random_seed),
        "batch_size": int(mode["batch_size"]),
        "num_workers": int(cfg.num_workers),
        "speed": ExecutionSettings.from_config(trainer | {"precision": "no"}),
    }
