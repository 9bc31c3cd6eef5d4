"""Fits a network that predicts the loss of a trained method on an image, from its embedding."""

import json
import logging
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Dataset, Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.loss_predictor import prediction_loss
from vmf_embeddings.methods.uncertainty import Uncertainty
from vmf_embeddings.metrics.binary import auroc
from vmf_embeddings.progress import Progress
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.data_description import data_description
from vmf_embeddings.training.embed import embed_with_progress, local_batches
from vmf_embeddings.training.settings import TrainingSettings
from vmf_embeddings.training.validate import log_losses_of_logits
from vmf_embeddings.untrusted.files import replacing

log = logging.getLogger(__name__)

HELD_OUT = 0.2  # of the rows, which choose the epoch
HELD_OUT_BATCH = 1024  # pairs of rows are compared within it
FEW_WRONG = 0.005  # of the rows, below which the log warns


@dataclass(frozen=True)
class FitOptions:
    """How the network is fitted, by Adam.

    Attributes:
        form: see `prediction_loss`.
        margin: see `prediction_loss`.
        learning_rate: of Adam, > 0.
        epochs: at most, >= 1.
        patience: epochs without a better loss on the held-out rows before it ends, >= 1.
        batch_size: rows of a step, >= 2.

    Raises:
        ValueError: a value is out of range; names the option.
    """

    form: str
    margin: float
    learning_rate: float
    epochs: int
    patience: int
    batch_size: int

    def __post_init__(self) -> None:
        for key, least in (("epochs", 1), ("patience", 1), ("batch_size", 2)):
            if not getattr(self, key) >= least:
                raise ValueError(f"mode.{key} must be >= {least}, got {getattr(self, key)}")
        if not self.learning_rate > 0:
            raise ValueError(f"mode.learning_rate must be > 0, got {self.learning_rate}")


@dataclass(frozen=True)
class UncertaintyJob:
    """What `fit_uncertainty` needs.

    Attributes:
        method: around the trained method, whose weights do not change.
        dataset: source of the splits `fit_on` and `settings.validates_on`.
        fit_on: `train` or `valid`, the split whose losses are predicted.
        options: how it is fitted.
        settings: of the training loop: execution, batches, the split that is scored, the seed.
        run_dir: folder for the checkpoint and for `<name of the folder>.json`.
        trained: state of the run's checkpoint, which says how its epoch was chosen.
        config: the whole configuration as plain values, stored in the checkpoint.
    """

    method: Uncertainty
    dataset: Dataset
    fit_on: str
    options: FitOptions
    settings: TrainingSettings
    run_dir: Path
    trained: dict[str, Any]
    config: dict[str, Any]


def fit_uncertainty(job: UncertaintyJob) -> float:
    """Fits the network, scores it on rows that it was not fitted to, and writes a checkpoint.

    Embeddings are computed once, without augmentation.

    Returns:
        The AUROC with which the confidence tells right predictions from wrong ones, in [0, 1]; NaN
        where all are right.

    Raises:
        ValueError: losses are NaN or infinite, as of a run that has diverged, or those of the
            network are.
    """
    method, settings, options = job.method, job.settings, job.options
    accelerator = settings.execution.make_accelerator()
    method.to(accelerator.device).eval()
    settings.execution.configure_backbone(method.arch)

    def judged(split: Split) -> Judged:
        sizes = {"batch_size": settings.eval_batch_size, "num_workers": settings.num_workers}
        batches = local_batches(split, accelerator, **sizes)
        rows = embed_with_progress(method, batches, accelerator, split.unit)
        return judge(method, rows, split.labels.to(rows.device), settings.eval_batch_size)

    rows = judged(job.dataset.split(job.fit_on))
    n_broken = int((~rows.losses.isfinite()).sum())
    if n_broken:
        raise ValueError(
            f"{n_broken} of the {len(rows.losses)} losses of the run on {job.fit_on} are NaN or "
            "infinite: it has diverged, so that there is nothing to predict"
        )
    generator = torch.Generator().manual_seed(settings.random_seed)
    order = torch.randperm(len(rows.losses), generator=generator).to(rows.losses.device)
    n_fitted = len(order) - max(1, int(HELD_OUT * len(order)))
    fitted, held_out = (rows.at(part) for part in (order[:n_fitted], order[n_fitted:]))
    with Progress(
        f"Fitting to {n_fitted:,} losses", options.epochs, quiet=not accelerator.is_main_process
    ) as progress:
        epoch = fit_predictor(method, fitted, held_out, options, generator, progress)
    scored, name = held_out, f"{job.fit_on}, held out"
    if not job.dataset.open_set and settings.validates_on != job.fit_on:
        scored, name = judged(job.dataset.split(settings.validates_on)), settings.validates_on
    found = _found(method, fitted, scored) | {"scored_on": name, "epoch": epoch}
    log.info(
        "Fitted to %d rows of %s, of mean loss %.4g and %.2f %% wrong; epoch %d kept. AUROC of "
        "being right on %s: %.4f by the predicted loss, %.4f by the largest probability",
        *(n_fitted, job.fit_on, found["mean_loss"], 100 * found["wrong"], epoch, name),
        *(found["auroc"], found["auroc_max_probability"]),
    )
    if found["wrong"] < FEW_WRONG:
        known = job.dataset.open_set or job.fit_on == "valid"
        log.warning(
            "%.2f %% of the rows that the losses were taken from are predicted wrongly: there is "
            "little to learn from them%s",
            100 * found["wrong"],
            "" if known else ". mode.fit_on=valid takes rows that were not trained on",
        )
    if accelerator.is_main_process:
        _write(job, {"fit_on": job.fit_on, "rows": n_fitted, **found})
    accelerator.wait_for_everyone()
    return found["auroc"]


