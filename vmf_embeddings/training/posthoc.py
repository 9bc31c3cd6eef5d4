"""Heads that need no training: several variants are evaluated, the best one is kept."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.datasets.base import Dataset, Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics import shot_scores
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.data_description import data_description
from vmf_embeddings.training.embed import embed_with_progress, local_batches
from vmf_embeddings.training.settings import TrainingSettings
from vmf_embeddings.untrusted.files import replacing

log = logging.getLogger(__name__)

# computes the embeddings [N, D] of the training split without augmentation, and its labels [N]
TrainEmbeddings = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Variant:
    """One way to set a head.

    Attributes:
        name: for the table, such as `tau=0.5`.
        apply: changes the head in place; it is given a function that computes the training
            embeddings.
        options: keys of the configuration, such as `method.params.posthoc_tau`, with the values
            that the checkpoint of this variant states.
        preference: of equally good variants the one with the largest is kept, then the first.
    """

    name: str
    apply: Callable[[TrainEmbeddings], None]
    options: Mapping[str, float] = field(default_factory=dict)
    preference: float = 0.0


@dataclass(frozen=True)
class PosthocJob:
    """What `choose` needs.

    Attributes:
        method: trained; its backbone is not changed.
        dataset: source of the splits `train` and `settings.validates_on`.
        variants: at least one.
        settings: options of the training loop.
        run_dir: folder for the checkpoint and for `<name of the folder>.json`.
        config: the whole configuration as plain values, stored in the checkpoint.
        chosen_by: "accuracy", or "class_mean" for the mean accuracy of the classes.
    """

    method: Method
    dataset: Dataset
    variants: Sequence[Variant]
    settings: TrainingSettings
    run_dir: Path
    config: dict[str, Any]
    chosen_by: str = "accuracy"


@torch.no_grad()
def choose(job: PosthocJob) -> float:
    """Evaluates all variants on the validation split, and saves the best as training would.

    Returns:
        The accuracy of the best variant, a fraction in [0, 1].
    """
    method, settings = job.method, job.settings
    accelerator = settings.execution.make_accelerator()
    method.to(accelerator.device).eval()
    settings.execution.configure_backbone(method.arch)
    train, held_out = job.dataset.split("train"), job.dataset.split(settings.validates_on)
    embeddings = _embed(method, held_out, settings, accelerator)
    labels = held_out.labels.to(embeddings.device)

    def train_embeddings() -> tuple[Tensor, Tensor]:
        rows = _embed(method, train, settings, accelerator)
        return rows, train.labels.to(rows.device)

    rows: list[dict[str, Any]] = []
    best = (-1.0, 0.0)
    for variant in job.variants:
        variant.apply(train_embeddings)
        parts = [method.predict(part) for part in embeddings.split(settings.eval_batch_size)]
        scores = _scores(torch.cat(parts), labels, train.class_counts)
        rows.append({"variant": variant.name, **scores})
        score = (rows[-1][job.chosen_by], variant.preference)
        if score > best:
            best, kept, options = score, rows[-1], variant.options
            weights = {name: value.clone() for name, value in method.state_dict().items()}
    _log_table(rows, kept, settings.validates_on)
    if accelerator.is_main_process:
        _write(job, rows, kept, _Kept(weights, options, train.identity))
    accelerator.wait_for_everyone()
    return kept["accuracy"]


@dataclass(frozen=True)
class _Kept:
    """The method's weights with the kept variant, its options, and the identity of the images."""

    weights: dict[str, Tensor]
    options: Mapping[str, float]
    identity: str


def _embed(
    method: Method, split: Split, settings: TrainingSettings, accelerator: Accelerator
) -> Tensor:
    """Embeddings [N, D] of a split."""
    batches = local_batches(
        split,
        accelerator,
        batch_size=settings.eval_batch_size,
        num_workers=settings.num_workers,
    )
    return embed_with_progress(method, batches, accelerator, "images")


def _scores(probabilities: Tensor, labels: Tensor, class_counts: Tensor) -> dict[str, float]:
    """Accuracy of probabilities [N, C], and that of the classes with many and few train images."""
    groups = shot_scores(probabilities, labels, class_counts).groups
    right = (probabilities.argmax(1) == labels).double()
    of_class = [right[labels == k].mean() for k in labels.unique()]
    means = {"accuracy": float(right.mean()), "class_mean": float(torch.stack(of_class).mean())}
    return means | {name: group.accuracy for name, group in groups.items()}


def _log_table(rows: list[dict[str, Any]], kept: dict[str, Any], selected_on: str) -> None:
    """Logs the accuracies of all variants."""
    columns = [key for key in rows[0] if key != "variant"]
    log.info("Accuracy on %s, by variant; groups by training images per class", selected_on)
    log.info("%-16s%s", "", "".join(f"{column:>11}" for column in columns))
    for row in rows:
        mark = "  <- kept" if row is kept else ""
        numbers = "".join(f"{row[column]:>11.4f}" for column in columns)
        log.info("%-16s%s%s", row["variant"], numbers, mark)


def _write(
    job: PosthocJob, rows: list[dict[str, Any]], kept: dict[str, Any], state_of: _Kept
) -> None:
    """Writes the checkpoint of the kept variant, and the accuracies of all variants as JSON."""
    selected_on = job.settings.validates_on
    best = {"epoch": 0, "train_loss": float("nan"), "valid_acc": kept["accuracy"]}
    state = {
        "epoch": 0,
        "best_epoch": best,
        "selected_on": selected_on,
        "selected_by": job.chosen_by,
        "train_identity": state_of.identity,
        "arch_state_dict": job.method.arch.state_dict(),
        "method_state_dict": state_of.weights,
        "config": json.dumps(_with_options(job.config, state_of.options)),
        **data_description(job.dataset),
    }
    job.run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.keep(job.run_dir, state, is_best=True)
    chosen = {"selected_on": selected_on, "chosen_by": job.chosen_by, "kept": kept["variant"]}
    table = chosen | {"variants": rows}
    path = job.run_dir / f"{job.run_dir.name}.json"
    with replacing(path) as part:
        part.write_text(json.dumps(table, indent=1) + "\n")


def _with_options(config: dict[str, Any], options: Mapping[str, float]) -> dict[str, Any]:
    """A copy of a configuration with other values of these dotted keys."""
    config = deepcopy(config)
    for key, value in options.items():
        *place, name = key.split(".")
        node = config
        for part in place:
            node = node[part]
        node[name] = value
    return config
