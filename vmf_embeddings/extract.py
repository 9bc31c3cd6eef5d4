"""Computes the embeddings of whole splits with a trained method, and writes embedding files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Dataset, Split
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings
from vmf_embeddings.embeddings.fields import CORRUPTED, KEY_OF_FIELD
from vmf_embeddings.embeddings.folder_writing import SHARD_ROWS
from vmf_embeddings.extract_folder import (
    FolderJob,
    confidence_of,
    extract_folder,
    has_own_confidence,
)
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.weights_hash import weights_hash
from vmf_embeddings.progress import Progress
from vmf_embeddings.training.embed import embed_own_with_progress, local_batches
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.training.processes import gather_rows_to_first
from vmf_embeddings.training.seeding import seed_everything
from vmf_embeddings.training.stored_state import load_weights
from vmf_embeddings.untrusted.text import path_component

log = logging.getLogger(__name__)
N_EXAMPLES = 4  # corrupted images that are kept for figures


@dataclass(frozen=True)
class ExtractionJob:
    """What `extract` needs.

    Attributes:
        method: built as for training; its state is replaced by that of the checkpoint.
        dataset: source of the splits.
        checkpoint: state of the run, written by this code or by that of 2021.
        splits: names among `train`, `valid`, `test`.
        run_dir: folder to write to.
        method_name: written into the files' `meta`.
        seed: >= 0; seeds each split's random numbers, and is written into `meta`.
        batch_size: images per batch.
        num_workers: worker processes that load image files, >= 0.
        execution: device, precision, threads.
        objective: written into `meta`: the parts of the method and its changed parameters, key ->
            value.
        store: "npz", one file per split; or "folder", see `extract_folder`.
        part: this job's part and the number of parts, from (1, n) to (n, n); None = everything.
            With "folder" alone.
        shard_rows: rows per file, a multiple of 1024; likewise.
        corrupted: from the data set and the name of a split to its images with what
            `datasets.corruption` does to them, of which each is then embedded; None = as they are.
    """

    method: Method
    dataset: Dataset
    checkpoint: dict[str, Any]
    splits: tuple[str, ...]
    run_dir: Path
    method_name: str
    seed: int
    batch_size: int
    num_workers: int
    execution: ExecutionSettings
    objective: dict[str, Any] | None = None
    store: str = "npz"
    part: tuple[int, int] | None = None
    shard_rows: int = SHARD_ROWS
    corrupted: Callable[[Dataset, str], Split] | None = None


def extract(job: ExtractionJob) -> list[Path]:
    """Writes `<dataset>_<split>.npz`, or a folder `.emb`, for each split to the run folder.

    With corruptions it is `<dataset>_<split>_corrupted.npz`, and a few of its rows with their
    images in `<dataset>_<split>_corrupted_examples.npz`, for figures.

    Returns:
        The files, in the order of `job.splits`; empty in all processes but the first. Folders that
        lack parts of other jobs are left out.

    Raises:
        Refused: the checkpoint does not fit the method, or the data set's name cannot be part of
            a file name.
    """
    method, dataset = job.method, job.dataset
    accelerator = job.execution.make_accelerator()
    load_weights(method, job.checkpoint, str(job.run_dir))
    weights = weights_hash(method.state_dict())
    method.to(accelerator.device).eval()
    job.execution.configure_backbone(method.arch)
    sizes = {"batch_size": job.batch_size, "num_workers": job.num_workers}
    trained_on = _trained_on(dataset.split("train"), job.checkpoint)
    written = []
    for name in job.splits:
        split = _split(job, name)
        # the classes of an open set's held-out splits are not those that the method has logits for
        with_logits = not dataset.open_set or name == "train"
        meta = {**_meta(job, name, split, trained_on), "weights": weights}
        ending = "" if split.clean is None else "_corrupted"
        named = f"{dataset.name}_{name}{ending}"
        stem = path_component(named, "the name of the embedding file")
        if job.store == "folder":
            path = job.run_dir / f"{stem}.emb"
            if extract_folder(_folder_job(job, split, path, meta, with_logits), accelerator):
                log.info("Split %s %d rows -> %s", name, len(split), path)
                _write_examples(path, split)
                written.append(path)
            continue
        seed_everything(job.seed)  # so that a split's random numbers do not depend on the others
        batches = local_batches(split, accelerator, **sizes)
        own = embed_own_with_progress(method, batches, accelerator, f"{name} {split.unit}")
        place = accelerator.process_index, accelerator.num_processes
        embeddings = gather_rows_to_first(own, *place, len(split))
        if embeddings is None:  # another process writes the file
            continue
        logits = _logits(method, embeddings, job.batch_size) if with_logits else None
        path = job.run_dir / f"{stem}.npz"
        known = confidence_of(method, embeddings, job.batch_size)
        file = _file(method, split, dataset, embeddings, logits, meta, **known)
        with Progress(f"Writing {path.name}"):
            save_embeddings(path, file)
        _write_examples(path, split)
        log.info("Split %s %s -> %s", name, tuple(embeddings.shape), path)
        written.append(path)
    accelerator.wait_for_everyone()
    return written


def _split(job: ExtractionJob, name: str) -> Split:
    return job.dataset.split(name) if job.corrupted is None else job.corrupted(job.dataset, name)


def _write_examples(path: Path, split: Split) -> None:
    """Writes the rows of a few corrupted images, with their pixels, beside the file of all."""
    if split.clean is None:
        return
    file, rows = load_embeddings(path), split.example_rows(N_EXAMPLES)
    pictures = _array(torch.stack([split.pixels(row) for row in rows]))
    fields = {name: getattr(file, name)[rows] for name in ("embeddings", "ids", *CORRUPTED)}
    examples = EmbeddingFile(**fields, pictures=pictures, meta=file.meta)
    save_embeddings(path.with_name(f"{path.stem}_examples.npz"), examples)


def _meta(
    job: ExtractionJob, name: str, split: Split, trained_on: dict[str, Any]
) -> dict[str, Any]:
    """The file's `meta`; `trained_on` describes the training images."""
    method = job.method
    return {
        "schema": 1,
        "dataset": job.dataset.name,
        "split": name,
        "split_hash": split.identity,
        **({} if split.clean is None else {"source_hash": split.clean.identity}),
        "open_set": bool(job.dataset.open_set),
        "method": job.method_name,
        "objective": job.objective,
        "geometry": method.geometry.to_meta(),
        "seed": job.seed,
        "epoch": int(job.checkpoint["epoch"]),
        # the oldest checkpoints do not have it: then there was no other choice
        "selected_on": job.checkpoint.get("selected_on", "valid"),
        "selected_by": job.checkpoint.get("selected_by"),
        "class_names": split.class_names,
        "prior_removed": method.uses_prior,
        **({"confidence_name": method.confidence_name} if has_own_confidence(method) else {}),
        **method.describe(),
        **trained_on,
        "versions": {package: version(package) for package in ("torch", "numpy")},
    }


