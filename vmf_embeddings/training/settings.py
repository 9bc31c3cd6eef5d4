"""Options of the training loop, checked when the configuration is read."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vmf_embeddings.methods.class_sampling import ClassSampling
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.selection import CHOICES
from vmf_embeddings.training.trackers import WANDB_MODES

# the trackers of Accelerate, without TensorBoard, which is always written
TRACKERS = ("aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb")
MINIMUM = {
    "mode.epochs": 0,
    "mode.patience": 1,
    "mode.warmup_epochs": 0,
    "mode.temp_learning_rate": 0,
    "trainer.eval_batch_size": 1,
    "trainer.feature_views": 0,
    "trainer.micro_batches": 1,
    "random_seed": 0,
    "num_workers": 0,
}


@dataclass(frozen=True)
class TrainingSettings:
    """Options of the training loop.

    Attributes:
        epochs: maximum number of epochs, >= 0; 0 validates the initial weights and keeps them.
        patience: training stops after this many epochs without a better metric, >= 1.
        temp_learning_rate: learning rate of the log temperature tau, >= 0.
        class_weight_decay: `none`, `reference` or `all`, see `Method.param_groups`.
        select: how the kept epoch is selected: `valid`, `test` (best metric on that split) or
            `last` (the final epoch).
        select_by: which metric of that split, see `training.selection.CHOICES`.
        random_seed: >= 0.
        num_workers: worker processes that load image files, >= 0.
        eval_batch_size: images per step outside training, >= 1.
        execution: device, precision, threads.
        search: backend of the nearest-neighbour search, `auto`, `torch` or `faiss`.
        resume: `auto` continues an interrupted run in the folder, `never` starts again.
        trackers: names of Accelerate's trackers besides TensorBoard.
        warmup_epochs: epochs during which the backbones' pretrained part is frozen, >= 0.
        evaluate_on: splits that are also evaluated after every epoch, among `train`, `valid`,
            `test`.
        evaluate_k: the k of their Recall@k, each >= 1.
        feature_cache: where features of a frozen backbone are kept: `memory`, `disk`, `auto` (in
            memory if they take at most a quarter of what is free, else on disk), or `off`.
        feature_cache_dir: folder of the files of cached features.
        feature_views: augmented copies of each training image whose features are cached, >= 0; 0 =
            features of images without augmentation.
        micro_batches: parts of a batch, >= 1; the activations of one are in memory at a time.
        shard_backbone: whether each of several processes holds a part of the backbone only.
        shard_classes: whether each of several processes holds the weights of some classes only.
        sampling: draws the classes that the loss of a step uses; None = all.
        save_minutes: minutes after which a checkpoint is written inside an epoch, > 0; None = only
            when a signal ends the training.
        minutes: budget of the whole training, > 0: the first epoch is timed, and as many are run as
            fit, at most `epochs`; None = `epochs`.

    Raises:
        ValueError: a value is outside its range; names the configuration key.
    """

    epochs: int
    patience: int
    temp_learning_rate: float
    class_weight_decay: str
    select: str
    random_seed: int
    num_workers: int
    eval_batch_size: int
    execution: ExecutionSettings
    search: str
    resume: str
    trackers: tuple[str, ...] = ()
    warmup_epochs: int = 0
    evaluate_on: tuple[str, ...] = ()
    evaluate_k: tuple[int, ...] = (1,)
    feature_cache: str = "off"
    feature_cache_dir: str = "feature_cache"
    feature_views: int = 0
    micro_batches: int = 1
    shard_backbone: bool = False
    shard_classes: bool = False
    sampling: ClassSampling | None = None
    minutes: float | None = None
    save_minutes: float | None = 30.0
    select_by: str = "auto"

    def __post_init__(self) -> None:
        _check_choice("search", self.search, ("auto", "torch", "faiss"))
        _check_choice("resume", self.resume, ("auto", "never"))
        decays = ("none", "reference", "all")
        _check_choice("mode.class_weight_decay", self.class_weight_decay, decays)
        _check_choice("mode.select", self.select, ("valid", "test", "last"))
        _check_choice("mode.select_by", self.select_by, CHOICES)
        caches = ("auto", "memory", "disk", "off")
        _check_choice("trainer.feature_cache", self.feature_cache, caches)
        for key, value in (
            ("mode.minutes", self.minutes),
            ("trainer.save_minutes", self.save_minutes),
        ):
            if value is not None:
                _check_minutes(key, value)
        _check_bool("trainer.shard_classes", self.shard_classes)
        _check_bool("trainer.shard_backbone", self.shard_backbone)
        for split in self.evaluate_on:
            _check_choice("mode.evaluate_on", split, ("train", "valid", "test"))
        if not self.evaluate_k or not all(type(k) is int and k >= 1 for k in self.evaluate_k):
            raise ValueError(
                f"mode.evaluate_k: expected numbers >= 1 as in [1,2,4], got {list(self.evaluate_k)}"
            )
        for tracker in self.trackers:
            _check_tracker(tracker)
        _check_whole("trainer.micro_batches", self.micro_batches)
        for key, minimum in MINIMUM.items():
            _check_minimum(key, getattr(self, key.rpartition(".")[2]), minimum)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TrainingSettings":
        """Reads the settings from a composed configuration.

        Args:
            config: plain values of the whole configuration; read are `mode`, `trainer`, `logger`,
                `random_seed`, `num_workers`, `search` and `resume`.

        Raises:
            ValueError: a value is outside its range; names the configuration key.
        """
        mode, trainer = config["mode"], config["trainer"]
        _check_choice("logger.mode", config["logger"].get("mode", "auto"), WANDB_MODES)
        return cls(
            epochs=mode["epochs"],
            patience=mode["patience"],
            temp_learning_rate=mode["temp_learning_rate"],
            class_weight_decay=mode["class_weight_decay"],
            select=mode["select"],
            warmup_epochs=mode["warmup_epochs"],
            evaluate_on=tuple(mode["evaluate_on"]),
            evaluate_k=tuple(mode["evaluate_k"]),
            random_seed=config["random_seed"],
            num_workers=config["num_workers"],
            eval_batch_size=trainer["eval_batch_size"],
            execution=ExecutionSettings.from_config(trainer),
            search=config["search"],
            resume=config["resume"],
            trackers=tuple(config["logger"]["trackers"]),
            feature_cache=trainer.get("feature_cache", "auto"),
            feature_cache_dir=trainer.get("feature_cache_dir") or "feature_cache",
            feature_views=trainer.get("feature_views", 0),
            micro_batches=trainer.get("micro_batches", 1),
            shard_backbone=trainer.get("shard_backbone", False),
            shard_classes=trainer.get("shard_classes", False),
            sampling=ClassSampling.from_config(trainer),
            minutes=mode.get("minutes"),
            save_minutes=trainer.get("save_minutes", 30.0),
            select_by=mode.get("select_by", "auto"),
        )

    @property
    def validates_on(self) -> str:
        """Name of the split whose metric is computed after every epoch: `valid` or `test`."""
        return "test" if self.select == "test" else "valid"

    def is_over(self, epoch: int, improved: int) -> bool:
        """Whether training ends after `epoch`: the last one, or `patience` without a better one.

        Args:
            epoch: from 0.
            improved: the last epoch with a better score than those before.
        """
        return epoch + 1 >= self.epochs or epoch - improved >= self.patience


def _check_choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key} is one of {', '.join(known)}; got {value!r}")


def _check_minimum(key: str, value: float | None, minimum: int) -> None:
    if not isinstance(value, int | float) or not value >= minimum:
        raise ValueError(f"{key} must be at least {minimum}, got {value}")


def _check_bool(key: str, value: object) -> None:
    if value not in (True, False):
        raise ValueError(f"{key} is one of true, false; got {value!r}")


def _check_whole(key: str, value: object) -> None:
    if type(value) is not int:
        raise ValueError(f"{key} must be a whole number, got {value!r}")


def _check_minutes(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{key} must be a number above 0, or null for none; got {value!r}")


def _check_tracker(name: str) -> None:
    _check_choice("logger.trackers", name, TRACKERS)
    if name not in sys.modules and find_spec(name) is None:
        raise ValueError(
            f"logger.trackers: {name} is not installed: pip install {name}, or leave out logger="
        )
