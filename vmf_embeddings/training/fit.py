"""The one training loop: every method, arch, data set and number of processes goes through it."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training import checkpoint, processes
from vmf_embeddings.training.batches import TrainBatches, sequential_batches
from vmf_embeddings.training.progress import EpochProgress, duration
from vmf_embeddings.training.records import Records
from vmf_embeddings.training.seeding import epoch_seed, seed_everything
from vmf_embeddings.training.settings import Settings
from vmf_embeddings.training.validate import validate

log = logging.getLogger(__name__)

SHARED_STREAM = 0  # draws that all processes make alike; process r draws its own from stream 1 + r
PREPARE_BATCH_SIZE = 256  # 2021's batch for measuring concentrations before training


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
) -> float:
    """Trains until the epochs are used up or the validation metric has long stopped growing.

    Args:
        method: what to train, in place.
        dataset: gives the splits `train` and `valid`.
        sampler: global batches of the training split.
        make_optimizer: from parameter groups to an optimizer.
        settings: the loop's own settings.
        run_dir: folder for checkpoints and records.
        config: the whole configuration, kept in the checkpoints.
        state: last state of an interrupted run to go on from; None begins anew.

    Returns:
        The best validation metric, a fraction in [0, 1].

    Raises:
        NonFiniteLoss: if the loss stops being a number.
    """
    start = 0 if state is None else state["epoch"] + 1
    best = {"epoch": -1, "train_loss": float("inf"), "valid_acc": -1.0}
    if state is not None:
        best = state["best_epoch"]
        if settings.is_over(start - 1, best["epoch"]):
            log.info("Finished after %d epochs, best: %s. resume=never starts over", start, best)
            return best["valid_acc"]
        log.info("resumed at epoch %d of %d", start, settings.epochs)

    accelerator = processes.start(cpu=settings.cpu, precision=settings.precision)
    rank, world = accelerator.process_index, accelerator.num_processes
    train = dataset.split("train", augment=True)
    valid = dataset.split("valid")
    method.to(accelerator.device)
    if state is None:
        _prepare(method, train, settings, accelerator.device)
    else:
        method.load_state_dict(state["method_state_dict"])
    if world > 1:
        processes.share_batch_statistics(method)
    groups = method.param_groups(settings.temp_learning_rate, settings.class_weight_decay)
    model, optimizer = accelerator.prepare(method, make_optimizer(groups))
    schedule = ReduceLROnPlateau(
        optimizer.optimizer,
        mode="max",
        factor=settings.plateau_factor,
        patience=settings.plateau_patience,
    )
    if state is not None:
        optimizer.load_state_dict(state["optimizer_state_dict"])
        schedule.load_state_dict(state["scheduler_state_dict"])
    log.info(
        "Training on %d images of %d classes, validating on %d by %s",
        *(len(train), train.n_classes, len(valid)),
        "Recall@1 on unseen classes" if dataset.open_set else "accuracy",
    )
    batches = TrainBatches(
        train, sampler, seed=settings.seed, rank=rank, world=world, num_workers=settings.num_workers
    )
    records = Records(run_dir, start, settings.trackers, config) if rank == 0 else None

    for epoch in range(start, settings.epochs):
        began = time.monotonic()
        seed_everything(epoch_seed(settings.seed, epoch, 1 + rank))
        method.begin_epoch(epoch)
        note = _note(method, schedule, best)
        bar = EpochProgress(epoch, settings.epochs, len(batches), note=note, enabled=rank == 0)
        with bar:
            losses, n_images = _train_epoch(model, optimizer, accelerator, batches, epoch, bar)
        train_seconds = time.monotonic() - began
        seed_everything(epoch_seed(settings.seed, epoch, SHARED_STREAM))
        metric = _validate(method, valid, dataset.open_set, accelerator, settings)
        schedule.step(metric)

        row = {
            "epoch": epoch,
            "train_loss": float(losses.mean()),
            "valid_metric": metric,
            "learning_rate": schedule.get_last_lr()[0],
            **method.status(),
            "images_per_second": n_images / train_seconds,
            "seconds": time.monotonic() - began,
        }
        is_best = metric > best["valid_acc"]
        if is_best:
            best = {"epoch": epoch, "train_loss": row["train_loss"], "valid_acc": metric}
        if records is not None:
            records.add(row)
            state = _state(method, optimizer, schedule, sampler, epoch, best, config)
            if is_best:
                checkpoint.save_best(run_dir, epoch, state)
            checkpoint.save(run_dir / checkpoint.LAST, state)
            checkpoint.forget_older(run_dir, best["epoch"])
        _log_epoch(row, best, settings.epochs, records)
        if settings.is_over(epoch, best["epoch"]):
            break
    log.info("Best epoch: %s", best)
    if records is not None:
        records.close()
    accelerator.wait_for_everyone()
    return best["valid_acc"]


def _prepare(method: Method, train: Any, settings: Settings, device: torch.device) -> None:
    """Lets the method look at the training data before the first epoch, alike in every process."""
    seed_everything(epoch_seed(settings.seed, 0, SHARED_STREAM))

    def batches() -> Any:
        order = torch.arange(len(train))
        for batch in sequential_batches(train, order, PREPARE_BATCH_SIZE, settings.num_workers):
            yield batch["examples"].to(device)

    method.prepare(batches, train.class_counts)


def _train_epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    batches: TrainBatches,
    epoch: int,
    bar: EpochProgress,
) -> tuple[Tensor, int]:
    """One pass over the epoch's batches.

    Returns:
        The losses [n_batches] on the CPU, mean over processes, and the number of images of all processes.
    """
    device = accelerator.device
    model.train()
    losses = torch.zeros(len(batches), device=device)
    n_images = 0
    for step, (batch, weight) in enumerate(batches.epoch(epoch)):
        loss = model({key: value.to(device, non_blocking=True) for key, value in batch.items()})
        accelerator.backward(loss * weight)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses[step] = loss.detach() * weight
        n_images += len(batch["ids"]) * accelerator.num_processes
        if bar.due():
            _refuse_non_finite(losses, epoch)
            bar.show(step + 1, float(losses[: step + 1].mean()), n_images)
    _refuse_non_finite(losses, epoch)
    return accelerator.reduce(losses, "mean").cpu(), n_images


def _refuse_non_finite(losses: Tensor, epoch: int) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise NonFiniteLoss(
            f"the loss became {float(losses[step])} at epoch {epoch}, step {step}. Try a smaller "
            "mode.learning_rate, less mode.momentum, or trainer.precision=no. The checkpoint of the last "
            "finished epoch is untouched."
        )


def _validate(
    method: Method, split: Any, open_set: bool, accelerator: Accelerator, settings: Settings
) -> float:
    """The validation metric, the same number in every process."""
    metric = validate(
        method,
        split,
        accelerator,
        open_set=open_set,
        batch_size=settings.eval_batch_size,
        num_workers=settings.num_workers,
        search=settings.search,
    )
    return float(broadcast(torch.tensor(metric, dtype=torch.float64, device=accelerator.device)))


def _state(
    method: Method,
    optimizer: torch.optim.Optimizer,
    schedule: ReduceLROnPlateau,
    sampler: Any,
    epoch: int,
    best: dict[str, float | int],
    config: dict[str, Any],
) -> dict[str, Any]:
    """All that a checkpoint holds: 2021's keys, and what resuming and extraction need besides."""
    return {
        "epoch": epoch,
        "best_epoch": dict(best),
        "arch_state_dict": method.arch.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": schedule.state_dict(),
        "z_kappa_mult": method.status().get("kappa_scale", 1.0),
        "method_state_dict": method.state_dict(),
        "sampler_state_dict": sampler.state_dict(),
        "config": json.dumps(config),
    }


