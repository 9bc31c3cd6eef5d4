"""Embeds a split into a folder `.emb`, shard by shard, in any number of processes and jobs."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.datasets.base import SPLIT_NAMES, Split
from vmf_embeddings.embeddings.folder_writing import Written, write_array, write_texts
from vmf_embeddings.embeddings.shards import ShardPlan
from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics.logit_summary import logit_summary
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.seeding import epoch_seed, seed_everything

log = logging.getLogger(__name__)

MOST_LOGITS = 4 * 10**9  # bytes of all logits of a split; of more, a summary is stored
_STREAM = 2  # of the seeds of shards, from here on one per split: 0 and 1 are those of training


Stores = Callable[["FolderJob", Tensor, range], dict[str, np.ndarray]]
"""What is stored of the logits of embeddings [n, D], the rows of a range."""


@dataclass(frozen=True)
class FolderJob:
    """What `extract_folder` needs.

    Attributes:
        method: in evaluation mode, on the accelerator's device.
        split: what to embed.
        name: of the split.
        folder: to write to, `….emb`.
        meta: of the file; with the hashes of weights and split, and the seed.
        with_logits: whether the method's logits are stored, if it has some.
        others: writes the arrays besides embeddings, logits and paths; key -> array.
        batch_size: images per batch; shards begin with a new batch.
        num_workers: worker processes that load images, >= 0.
        shard_rows: rows per shard, a multiple of 1024.
        part: this job's part and the number of parts, from (1, n) to (n, n); None = everything.
    """

    method: Method
    split: Split
    name: str
    folder: Path
    meta: Mapping[str, Any]
    with_logits: bool
    others: Callable[[], Mapping[str, np.ndarray]]
    batch_size: int
    num_workers: int
    shard_rows: int
    part: tuple[int, int] | None = None


def extract_folder(job: FolderJob, accelerator: Accelerator) -> bool:
    """Writes the shards of this process that are not finished, and completes the folder.

    A shard is computed by one process, with random numbers of its own, so that its files are the
    same whichever process of how many computes it. Jobs that embed different parts know nothing of
    each other: the one that ends last completes the folder.

    Returns:
        Whether the folder is complete; in the first process.
    """
    stores = _stores(job, accelerator)
    plan = ShardPlan(job.folder, _key(job, stores), len(job.split), job.shard_rows)
    if accelerator.is_main_process:
        plan.begin()
    part, n_parts = job.part or (1, 1)
    shards = plan.part(part - 1, n_parts)
    todo = [shard for shard in shards if plan.finished(shard) is None]
    accelerator.wait_for_everyone()  # all processes have seen what is finished: none has begun
    if len(todo) < len(shards):
        log.info("%d of %d shards of %s are finished", len(shards) - len(todo), len(shards),
                 job.folder)  # fmt: skip
    rank, world = accelerator.process_index, accelerator.num_processes
    own = todo[len(todo) * rank // world : len(todo) * (rank + 1) // world]
    _write_shards(job, plan, own, stores, accelerator)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return False
    temperature = float(job.method.temperature.detach())
    complete = plan.complete(lambda folder: _others(job, folder), temperature, job.meta)
    if not complete:
        n_missing = len(plan.unfinished())
        log.info("%s: %d of %d shards are missing yet", job.folder, n_missing, plan.n_shards)
    return complete


def _key(job: FolderJob, stores: Stores | None) -> str:
    """A hash of what decides the values of the shards."""
    words = {key: job.meta[key] for key in ("weights", "split_hash", "seed", "split")}
    text = json.dumps({**words, "logits": stores.__name__ if stores else None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_shards(
    job: FolderJob,
    plan: ShardPlan,
    todo: list[int],
    stores: Stores | None,
    accelerator: Accelerator,
) -> None:
    n_rows = sum(len(plan.rows(shard)) for shard in todo)
    with Progress(
        f"Embedding {n_rows:,} {job.name} {job.split.unit}",
        max(n_rows, 1),
        quiet=not accelerator.is_main_process or not todo,
        at_once=n_rows > LARGE_JOB,
    ) as progress:
        done = 0
        for shard in todo:
            rows = plan.rows(shard)
            seed_everything(epoch_seed(job.meta["seed"], rows.start, _stream(job.name)))
            embeddings = _embed(job, rows, accelerator, lambda n, done=done: progress(done + n))
            arrays = {"embeddings": embeddings.cpu().numpy()}
            arrays |= confidence_of(job.method, embeddings, job.batch_size)
            if stores is not None:
                arrays |= stores(job, embeddings, rows)
            plan.write(shard, arrays)
            done += len(rows)


def _stream(split: str) -> int:
    return _STREAM + SPLIT_NAMES.index(split)


@torch.no_grad()
def _embed(
    job: FolderJob, rows: range, accelerator: Accelerator, progress: Callable[[int], None]
) -> Tensor:
    """The embeddings of some rows [n, D]."""
    batches = SequentialBatches(
        job.split, torch.arange(rows.start, rows.stop), job.batch_size, job.num_workers
    )
    found: list[Tensor] = []
    n_done = 0
    for batch in batches:
        with accelerator.autocast():
            images = batch["examples"].to(accelerator.device, non_blocking=True)
            found.append(job.method.embed(images).float())
        n_done += len(found[-1])
        progress(n_done)
    return torch.cat(found)


def has_own_confidence(method: Method) -> bool:
    """Whether a method says how sure it is by more than the norm of an embedding."""
    return method.confidence_name != method.geometry.confidence_name


@torch.no_grad()
def confidence_of(method: Method, embeddings: Tensor, batch_size: int) -> dict[str, np.ndarray]:
    """`confidence` [n] of embeddings [n, D]; empty where it can be computed from them."""
    if not has_own_confidence(method):
        return {}
    found = [method.confidence(rows) for rows in embeddings.split(batch_size)]
    return {"confidence": torch.cat(found).float().cpu().numpy()}


@torch.no_grad()
def _all_logits(job: FolderJob, embeddings: Tensor, rows: range) -> dict[str, np.ndarray]:
    found = [job.method.logits(some) for some in embeddings.split(job.batch_size)]
    return {"logits": torch.cat([one for one in found if one is not None]).cpu().numpy()}


@torch.no_grad()
def _summary(job: FolderJob, embeddings: Tensor, rows: range) -> dict[str, np.ndarray]:
    labels = job.split.labels[rows.start : rows.stop].to(embeddings.device)
    parts = zip(embeddings.split(job.batch_size), labels.split(job.batch_size), strict=True)
    found = [logit_summary(job.method.logits(some), own) for some, own in parts]
    return {key: torch.cat([one[key] for one in found]).cpu().numpy() for key in found[0]}


def _stores(job: FolderJob, accelerator: Accelerator) -> Stores | None:
    """What is stored of logits: all, a summary where they are too many, or nothing without any."""
    if not job.with_logits:
        return None
    first = _embed(job, range(1), accelerator, lambda _: None)
    with torch.no_grad():
        logits = job.method.logits(first)
    if logits is None:
        return None
    n_bytes = logits[0].numel() * 4 * len(job.split)
    if n_bytes > MOST_LOGITS:
        log.warning(
            "Logits of %s would take %.1f GB, more than %.0f: a summary of each row is stored "
            "instead, and evaluate computes no scores of classification from this folder",
            job.name, n_bytes / 1e9, MOST_LOGITS / 1e9,
        )  # fmt: skip
    return _all_logits if n_bytes <= MOST_LOGITS else _summary


def _others(job: FolderJob, folder: Path) -> dict[str, Written]:
    """Writes what is not divided among shards."""
    with Progress(f"Writing {folder.name}"):
        written = {key: write_array(folder, key, array) for key, array in job.others().items()}
        if job.split.paths is not None:
            written["paths"] = write_texts(folder, "paths", job.split.paths)
    return written
