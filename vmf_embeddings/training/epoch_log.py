"""The numbers of one epoch, and the lines that show them in the log and on the progress bar."""

from dataclasses import dataclass, field
from typing import Any

from vmf_embeddings.training.data_wait import MUCH
from vmf_embeddings.training.progress import Note, duration
from vmf_embeddings.training.selection import ACCURACY, Selection, ValidationScores

# keys of Method.status() -> name and format in the log line
LABELS = {
    "temperature": ("Temp", ".4f"),
    "kappa_scale": ("Z-Kappa-Mult", ".4f"),
    "kappa": ("Kappa", ".4g"),
}
STATUS_OF_2021 = {"temperature": 1.0, "kappa_scale": 1.0}  # printed in 2021 for every method


@dataclass(frozen=True)
class EpochResult:
    """The numbers of one finished epoch.

    Attributes:
        epoch: from 0.
        train_loss: mean over the epoch's batches, nats.
        validated_on: the split of `metric`, `valid` or `test`.
        metric_name: `accuracy`, `Recall@1` or `MAP@R`.
        metric: fraction in [0, 1].
        learning_rate: of the first parameter group.
        status: `Method.status()` after the epoch.
        images_per_second: images or vectors, of all processes, during training alone.
        seconds: duration of the epoch with validation.
        other_scores: of the splits in `mode.evaluate_on`, such as `test/recall@1`.
        data_wait: fraction of the training part in which the first process waited for data, in
            [0, 1]; see `DataWait`.
        nll: negative log-likelihood of the split, nats; None without logits of its classes.
        class_kappas: concentrations of the classes [C], see `Loop.class_kappas`.
    """

    epoch: int
    train_loss: float
    validated_on: str
    metric_name: str
    metric: float
    learning_rate: float
    status: dict[str, float]
    images_per_second: float
    seconds: float
    other_scores: dict[str, float] = field(default_factory=dict)
    data_wait: float = 0.0
    nll: float | None = None
    class_kappas: list[float] | None = None

    @property
    def scores(self) -> ValidationScores:
        """What validation has computed."""
        return ValidationScores(self.metric, self.nll)

    def row(self) -> dict[str, float | int]:
        """The epoch's row in `metrics.jsonl` and `metrics.csv`, by column."""
        return {
            "epoch": self.epoch,
            "train_loss": self.train_loss,
            f"{self.validated_on}_metric": self.metric,
            **({} if self.nll is None else {f"{self.validated_on}_nll": self.nll}),
            **self.other_scores,
            "learning_rate": self.learning_rate,
            **self.status,
            "images_per_second": self.images_per_second,
            "data_wait": self.data_wait,
            "seconds": self.seconds,
        }


def log_line(
    result: EpochResult,
    best: dict[str, Any],
    *,
    n_epochs: int,
    select: str,
    selection: Selection,
    mean_seconds: float,
    as_in_2021: bool,
    unit: str = "images",
) -> str:
    """The line of the log on one epoch.

    Args:
        result: numbers of the epoch.
        best: `epoch` and `valid_acc` of the best epoch so far.
        n_epochs: maximum number of epochs of the run.
        select: `mode.select`.
        selection: compares epochs.
        mean_seconds: mean duration of an epoch.
        as_in_2021: whether the line contains what it contained in 2021 for every method:
            `… Accuracy`, which may be Recall@1, `Temp` and `Z-Kappa-Mult`. Otherwise it names the
            metric, and shows the entries of the method's status.
        unit: what items are called, see `Split.unit`.
    """
    status = STATUS_OF_2021 | result.status if as_in_2021 else result.status
    parts = [
        f"Train Loss: {result.train_loss:.4f}",
        _metric(result, as_in_2021=as_in_2021),
        *(_status_entry(key, value) for key, value in status.items()),
        f"Learning Rate: {result.learning_rate:g}",
        f"{result.images_per_second:,.0f} {unit}/s",
        *([f"data wait {result.data_wait:.0%}"] if result.data_wait > MUCH else []),
        f"{duration((n_epochs - 1 - result.epoch) * mean_seconds)} left",
        *([] if result.nll is None else [f"NLL {result.nll:.4f}"]),
        *_best(best, select, selection),
        *_other_scores(result),
    ]
    return f"[Epoch {result.epoch} / {n_epochs - 1}] => {', '.join(parts)}"


def progress_notes(
    status: dict[str, float],
    *,
    learning_rate: float,
    metric_name: str,
    last_metric: float | None,
    best: dict[str, Any],
    selection: Selection,
) -> list[Note]:
    """What the progress bar shows of earlier epochs, beside the loss of the current one.

    Args:
        status: `Method.status()`.
        learning_rate: of the first parameter group.
        metric_name: `accuracy`, `Recall@1` or `MAP@R`.
        last_metric: validation metric of the epoch before; None in the first epoch.
        best: `epoch` and `valid_acc` of the best epoch so far; epoch -1 if there is none.
        selection: compares epochs.
    """
    notes = [] if last_metric is None else [(f"validation {metric_name}", f"{last_metric:.4f}")]
    notes.append(("lr", f"{learning_rate:g}"))
    notes += [(key.replace("_", " "), f"{x:.4g}") for key, x in status.items()]
    if best["epoch"] >= 0 and not selection.keeps_last:
        notes.append(("best", f"{selection.in_words(best)} at epoch {best['epoch']}"))
    return notes


def _metric(result: EpochResult, *, as_in_2021: bool) -> str:
    split = {"valid": "Validation", "test": "Test"}[result.validated_on]
    if result.metric_name == ACCURACY:
        return f"{split} Accuracy: {result.metric:.4f}"
    if as_in_2021:  # 2021's name, which programs that read logs expect, then the right one
        return f"{split} Accuracy: {result.metric:.4f} ({result.metric_name})"
    return f"{split} {result.metric_name}: {result.metric:.4f}"


def _status_entry(key: str, value: float) -> str:
    label, form = LABELS.get(key, (key.replace("_", " ").capitalize(), ".4g"))
    return f"{label}: {value:{form}}"


def _best(best: dict[str, Any], select: str, selection: Selection) -> list[str]:
    """The best epoch so far; nothing if the last epoch is kept."""
    if selection.keeps_last:
        return []
    chosen = ", chosen on test" if select == "test" else ""
    return [f"best {selection.in_words(best)} at epoch {best['epoch']}{chosen}"]


def _other_scores(result: EpochResult) -> list[str]:
    """Scores of `mode.evaluate_on`: those of the validated split first, then all others."""
    scores = {key: f"{key} {value:.4f}" for key, value in result.other_scores.items()}
    own = [text for key, text in scores.items() if key.startswith(f"{result.validated_on}/")]
    others = [text for text in scores.values() if text not in own]
    return own + ([f"not used for selection: {', '.join(others)}"] if others else [])
