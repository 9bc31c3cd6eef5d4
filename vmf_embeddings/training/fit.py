"""The one training loop: every method, arch, data set and number of processes goes through it."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.embed import embed_split, update_sampler_embeddings
from vmf_embeddings.training.loop import Loop, assemble
from vmf_embeddings.training.progress import EpochProgress, Note, duration
from vmf_embeddings.training.records import Records
from vmf_embeddings.training.schedules import Schedule
from vmf_embeddings.training.seeding import SHARED_STREAM, epoch_seed, seed_everything
from vmf_embeddings.training.settings import Settings
from vmf_embeddings.training.stored_state import TO_GO_ON, refuse_missing
from vmf_embeddings.training.validate import score

log = logging.getLogger(__name__)


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite."""


def fit(
    method: Method,
    dataset: Any,
    sampler: Any,
    make_optimizer: Callable[[list[dict]], torch.optim.Optimizer],
    settings: Settings,
    run_dir: Path,
    config: dict[str, Any],
    state: dict[str, Any] | None = None,
    schedule: Schedule | None = None,
) -> float:
    """Trains until the epochs are used up or the validation metric has long stopped growing.

    Args:
        method: what to train, in place.
        dataset: gives the splits `train`, and `valid` or `test` to validate on.
        sampler: global batches of the training split.
        make_optimizer: from parameter groups to an optimizer.
        settings: the loop's own settings.
        run_dir: folder for checkpoints and records.
        config: the whole configuration, kept in the checkpoints.
        state: last state of an interrupted run to go on from; None begins anew.
        schedule: how the learning rates move; None = not at all.

    Returns:
        The best validation metric, a fraction in [0, 1].

    Raises:
        NonFiniteLoss: if the loss stops being a number.
        Refused: `state` lacks what is needed to go on, or is that of other parts.
    """
    start = 0 if state is None else state["epoch"] + 1
    metric_of = f"{settings.validates_on}_metric"
    best = {"epoch": -1, "train_loss": float("inf"), "valid_acc": -1.0}
    if state is not None:
        refuse_missing(state, TO_GO_ON, str(run_dir / checkpoint.LAST))
        best = state["best_epoch"]
        if settings.is_over(start - 1, best["epoch"]):
            log.info("Finished after %d epochs, best: %s. resume=never starts over", start, best)
            return best["valid_acc"]
        log.info("resumed at epoch %d of %d", start, settings.epochs)
    loop = assemble(method, dataset, sampler, make_optimizer, settings, state, schedule)
    is_main = loop.accelerator.is_main_process
    records = Records(run_dir, start, settings.trackers, config) if is_main else None

    for epoch in range(start, settings.epochs):
        last_metric = records.rows[-1][metric_of] if records and records.rows else None
        row = _run_epoch(loop, epoch, best, last_metric)
        is_best = settings.is_best(row[metric_of], best["valid_acc"])
        if is_best:
            best = {
                "epoch": epoch,
                "train_loss": row["train_loss"],
                "valid_acc": row[metric_of],
            }
        if records is not None:
            records.add(row)
            checkpoint.keep(run_dir, _state(loop, epoch, best, config), is_best=is_best)
            _log_epoch(row, best, settings, records.mean_seconds())
        if settings.is_over(epoch, best["epoch"]):
            break
    log.info("%s epoch: %s", "Last" if settings.select == "last" else "Best", best)
    if records is not None:
        records.close()
    loop.accelerator.wait_for_everyone()
    return best["valid_acc"]


def _run_epoch(
    loop: Loop, epoch: int, best: dict[str, Any], last_metric: float | None
) -> dict[str, Any]:
    """Trains one epoch, validates, adapts the learning rates; returns the row of records."""
    settings, method = loop.settings, loop.method
    began = time.monotonic()
    if loop.sampler_embedding_batches is not None:
        update_sampler_embeddings(
            loop.batches.sampler, method, loop.sampler_embedding_batches, loop.accelerator
        )
    stream = 1 if method.needs_global_batch else 1 + loop.accelerator.process_index
    seed_everything(epoch_seed(settings.random_seed, epoch, stream))
    method.begin_epoch(epoch)
    bar = EpochProgress(
        epoch,
        settings.epochs,
        len(loop.batches),
        notes=_notes(loop, best, last_metric),
        enabled=loop.accelerator.is_main_process,
    )
    with bar:
        losses, n_images = train_epoch(loop, epoch, bar)
    train_seconds = time.monotonic() - began
    seed_everything(epoch_seed(settings.random_seed, epoch, SHARED_STREAM))
    metric, watched = _validate(loop)
    loop.schedule.end_epoch(metric)
    return {
        "epoch": epoch,
        "train_loss": float(losses.mean()),
        f"{settings.validates_on}_metric": metric,
        **watched,
        "learning_rate": loop.optimizer.param_groups[0]["lr"],
        **method.status(),
        "images_per_second": n_images / train_seconds,
        "seconds": time.monotonic() - began,
    }


