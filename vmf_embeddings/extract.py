"""From a trained method and a split to an embedding file."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.embed import embed_split, local_batches
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.seeding import seed_everything
from vmf_embeddings.training.stored_state import give_weights
from vmf_embeddings.untrusted.text import path_component

log = logging.getLogger(__name__)


def extract(
    method: Method,
    dataset: Any,
    checkpoint: dict[str, Any],
    splits: tuple[str, ...],
    run_dir: Path,
    method_name: str,
    seed: int,
    batch_size: int,
    num_workers: int,
    speed: ExecutionSettings,
    objective: dict[str, Any] | None = None,
) -> list[Path]:
    """Writes `<dataset>_<split>.npz` for each split into the run's folder.

    Args:
        method: built as for training; its state is replaced by the checkpoint's.
        dataset: gives the splits.
        checkpoint: state of the run, by today's code or of 2021.
        splits: among train, valid and test.
        run_dir: folder to write to.
        method_name: for the file's `meta`.
        seed: for the file's `meta`.
        batch_size: images a step.
        num_workers: worker processes for image files.
        speed: where and how fast.
        objective: for the file's `meta`: what the method was put together from, key -> value.

    Returns:
        The files.

    Raises:
        Refused: the checkpoint does not fit the method, or the data set's name cannot stand in the
            name of a file.
    """
    accelerator = speed.make_accelerator()
    give_weights(method, checkpoint, str(run_dir))
    method.to(accelerator.device).eval()
    speed.configure_backbone(method.arch)
    written = []
    trained_on = _trained_on(dataset.split("train"), checkpoint)
    for name in splits:
        split = dataset.split(name)
        seed_everything(seed)  # a split's draws do not hang on which others are extracted
        share = local_batches(split, accelerator, batch_size=batch_size, num_workers=num_workers)
        embeddings = embed_split(method, share, accelerator)
        if not accelerator.is_main_process:
            continue
        # the classes of an open set's own test split are not the ones the method has logits for
        with_logits = not dataset.open_set or name == "train"
        logits = _logits(method, embeddings, batch_size) if with_logits else None
        meta = {
            "schema": 1,
            "dataset": dataset.name,
            "split": name,
            "split_hash": split.identity,
            "open_set": bool(dataset.open_set),
            "method": method_name,
            "objective": objective,
            "geometry": method.geometry.to_meta(),
            "seed": seed,
            "epoch": int(checkpoint["epoch"]),
            "selected_on": checkpoint.get("selected_on", "valid"),  # as before there was a choice
            "class_names": split.class_names,
            **trained_on,
            "versions": {package: version(package) for package in ("torch", "numpy")},
        }
        stem = path_component(f"{dataset.name}_{name}", "the name of the embedding file")
        path = run_dir / f"{stem}.npz"
        save_embeddings(path, _file(method, split, dataset, embeddings, logits, meta))
        log.info("Split %s %s -> %s", name, tuple(embeddings.shape), path)
        written.append(path)
    accelerator.wait_for_everyone()
    return written


def _trained_on(train: Any, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Meta on the training pictures: which, by the checkpoint if it knows, and how many a class.

    Counts are those of the training split itself, and None where that is another one by now.
    """
    known = checkpoint.get("train_identity", train.identity)
    if known != train.identity:
        log.warning(
            "The run was trained on other pictures (%.12s…) than the training split now holds "
            "(%.12s…): the files will not know how many each class had",
            known, train.identity,
        )  # fmt: skip
    counts = train.class_counts.tolist() if known == train.identity else None
    return {"train_identity": known, "train_class_counts": counts}


@torch.no_grad()
def _logits(method: Method, embeddings: Tensor, batch_size: int) -> Tensor | None:
    """[N, C] or [N, S, C] logits of [N, D] embeddings; None where the method has none."""
    rows = [method.logits(rows) for rows in embeddings.split(batch_size)]
    return None if rows[0] is None else torch.cat(rows)


def _file(
    method: Method,
    split: Any,
    dataset: Any,
    embeddings: Tensor,
    logits: Tensor | None,
    meta: dict[str, Any],
) -> EmbeddingFile:
    weights = method.class_weights
    return EmbeddingFile(
        embeddings=_array(embeddings),
        ids=_array(split.labels),
        temperature=float(method.temperature.detach()),
        class_weights=None if weights is None else _array(weights),
        logits=None if logits is None else _array(logits),
        original_ids=_array(split.original_labels) if dataset.open_set else None,
        examples=_examples(split) if split.examples_to_save else None,
        pictures=None if split.pictures is None else _array(split.pictures),
        paths=None if split.paths is None else np.array([str(path) for path in split.paths]),
        is_query=None if split.is_query is None else _array(split.is_query),
        is_gallery=None if split.is_gallery is None else _array(split.is_gallery),
        meta=meta,
    )


def _examples(split: Any) -> np.ndarray:
    """The split's pictures as the network saw them, [N, channels, H, W]."""
    chunks = torch.arange(len(split)).split(1024)
    return np.concatenate([_array(split.batch(chunk)["examples"]) for chunk in chunks])


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