@dataclass(frozen=True)
class Judged:
    """Rows, and what a method makes of them.

    Attributes:
        embeddings: [N, D].
        losses: -log p(class) [N] in nats, float32.
        right: bool [N], whether the most probable class is the label.
        probability: that of the most probable class [N].
    """

    embeddings: Tensor
    losses: Tensor
    right: Tensor
    probability: Tensor

    def at(self, rows: Tensor) -> "Judged":
        """Those at some places [n]."""
        return Judged(*(getattr(self, one.name)[rows] for one in fields(self)))


@torch.no_grad()
def judge(method: Method, embeddings: Tensor, labels: Tensor, batch_size: int) -> Judged:
    """Losses and predictions of embeddings [N, D] with labels [N], a batch at a time."""
    found = []
    for rows, own in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True):
        logits = method.logits(rows)
        drawn = logits.softmax(-1)  # as `Method.predict`
        best = (drawn if drawn.ndim == 2 else drawn.mean(1)).max(-1)
        losses = log_losses_of_logits(logits, own).float()
        found.append((losses, best.indices == own, best.values))
    return Judged(embeddings, *map(torch.cat, zip(*found, strict=True)))


def fit_predictor(
    method: Uncertainty,
    fitted: Judged,
    held_out: Judged,
    options: FitOptions,
    generator: torch.Generator,
    progress: Callable[[int], None],
) -> int:
    """Fits the network of a method to losses, and keeps the epoch that is best on held-out rows.

    Args:
        method: its network and the statistics of embeddings are changed.
        fitted: rows to fit to.
        held_out: rows that choose the epoch.
        options: see `FitOptions`.
        generator: of the order of rows, on the CPU.
        progress: called with the number of epochs done.

    Returns:
        The epoch kept, from 0.

    Raises:
        ValueError: no epoch has a finite loss on the held-out rows.
    """
    method.standardize(fitted.embeddings)
    predictor = method.predictor.requires_grad_(True)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=options.learning_rate)

    def loss(rows: Judged) -> Tensor:
        predicted = method.predicted_loss(rows.embeddings)
        return prediction_loss(predicted, rows.losses, options.form, options.margin)

    best, kept, state = float("inf"), 0, deepcopy(predictor.state_dict())
    for epoch in range(options.epochs):
        for part in torch.randperm(len(fitted.losses), generator=generator).split(
            options.batch_size
        ):
            optimizer.zero_grad()
            loss(fitted.at(part.to(fitted.losses.device))).backward()
            optimizer.step()
        with torch.no_grad():
            parts = torch.arange(len(held_out.losses)).split(HELD_OUT_BATCH)
            score = sum(len(part) * float(loss(held_out.at(part))) for part in parts)
        progress(epoch + 1)
        if score < best:
            best, kept, state = score, epoch, deepcopy(predictor.state_dict())
        elif epoch - kept >= options.patience:
            break
    if not math.isfinite(best):
        raise ValueError(
            "no epoch had a finite loss on the rows held out, so that there is none to keep; add a "
            f"smaller mode.learning_rate to the command, got {options.learning_rate:g}"
        )
    predictor.load_state_dict(state)
    predictor.requires_grad_(False)
    return kept


@torch.no_grad()
def _found(method: Uncertainty, fitted: Judged, scored: Judged) -> dict[str, float]:
    """How large losses were, and how well the network tells right rows from wrong ones."""
    right, confidence = scored.right.cpu(), method.confidence(scored.embeddings).cpu()
    return {
        "mean_loss": float(fitted.losses.double().mean()),
        "wrong": float(1 - fitted.right.double().mean()),
        "accuracy": float(right.double().mean()),
        "auroc": auroc(confidence, right),
        "auroc_max_probability": auroc(scored.probability.cpu(), right),
    }


def _write(job: UncertaintyJob, found: dict[str, Any]) -> None:
    """Writes the checkpoint, and what was found as JSON."""
    state = {
        "epoch": 0,
        "best_epoch": (job.trained.get("best_epoch") or {}) | {"epoch": 0},
        **{key: job.trained[key] for key in ("selected_on", "selected_by") if key in job.trained},
        "train_identity": job.dataset.split("train").identity,
        "arch_state_dict": job.method.arch.state_dict(),
        "method_state_dict": job.method.state_dict(),
        "config": json.dumps(job.config),
        **data_description(job.dataset),
    }
    job.run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.keep(job.run_dir, state, is_best=True)
    unknown = {key: None for key, value in found.items() if value != value}
    with replacing(job.run_dir / f"{job.run_dir.name}.json") as part:
        part.write_text(json.dumps(found | unknown, indent=1) + "\n")
