"""Heads that need no training: each variant is scored on validation, the best one is kept."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics import shot_scores
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.embed import embed_split, local_batches
from vmf_embeddings.training.settings import Settings
from vmf_embeddings.untrusted.files import replacing

log = logging.getLogger(__name__)

Train = Callable[[], tuple[Tensor, Tensor]]
# a label, and what turns the method into the variant; it may ask for the embeddings [N, D] of the
# training split without augmentation, and for their labels [N]
Variant = tuple[str, Callable[[Train], None]]


@torch.no_grad()
def choose(
    method: Method,
    dataset: Any,
    variants: Sequence[Variant],
    settings: Settings,
    run_dir: Path,
    config: dict[str, Any],
) -> float:
    """Leaves the best of some variants of a method in `run_dir`, as a training would.

    Args:
        method: trained; its backbone stays as it is.
        dataset: gives the splits `train`, and `valid` or `test` to select by.
        variants: at least one; of equally good ones the first is kept.
        settings: of the loop; its `validates_on` names the split.
        run_dir: folder for the checkpoint and for `<name of the folder>.json`.
        config: the whole configuration, kept in the checkpoint.

    Returns:
        The best accuracy, a fraction in [0, 1].
    """
    accelerator = settings.speed.make_accelerator()
    method.to(accelerator.device).eval()
    settings.speed.configure_backbone(method.arch)
    train, held_out = dataset.split("train"), dataset.split(settings.validates_on)
    embeddings = _embed(method, held_out, settings, accelerator)
    labels = held_out.labels.to(embeddings.device)

    def of_training() -> tuple[Tensor, Tensor]:
        rows = _embed(method, train, settings, accelerator)
        return rows, train.labels.to(rows.device)

    rows: list[dict[str, Any]] = []
    best = -1.0
    for label, become in variants:
        become(of_training)
        scores = [method.predict(part) for part in embeddings.split(settings.eval_batch_size)]
        rows.append({"variant": label, **_scores(torch.cat(scores), labels, train.class_counts)})
        if rows[-1]["accuracy"] > best:
            best, kept = rows[-1]["accuracy"], rows[-1]
            weights = {name: value.clone() for name, value in method.state_dict().items()}
    _show(rows, kept, settings.validates_on)
    method.load_state_dict(weights)
    if accelerator.is_main_process:
        _write(method, rows, kept, settings, run_dir, config, train.identity)
    accelerator.wait_for_everyone()
    return best


def _embed(method: Method, split: Any, settings: Settings, accelerator: Accelerator) -> Tensor:
    """Embeddings [N, D] of a split."""
    share = local_batches(
        split,
        accelerator,
        batch_size=settings.eval_batch_size,
        num_workers=settings.num_workers,
    )
    return embed_split(method, share, accelerator)


def _scores(scores: Tensor, labels: Tensor, class_counts: Tensor) -> dict[str, float]:
    """Accuracy of probabilities [N, C], and those of the groups of classes by training images."""
    groups = shot_scores(scores, labels, class_counts).groups
    accuracy = float((scores.argmax(1) == labels).double().mean())
    return {"accuracy": accuracy, **{name: group.accuracy for name, group in groups.items()}}


def _show(rows: list[dict[str, Any]], kept: dict[str, Any], selected_on: str) -> None:
    """The table, in the log."""
    columns = [key for key in rows[0] if key != "variant"]
    log.info("Accuracy on %s, by variant; groups by training images per class", selected_on)
    log.info("%-16s%s", "", "".join(f"{column:>10}" for column in columns))
    for row in rows:
        mark = "  <- kept" if row is kept else ""
        numbers = "".join(f"{row[column]:>10.4f}" for column in columns)
        log.info("%-16s%s%s", row["variant"], numbers, mark)


def _write(
    method: Method,
    rows: list[dict[str, Any]],
    kept: dict[str, Any],
    settings: Settings,
    run_dir: Path,
    config: dict[str, Any],
    identity: str,
) -> None:
    """The checkpoint of the best variant, and the table as JSON."""
    best = {"epoch": 0, "train_loss": float("nan"), "valid_acc": kept["accuracy"]}
    state = {
        "epoch": 0,
        "best_epoch": best,
        "selected_on": settings.validates_on,
        "train_identity": identity,
        "arch_state_dict": method.arch.state_dict(),
        "method_state_dict": method.state_dict(),
        "config": json.dumps(config),
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.keep(run_dir, state, is_best=True)
    table = {"selected_on": settings.validates_on, "kept": kept["variant"], "variants": rows}
    path = run_dir / f"{run_dir.name}.json"
    with replacing(path) as part:
        part.write_text(json.dumps(table, indent=1) + "\n")
