"""Trained runs that a command builds upon: as teacher, frozen backbone, or object of study."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.assembly.execution import float32_execution
from vmf_embeddings.cli.run_config import configuration_of_run
from vmf_embeddings.cli.stored_sizes import building_from
from vmf_embeddings.training.checkpoint import load_best
from vmf_embeddings.training.stored_state import load_weights

if TYPE_CHECKING:
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method
    from vmf_embeddings.virtual_distribution.run import VirtualDistributionJob


class TrainedRun:
    """The best checkpoint of a run, and the configuration it was trained with.

    Args:
        cfg: composed configuration of the command, for keys that the run does not determine.
        folder: folder of the run.
        overrides: the command's overrides as typed; they must not contradict the run.

    Raises:
        Refused: there is no such folder, or an override contradicts the run.
        FileNotFoundError: there is no checkpoint in the folder.
    """

    def __init__(self, cfg: DictConfig, folder: Path, overrides: Sequence[str] = ()) -> None:
        if not folder.is_dir():
            raise Refused(f"{folder}: no trained run, for there is no such folder")
        self.folder = folder
        self.checkpoint: dict[str, Any] = load_best(folder)
        self.config = configuration_of_run(cfg, folder, self.checkpoint, list(overrides))

    @cached_property
    def dataset(self) -> "Dataset":
        """The run's own data set; its files were checked to exist."""
        return assembly.dataset(self.config)

    @property
    def train_identity(self) -> str:
        """Hash of its training images; computed from its data set if the checkpoint lacks it."""
        return self.checkpoint.get("train_identity") or self.dataset.split("train").identity

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(channels, H, W) of the images it was trained on, or (F,) of vectors."""
        return tuple(assembly.instantiate("dataset", self.config.dataset).example_shape)

    def method(self, dataset: "Dataset") -> "Method":
        """The trained method, in evaluation mode and without gradients.

        Args:
            dataset: determines the number of classes if the run's configuration does not.

        Raises:
            Refused: the checkpoint does not fit the configuration.
        """
        with building_from(self.checkpoint, str(self.folder)):
            method = assembly.method(self.config, dataset, pretrained=False)
        load_weights(method, self.checkpoint, str(self.folder))
        return method.eval().requires_grad_(False)


def named_folder(cfg: DictConfig) -> Path:
    """The folder `cfg.run` of the run that a second stage builds upon.

    Raises:
        Refused: none is named.
    """
    if cfg.run is None:
        raise Refused(
            f"mode={cfg.mode.name} builds upon a trained run: add run=FOLDER, the folder of a "
            "run by mode=train"
        )
    return Path(cfg.run)


def refuse_other_images(run: TrainedRun, dataset: "Dataset", what: str) -> None:
    """Refuses a run that was trained on other images than the training images of `dataset`.

    Args:
        run: the trained run.
        dataset: data set of the command.
        what: what the run is used as, for the message.

    Raises:
        Refused: its training images or classes differ, or it used another image size.
    """
    identity = dataset.split("train").identity
    if run.train_identity != identity:
        raise Refused(
            f"{what} {run.folder} was trained on other images (dataset="
            f"{run.config.dataset.name}, identity {run.train_identity[:12]}) than these "
            f"(dataset={dataset.name}, identity {identity[:12]}): if some of them are held out "
            "here, they would leak. Use the same dataset and dataset.params as that run, or a run "
            f"trained on these images{_why_other(run, dataset)}"
        )
    if run.example_shape != dataset.example_shape:
        raise Refused(
            f"{what} {run.folder} was trained on images {run.example_shape} (channels, height, "
            f"width), here they are {dataset.example_shape}; use the same dataset.params"
        )


def _why_other(run: TrainedRun, dataset: "Dataset") -> str:
    """What may have made identities differ that nobody typed: how images are read since 1.0."""
    from vmf_embeddings.training.checkpoint import READ_OTHERWISE

    transform = dataset.image_transform
    is_new = transform is not None and transform.background is not None
    params = run.config.dataset.params or {}
    was_older = "background" in params and params["background"] is None
    return f". {READ_OTHERWISE}" if is_new and was_older else ""


def set_teacher(method: "Method", cfg: DictConfig, dataset: "Dataset") -> None:
    """Loads the trained method that a method learns from, if it has a teacher.

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


def virtual_distribution_job(
    cfg: DictConfig, folder: Path, overrides: list[str]
) -> "VirtualDistributionJob":
    """Builds everything that `virtual_distribution.run.virtual_distribution` needs.

    Args:
        cfg: composed configuration of the command.
        folder: folder of the run.
        overrides: the command's overrides as typed; they must not contradict the run.

    Raises:
        Refused: a run in `mode.compare` was trained on other images, or a value is out of range.
    """
    from vmf_embeddings.metrics import Thresholds
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.virtual_distribution.distribution import softenings
    from vmf_embeddings.virtual_distribution.run import VirtualDistributionJob

    mode = OmegaConf.to_container(cfg.mode, resolve=True)
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
    return VirtualDistributionJob(
        runs=runs,
        dataset=run.dataset,
        wanted=wanted,
        thresholds=thresholds,
        run_dir=folder,
        seed=int(run.config.random_seed),
        batch_size=int(mode["batch_size"]),
        num_workers=int(cfg.num_workers),
        execution=float32_execution(cfg),
    )