def _trained_on(train: Split, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The part of `meta` on the training images: a hash of the split, and images per class.

    The hash is that of the checkpoint, if it has one. Counts are None where the training split of
    today has another hash.
    """
    known = checkpoint.get("train_identity") or train.identity
    if known != train.identity:
        log.warning(
            "The run was trained on other images (%.12s…) than the training split now has "
            "(%.12s…): the files will not hold the number of training images per class",
            known, train.identity,
        )  # fmt: skip
    counts = train.class_counts.tolist() if known == train.identity else None
    return {"train_identity": known, "train_class_counts": counts}


@torch.no_grad()
def _logits(method: Method, embeddings: Tensor, batch_size: int) -> Tensor | None:
    """Logits [N, C] or [N, S, C] of embeddings [N, D]; None where the method has no logits."""
    rows = [method.logits(rows) for rows in embeddings.split(batch_size)]
    return None if rows[0] is None else torch.cat(rows)


def _file(
    method: Method,
    split: Split,
    dataset: Dataset,
    embeddings: Tensor,
    logits: Tensor | None,
    meta: dict[str, Any],
    **known: np.ndarray,
) -> EmbeddingFile:
    return EmbeddingFile(
        embeddings=_array(embeddings),
        temperature=float(method.temperature.detach()),
        logits=None if logits is None else _array(logits),
        paths=None if split.paths is None else np.array([str(path) for path in split.paths]),
        meta=meta,
        **known,
        **_fields_of_split(method, split, dataset),
    )


def _fields_of_split(method: Method, split: Split, dataset: Dataset) -> dict[str, np.ndarray]:
    """The fields of `EmbeddingFile` that are known before anything is embedded, without paths."""
    tensors = {
        "ids": split.labels,
        "class_weights": method.class_weights,
        "original_ids": split.original_labels if dataset.open_set else None,
        "pictures": split.raw_images,
        "is_query": split.is_query,
        "is_gallery": split.is_gallery,
    }
    fields = {name: _array(value) for name, value in tensors.items() if value is not None}
    if split.examples_to_save:
        fields["examples"] = _examples(split)
    if split.clean is not None:
        fields |= {name: getattr(split, name) for name in CORRUPTED}
    return fields


def _folder_job(
    job: ExtractionJob, split: Split, folder: Path, meta: dict[str, Any], with_logits: bool
) -> FolderJob:
    def others() -> dict[str, np.ndarray]:
        fields = _fields_of_split(job.method, split, job.dataset)
        return {KEY_OF_FIELD[name]: value for name, value in fields.items()}

    return FolderJob(
        method=job.method,
        split=split,
        name=meta["split"],
        folder=folder,
        meta=meta,
        with_logits=with_logits,
        others=others,
        batch_size=job.batch_size,
        num_workers=job.num_workers,
        shard_rows=job.shard_rows,
        part=job.part,
    )


def _examples(split: Split) -> np.ndarray:
    """The inputs of the network for a split, [N, channels, H, W]."""
    chunks = torch.arange(len(split)).split(1024)
    return np.concatenate([_array(split.batch(chunk)["examples"]) for chunk in chunks])


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