def _note(method: Method, schedule: ReduceLROnPlateau, best: dict[str, Any]) -> str:
    """What the live line says beside the running loss."""
    parts = [f"lr {schedule.optimizer.param_groups[0]['lr']:g}"]
    parts += [f"{key} {value:.4g}" for key, value in method.status().items()]
    if best["epoch"] >= 0:
        parts.append(f"best {best['valid_acc']:.4f} at {best['epoch']}")
    return ", ".join(parts)


def _log_epoch(
    row: dict[str, Any], best: dict[str, Any], epochs: int, records: Records | None
) -> None:
    if records is None:
        return
    parts = [
        f"Train Loss: {row['train_loss']:.4f}",
        f"Validation Accuracy: {row['valid_metric']:.4f}",
        f"Temp: {row.get('temperature', 1.0):.4f}",
        f"Z-Kappa-Mult: {row.get('kappa_scale', 1.0):.4f}",
        f"Learning Rate: {row['learning_rate']:g}",
        f"{row['images_per_second']:,.0f} images/s",
        f"{duration((epochs - 1 - row['epoch']) * records.mean_seconds())} left",
        f"best {best['valid_acc']:.4f} at epoch {best['epoch']}",
    ]
    if "kappa" in row:
        parts.insert(4, f"Kappa: {row['kappa']:.4g}")
    log.info("[Epoch %d / %d] => %s", row["epoch"], epochs - 1, ", ".join(parts))
