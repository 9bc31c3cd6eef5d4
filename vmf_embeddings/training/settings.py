"""What the training loop itself wants to know, checked when it is read."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.trackers import WANDB_MODES

# Accelerate's, but TensorBoard, which is always written
TRACKERS = ("aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio", "wandb")
LEAST = {
    "mode.epochs": 1,
    "mode.patience": 1,
    "mode.warmup_epochs": 0,
    "mode.temp_learning_rate": 0,
    "trainer.eval_batch_size": 1,
    "random_seed": 0,
    "num_workers": 0,
}


@dataclass(frozen=True)
class Settings:
    """What the loop itself wants to know."""

    epochs: int
    patience: int
    temp_learning_rate: float
    class_weight_decay: str
    select: str
    random_seed: int
    num_workers: int
    eval_batch_size: int
    speed: ExecutionSettings
    search: str
    resume: str
    trackers: tuple[str, ...] = ()
    warmup_epochs: int = 0
    evaluate_on: tuple[str, ...] = ()
    evaluate_k: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        _one_of("search", self.search, ("auto", "torch", "faiss"))
        _one_of("resume", self.resume, ("auto", "never"))
        _one_of("mode.class_weight_decay", self.class_weight_decay, ("none", "reference", "all"))
        _one_of("mode.select", self.select, ("valid", "test", "last"))
        for split in self.evaluate_on:
            _one_of("mode.evaluate_on", split, ("train", "valid", "test"))
        if not self.evaluate_k or not all(type(k) is int and k >= 1 for k in self.evaluate_k):
            raise ValueError(
                f"mode.evaluate_k: expected numbers >= 1 as in [1,2,4], got {list(self.evaluate_k)}"
            )
        for tracker in self.trackers:
            _one_of("logger.trackers", tracker, TRACKERS)
            if tracker not in sys.modules and find_spec(tracker) is None:
                raise ValueError(
                    f"logger.trackers: {tracker} is not installed: pip install {tracker}, or "
                    "leave out logger="
                )
        for name, least in LEAST.items():
            _at_least(name, getattr(self, name.rpartition(".")[2]), least)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Settings":
        """Reads the settings from a composed configuration."""
        mode, trainer = config["mode"], config["trainer"]
        _one_of("logger.mode", config["logger"].get("mode", "auto"), WANDB_MODES)
        return cls(
            **{
                key: mode[key]
                for key in (
                    "epochs",
                    "patience",
                    "temp_learning_rate",
                    "class_weight_decay",
                    "select",
                    "warmup_epochs",
                )
            },
            evaluate_on=tuple(mode["evaluate_on"]),
            evaluate_k=tuple(mode["evaluate_k"]),
            random_seed=config["random_seed"],
            num_workers=config["num_workers"],
            eval_batch_size=trainer["eval_batch_size"],
            speed=ExecutionSettings.from_config(trainer),
            search=config["search"],
            resume=config["resume"],
            trackers=tuple(config["logger"]["trackers"]),
        )

    @property
    def validates_on(self) -> str:
        """The split that is scored after every epoch."""
        return "test" if self.select == "test" else "valid"

    def is_best(self, metric: float, best: float) -> bool:
        """Whether an epoch of this metric takes the place of the best before it."""
        return self.select == "last" or metric > best

    def is_over(self, epoch: int, best_epoch: int) -> bool:
        """Whether `epoch` is the last: none left, or none better for `patience` epochs."""
        return epoch + 1 >= self.epochs or epoch - best_epoch >= self.patience


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is None or not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
