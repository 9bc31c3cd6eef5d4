"""The training loop of every method, backbone, data set and number of processes."""

import contextlib
import logging
import time
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.training import budget, checkpoint, run_status
from vmf_embeddings.training.divided_scores import validation_scores
from vmf_embeddings.training.embed import embed_own_with_progress, update_sampler_embeddings
from vmf_embeddings.training.epoch_log import EpochResult, log_line, progress_notes
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.loop import Loop, assemble
from vmf_embeddings.training.mid_epoch import EpochSaver, Place
from vmf_embeddings.training.progress import EpochProgress
from vmf_embeddings.training.records import Records
from vmf_embeddings.training.resumed_length import check_resumed_length
from vmf_embeddings.training.run_state import content, states
from vmf_embeddings.training.seeding import SHARED_STREAM, epoch_seed, seed_everything
from vmf_embeddings.training.selection import (
    NO_EPOCH_YET,
    ValidationScores,
    how_close,
    improved,
)
from vmf_embeddings.training.stored_state import RESUME_KEYS, refuse_missing

log = logging.getLogger(__name__)

# columns of the records that have no value before the first epoch
NOT_BEFORE_TRAINING = ("train_loss", "learning_rate", "images_per_second", "data_wait")


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite."""


def fit(job: TrainingJob) -> float:
    """Trains for `epochs` epochs, or until `patience` epochs bring no better validation metric.

    With 0 epochs, the initial weights are validated and kept, as epoch -1.

    Args:
        job: what to train, on what, and how; its method is trained in place.

    Returns:
        The validation metric of the best epoch, a fraction in [0, 1]: accuracy where the NLL
        chooses that epoch.

    Raises:
        NonFiniteLoss: the loss becomes NaN or infinite.
        Refused: `job.state` lacks what is needed to resume, belongs to other parts, or to a run of
            another length if parts of the job depend on it.
    """
    settings, state = job.settings, job.state
    start, best = 0, NO_EPOCH_YET
    if state is not None:
        refuse_missing(state, RESUME_KEYS, str(job.run_dir / checkpoint.LAST))
        check_resumed_length(job)
        start, best = state["epoch"] + 1, state["best_epoch"]
        run_status.note_epoch(job.run_dir, start - 1, best)
        if settings.is_over(start - 1, improved(best)):
            log.info("Finished after %d epochs, best: %s. resume=never starts over", start, best)
            return best["valid_acc"]
        log.info("resumed at epoch %d of %d", start, settings.epochs)
    best = _run_epochs(job, start, best)
    log.info("%s epoch: %s", "Last" if settings.select == "last" else "Best", best)
    return best["valid_acc"]


def _run_epochs(job: TrainingJob, start: int, best: dict[str, Any]) -> dict[str, Any]:
    """Runs epochs from `start` on; after each, writes the checkpoint, the records and the log.

    Returns:
        `epoch`, `train_loss` and `valid_acc` of the best epoch.
    """
    began = time.monotonic()
    loop, saver, records = assemble(job), EpochSaver(job), None
    if loop.accelerator.is_main_process:
        options = {"trackers": job.settings.trackers, "config": job.config}
        records = Records(job.run_dir, start, **options, resumed=job.state is not None)
        length = budget.length_in_words(job.settings, start)
        log.info("Training starts: %s, %d batches each", length, len(loop.batches))
    with records or contextlib.nullcontext():
        best = _epochs(job, loop, saver, records, start, best, time.monotonic() - began)
    loop.accelerator.wait_for_everyone()
    return best


def _epochs(
    job: TrainingJob,
    loop: Loop,
    saver: EpochSaver,
    records: Records | None,
    start: int,
    best: dict[str, Any],
    before: float,
) -> dict[str, Any]:
    """The epochs of `_run_epochs` after `before` seconds; only the first process has records."""
    settings = job.settings
    if settings.epochs == 0:
        best = _keep_initial_weights(loop, job, records)
    last_metric = records.last(f"{settings.validates_on}_metric") if records else None
    for epoch in range(start, settings.epochs):
        result = _run_epoch(loop, epoch, best, last_metric, saver)
        last_metric = result.metric
        seconds = _mean_seconds(records, result)
        job, loop = budget.settled(job, loop, epoch, seconds, before)
        settings, saver.job = job.settings, job
        best = loop.selection.updated(best, epoch, result.train_loss, result.scores)
        is_best = best["epoch"] == epoch
        parts = states(loop, job.run_dir)
        if records is not None:
            state = content(loop, job, parts, epoch=epoch, best=best, status=result.status)
            checkpoint.keep(job.run_dir, state, is_best=is_best)
            run_status.note_epoch(job.run_dir, epoch, best)
            _log(loop, result, best, seconds)
        is_over = settings.is_over(epoch, improved(best))
        saver.after_epoch(is_last=is_over)
        if is_over:
            _say_if_early(loop, epoch, best)
            break
    if records is not None:
        _log_how_close(loop, records)
    return best


def _log_how_close(loop: Loop, records: Records) -> None:
    """Logs by how little the best epoch was chosen, unless the last one is kept anyway."""
    column, split = f"{loop.settings.validates_on}_metric", loop.valid_batches.split
    line = how_close(records.rows, loop.selection, column, split)
    if line and not loop.selection.keeps_last:
        log.info("%s", line)


def _mean_seconds(records: Records | None, result: EpochResult) -> float:
    """Mean duration of an epoch, after adding this one to the records of the first process."""
    if records is None:
        return result.seconds
    records.add(result.row(), result.class_kappas)
    return records.mean_seconds()


def _say_if_early(loop: Loop, epoch: int, best: dict[str, Any]) -> None:
    """Logs why training ends before its last epoch."""
    if loop.accelerator.is_main_process and epoch + 1 < loop.settings.epochs:
        log.info(
            "Stopped after epoch %d: none of the last %d was better than epoch %d (mode.patience)",
            *(epoch, epoch - improved(best), improved(best)),
        )


def _keep_initial_weights(loop: Loop, job: TrainingJob, records: Records | None) -> dict[str, Any]:
    """Validates the method before any epoch, and keeps it as the checkpoint of epoch -1.

    Returns:
        `epoch`, `train_loss` (infinite) and `valid_acc`.
    """
    began = time.monotonic()
    seed_everything(epoch_seed(loop.settings.random_seed, 0, SHARED_STREAM))
    scores, other_scores = _validate(loop)
    best = loop.selection.updated(NO_EPOCH_YET, -1, float("inf"), scores)
    status, parts = loop.status(), states(loop, job.run_dir)
    if records is not None:
        result = EpochResult(
            epoch=-1,
            train_loss=float("inf"),
            validated_on=loop.settings.validates_on,
            metric_name=loop.metric_name,
            metric=scores.metric,
            learning_rate=loop.optimizer.param_groups[0]["lr"],
            status=status,
            images_per_second=0.0,
            seconds=time.monotonic() - began,
            other_scores=other_scores,
            nll=scores.nll,
        )
        records.add({k: v for k, v in result.row().items() if k not in NOT_BEFORE_TRAINING})
        state = content(loop, job, parts, epoch=-1, best=best, status=status)
        checkpoint.keep(job.run_dir, state, is_best=True)
        log.info("Before training: %s %.4f", result.metric_name, scores.metric)
    return best


def _run_epoch(
    loop: Loop,
    epoch: int,
    best: dict[str, Any],
    last_metric: float | None,
    saver: EpochSaver,
) -> EpochResult:
    """Trains one epoch, validates, and lets the schedule adapt the learning rates."""
    settings, method = loop.settings, loop.method
    began = time.monotonic()
    if loop.sampler_embedding_batches is not None:
        update_sampler_embeddings(
            loop.batches.sampler, method, loop.sampler_embedding_batches, loop.accelerator
        )
    stream = 1 if method.global_batch is not None else 1 + loop.accelerator.process_index
    seed_everything(epoch_seed(settings.random_seed, epoch, stream))
    last_status = loop.status()  # before `begin_epoch` resets what is averaged over an epoch
    method.begin_epoch(epoch)
    place = saver.begin(loop, epoch, best)
    began -= place.seconds
    notes = progress_notes(
        last_status | loop.status(),
        learning_rate=loop.optimizer.param_groups[0]["lr"],
        metric_name=loop.metric_name,
        last_metric=last_metric,
        best=best,
        selection=loop.selection,
    )
    bar = EpochProgress(
        epoch,
        settings.epochs if settings.minutes is None or epoch else None,
        len(loop.batches),
        notes=notes,
        enabled=loop.accelerator.is_main_process,
        unit=loop.batches.split.unit,
    )
    with bar:
        losses, n_items = train_epoch(loop, epoch, bar, place, saver)
    train_seconds = time.monotonic() - began
    seed_everything(epoch_seed(settings.random_seed, epoch, SHARED_STREAM))
    scores, other_scores = _validate(loop, bar.silent_seconds)
    loop.schedule.end_epoch(loop.selection.for_schedule(scores))
    return EpochResult(
        epoch=epoch,
        train_loss=float(losses.mean()),
        validated_on=settings.validates_on,
        metric_name=loop.metric_name,
        metric=scores.metric,
        learning_rate=loop.optimizer.param_groups[0]["lr"],
        status=loop.status(),
        images_per_second=n_items / train_seconds,
        seconds=time.monotonic() - began,
        other_scores=other_scores,
        data_wait=loop.batches.wait.fraction,
        nll=scores.nll,
        class_kappas=loop.class_kappas(),
    )


def train_epoch(
    loop: Loop,
    epoch: int,
    bar: EpochProgress,
    place: Place | None = None,
    saver: EpochSaver | None = None,
) -> tuple[Tensor, int]:
    """One pass over the epoch's batches.

    Args:
        loop: parts of the training, on their device.
        epoch: from 0.
        bar: shows the running loss.
        place: where to begin; None = at the first batch.
        saver: saves the training inside the epoch; None = it is not saved.

    Returns:
        The losses [n_batches] on the CPU, averaged over processes, and the number of images or
        vectors that all processes have seen together.

    Raises:
        NonFiniteLoss: a loss is NaN or infinite.
        Interrupted: a signal asked for the end of the training.
    """
    device, method = loop.accelerator.device, loop.method
    place = place or Place(torch.zeros(len(loop.batches), device=device))
    loop.model.train()
    for parameter in loop.warmup_frozen_params:
        parameter.requires_grad_(epoch >= loop.settings.warmup_epochs)
    loop.step.begin_epoch(epoch)
    losses = place.losses
    batches = loop.batches.epoch(epoch, place.step, place.augmentation)
    for step, (batch, local_weight) in enumerate(batches, place.step):
        loop.schedule.begin_step(epoch, step)
        on_device = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        # a loss of the global batch is complete in every process
        weight = local_weight if method.global_batch is None else 1.0
        losses[step] = loop.step(on_device, weight)
        place.step, place.n_items = (
            step + 1,
            place.n_items + len(batch.get("all_ids", batch["ids"])),
        )
        if bar.due():
            _refuse_non_finite(losses, epoch)
            bar.show(place.step, float(losses[: place.step].mean()), place.n_items)
        if saver is not None:
            saver.after_step(place)
    _refuse_non_finite(losses, epoch)
    return loop.accelerator.reduce(losses, "mean").cpu(), place.n_items


def _refuse_non_finite(losses: Tensor, epoch: int) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise NonFiniteLoss(
            f"the loss became {float(losses[step])} at epoch {epoch}, step {step}. Try a smaller "
            "mode.learning_rate, less mode.momentum, or trainer.precision=no. The checkpoint of "
            "the last finished epoch is untouched."
        )


def _validate(loop: Loop, silent: float = 0.0) -> tuple[ValidationScores, dict[str, float]]:
    """Validation scores and those of other splits, `silent` seconds after the log's last line."""
    settings, method, split = loop.settings, loop.method, loop.valid_batches.split
    accelerator, options = loop.accelerator, {"search": settings.search}
    options["batch_size"] = settings.eval_batch_size
    what = f"{settings.validates_on} {split.unit}"
    own = embed_own_with_progress(method, loop.valid_batches, accelerator, what, silent=silent)
    which = {"metric_name": loop.metric_name, "open_set": loop.open_set}
    scores = validation_scores(method, own, split, accelerator, **which, **options)
    known = {settings.validates_on: own}
    return scores, loop.evaluator.scores(method, accelerator, known=known, **options)


def _log(loop: Loop, result: EpochResult, best: dict[str, Any], mean_seconds: float) -> None:
    line = log_line(
        result,
        best,
        n_epochs=loop.settings.epochs,
        select=loop.settings.select,
        selection=loop.selection,
        mean_seconds=mean_seconds,
        as_in_2021=loop.method.logs_as_in_2021,
        unit=loop.batches.split.unit,
    )
    log.info("%s", line)
    loop.batches.warn_of_wait()