def train_epoch(loop: Loop, epoch: int, bar: EpochProgress) -> tuple[Tensor, int]:
    """One pass over the epoch's batches.

    Returns:
        The losses [n_batches] on the CPU, mean over processes, and the number of images of all
        processes.
    """
    device = loop.accelerator.device
    loop.model.train()
    for parameter in loop.warmup_frozen_params:
        parameter.requires_grad_(epoch >= loop.settings.warmup_epochs)
    loop.step.begin_epoch(epoch)
    losses = torch.zeros(len(loop.batches), device=device)
    n_images = 0
    for step, (batch, weight) in enumerate(loop.batches.epoch(epoch)):
        loop.schedule.begin_step(epoch, step)
        on_device = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        losses[step] = loop.step(on_device, weight)
        n_images += len(batch["ids"]) * loop.accelerator.num_processes
        if bar.due():
            _refuse_non_finite(losses, epoch)
            bar.show(step + 1, float(losses[: step + 1].mean()), n_images)
    _refuse_non_finite(losses, epoch)
    return loop.accelerator.reduce(losses, "mean").cpu(), n_images


def _refuse_non_finite(losses: Tensor, epoch: int) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise NonFiniteLoss(
            f"the loss became {float(losses[step])} at epoch {epoch}, step {step}. Try a smaller "
            "mode.learning_rate, less mode.momentum, or trainer.precision=no. The checkpoint of "
            "the last finished epoch is untouched."
        )


def _validate(loop: Loop) -> tuple[float, dict[str, float]]:
    """The metric to choose by, the same number in every process, and the scores to look at."""
    settings, method, split = loop.settings, loop.method, loop.valid.split
    how = {"batch_size": settings.eval_batch_size, "search": settings.search}
    rows = embed_split(method, loop.valid, loop.accelerator)
    metric = score(method, rows, split, open_set=loop.open_set, **how)
    shared = torch.tensor(metric, dtype=torch.float64, device=loop.accelerator.device)
    known = {settings.validates_on: rows}
    watched = loop.evaluator.scores(method, loop.accelerator, known=known, **how)
    return float(broadcast(shared)), watched


def _state(
    loop: Loop, epoch: int, best: dict[str, float | int], config: dict[str, Any]
) -> dict[str, Any]:
    """All that a checkpoint holds: 2021's keys, and what resuming and extraction need besides."""
    return {
        "epoch": epoch,
        "best_epoch": dict(best),
        "selected_on": loop.settings.select,
        "train_identity": loop.batches.split.identity,
        "arch_state_dict": loop.method.arch.state_dict(),
        "optimizer_state_dict": loop.optimizer.state_dict(),
        "scheduler_state_dict": loop.schedule.state_dict(),
        "z_kappa_mult": loop.method.status().get("kappa_scale", 1.0),
        "method_state_dict": loop.method.state_dict(),
        "sampler_state_dict": loop.batches.sampler.state_dict(),
        "config": json.dumps(config),
    }


def _notes(loop: Loop, best: dict[str, Any], last_metric: float | None) -> list[Note]:
    """What the live line says beside the running loss."""
    notes = [] if last_metric is None else [("validation", f"{last_metric:.4f}")]
    notes.append(("lr", f"{loop.optimizer.param_groups[0]['lr']:g}"))
    notes += [(key.replace("_", " "), f"{x:.4g}") for key, x in loop.method.status().items()]
    if best["epoch"] >= 0 and loop.settings.select != "last":
        notes.append(("best", f"{best['valid_acc']:.4f} at epoch {best['epoch']}"))
    return notes


def _log_epoch(
    row: dict[str, Any], best: dict[str, Any], settings: Settings, mean_seconds: float
) -> None:
    """One line in the form of 2021, and what a reader wants to know besides."""
    epochs, scored_on = settings.epochs, settings.validates_on
    metric = {"valid": "Validation Accuracy", "test": "Test Accuracy"}[scored_on]
    parts = [
        f"Train Loss: {row['train_loss']:.4f}",
        f"{metric}: {row[f'{scored_on}_metric']:.4f}",
        f"Temp: {row.get('temperature', 1.0):.4f}",
        f"Z-Kappa-Mult: {row.get('kappa_scale', 1.0):.4f}",
        f"Learning Rate: {row['learning_rate']:g}",
        f"{row['images_per_second']:,.0f} images/s",
        f"{duration((epochs - 1 - row['epoch']) * mean_seconds)} left",
        *_best(best, settings.select),
    ]
    if "kappa" in row:
        parts.insert(4, f"Kappa: {row['kappa']:.4g}")
    parts += _watched(row, scored_on)
    log.info("[Epoch %d / %d] => %s", row["epoch"], epochs - 1, ", ".join(parts))


def _best(best: dict[str, Any], select: str) -> list[str]:
    """What the line says of the best epoch; nothing where the last one is kept."""
    if select == "last":
        return []
    chosen = ", chosen on test" if select == "test" else ""
    return [f"best {best['valid_acc']:.4f} at epoch {best['epoch']}{chosen}"]


def _watched(row: dict[str, Any], scored_on: str) -> list[str]:
    """What the line says of the scores by `mode.evaluate_on`."""
    scores = {key: f"{key} {value:.4f}" for key, value in row.items() if "/" in key}
    chosen = [text for key, text in scores.items() if key.startswith(f"{scored_on}/")]
    others = [text for text in scores.values() if text not in chosen]
    return chosen + ([f"not used for the choice: {', '.join(others)}"] if others else [])
