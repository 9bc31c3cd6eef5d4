"""Features of a frozen backbone, computed once per split and kept in memory or in a file.

An epoch on them costs what the embedding layer and the objective cost.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

import vmf_embeddings
from vmf_embeddings.datasets.base import Split
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.training import feature_files
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.embed import local_batches
from vmf_embeddings.training.feature_split import FeatureSplit
from vmf_embeddings.training.free_memory import free_memory
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.processes import gather_rows
from vmf_embeddings.training.seeding import AUGMENTATION_STREAM, epoch_seed
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)

MAX_FRACTION_OF_FREE_MEMORY = 0.25
# of the data set's options, those that change no image
WITHOUT_EFFECT = ("margin_warmup_epochs", "download", "check", "max_pixels", "on_error", "views")


def features_are_cached(job: TrainingJob) -> bool:
    """Whether a training reads features instead of images.

    Raises:
        Refused: `trainer.feature_cache` asks for it, and it is not possible; says why.
    """
    settings, method = job.settings, job.method
    if settings.feature_cache == "off":
        return False
    reason = _why_not(job)
    if reason is None:
        return True
    if settings.feature_cache in ("memory", "disk"):
        raise Refused(f"trainer.feature_cache={settings.feature_cache}: {reason}")
    if method.arch.frozen:
        log.info("Images go through the frozen backbone in every epoch: %s", reason)
    return False


def _why_not(job: TrainingJob) -> str | None:
    """Why features cannot be cached; None if they can."""
    if not job.method.arch.frozen:
        return (
            "features change while the backbone learns; add arch.params.frozen=true, or leave "
            "trainer.feature_cache=auto"
        )
    if job.method.needs_images:
        return f"method={job.method.name} needs the images themselves, not only their features"
    if job.dataset.views > 1 and not job.settings.feature_views:
        return (
            f"dataset.params.views={job.dataset.views} asks for augmented versions of each image; "
            "add trainer.feature_views=4 to cache the features of four of them"
        )
    return None


@dataclass
class FeatureCache:
    """Computes or finds the features of splits, in all processes together.

    Attributes:
        job: the training; its method is on its device and has the weights that it starts with.
        accelerator: device, precision and processes.
    """

    job: TrainingJob
    accelerator: Accelerator

    def __post_init__(self) -> None:
        self._found: dict[tuple[str, int], FeatureSplit] = {}
        self._backbone = feature_files.backbone_hash(self.job.method.arch)

    def split(self, name: str, *, augment: bool = False) -> FeatureSplit:
        """The features of a split.

        Args:
            name: "train", "valid" or "test".
            augment: whether there are `trainer.feature_views` augmented copies of each image; with
                0 of them the images are not augmented.
        """
        views = self.job.settings.feature_views if augment else 0
        if (name, views) not in self._found:
            images = self.job.dataset.split(name, augment=views > 0)
            if augment and not views:
                log.info(
                    "Training on features of images without augmentation; "
                    "trainer.feature_views=V takes V augmented copies of each"
                )
            self._found[name, views] = FeatureSplit(images, self._features(images, name, views))
        return self._found[name, views]

    def _features(self, images: Split, name: str, views: int) -> Tensor:
        """[max(views, 1), N, F] of a split: of a file, or computed."""
        shape = (max(views, 1), len(images), self.job.method.arch.n_features)
        what = f"{name} images" if not views else f"{name} images, {views} augmented copies"
        parts = self._parts(name, views)
        path = Path(self.job.settings.feature_cache_dir) / f"{feature_files.key_of(parts)}.npy"
        place = self._place(path, shape)
        if place == _FOUND:
            features = self._mapped(path, shape)
            log.info("Features of %s: found in %s, not computed again", what, path)
            return features
        started = time.monotonic()
        title = f"Features of {shape[1]:,} {what}"
        chunks = self._computed(images.with_views(1), shape, title)
        if place == _IN_FILE:
            features = self._written(path, chunks, shape, {"what": what, **parts})
        else:
            features = torch.empty(shape)
            rows, first = features.view(-1, shape[2]), 0
            for chunk in chunks:
                rows[first : first + len(chunk)] = chunk
                first += len(chunk)
        seconds = time.monotonic() - started
        log.info(
            "Features of %s: [%d, %d] in %.1f s (%.0f images/s), %.1f MB in %s",
            *(what, shape[1], shape[2], seconds, shape[0] * shape[1] / max(seconds, 1e-9)),
            *(features.nbytes / 1e6, path if place == _IN_FILE else "memory"),
        )
        return features

    def _place(self, path: Path, shape: tuple[int, int, int]) -> int:
        """Where the features are or are to be put, the same in every process."""
        place = _IN_MEMORY
        if self.job.settings.feature_cache != "memory" and self.accelerator.is_main_process:
            if feature_files.read(path, shape) is not None:
                place = _FOUND
            elif self.job.settings.feature_cache == "disk" or not self._fits(shape):
                place = _IN_FILE
        return int(broadcast(torch.tensor(place, device=self.accelerator.device)))

    def _fits(self, shape: tuple[int, int, int]) -> bool:
        """Whether a quarter of this process's free memory holds float32 of this shape."""
        return 4 * math.prod(shape) <= MAX_FRACTION_OF_FREE_MEMORY * free_memory()

    def _parts(self, name: str, views: int) -> dict[str, Any]:
        """All that the features of a split depend on, as JSON values."""
        config, dataset = self.job.config, self.job.dataset
        data = {**config.get("dataset", {}), **(config.get("dataset", {}).get("params") or {})}
        own = {k: v for k, v in data.items() if k not in (*WITHOUT_EFFECT, "params")}
        kind = type(self.job.method.arch)
        return {
            "backbone": self._backbone,
            "arch": [f"{kind.__module__}.{kind.__qualname__}"]
            + [feature_files.arch_options(config.get("arch"))],
            "split": {"name": name, **feature_files.split_parts(dataset.split(name))},
            "dataset": own,
            "views": [views, self.job.settings.random_seed] if views else 0,
            "precision": self.job.settings.execution.precision,
            "device": self.accelerator.device.type,
            "versions": [torch.__version__, vmf_embeddings.__version__],
        }

    def _computed(self, images: Split, shape: tuple[int, int, int], title: str) -> Iterator[Tensor]:
        """Features [n, F] on the CPU, of all images of the first copy, then of the next."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        settings = self.job.settings
        sizes = {"batch_size": settings.eval_batch_size, "num_workers": settings.num_workers}
        n_steps = -(-shape[1] // (settings.eval_batch_size * world))
        with Progress(
            title,
            shape[0] * n_steps,
            quiet=not self.accelerator.is_main_process,
            at_once=shape[0] * shape[1] > LARGE_JOB,
        ) as progress:
            for copy in range(shape[0]):
                seed = epoch_seed(settings.random_seed, copy, AUGMENTATION_STREAM)
                batches = local_batches(images, self.accelerator, **sizes, seed=seed)
                for step, rows in enumerate(self._gathered(batches, rank, world), 1):
                    progress(copy * n_steps + step)
                    yield rows

    @torch.no_grad()
    def _gathered(self, batches: SequentialBatches, rank: int, world: int) -> Iterator[Tensor]:
        """Features of a split in its order, a batch of every process at a time."""
        arch, device = self.job.method.arch, self.accelerator.device
        n_total, n_step = len(batches.split), self.job.settings.eval_batch_size * world
        remaining = iter(batches)
        for first in range(0, n_total, n_step):
            n_rows = min(n_step, n_total - first)
            own = torch.empty(0, arch.n_features, device=device)
            batch = next(remaining, None)
            if batch is not None:
                with self.accelerator.autocast():
                    examples = batch["examples"].to(device, non_blocking=True)
                    own = arch.features(examples).float()
            # a process without an image of its own read another one, see `local_batches`
            own = own[: len(range(rank, n_rows, world))]
            yield gather_rows(own, rank, world, n_rows).cpu()

    def _written(
        self, path: Path, chunks: Iterator[Tensor], shape: tuple[int, int, int], about: Any
    ) -> Tensor:
        """Writes the features to a file in the first process; maps it in all."""
        if self.accelerator.is_main_process:
            feature_files.write(path, chunks, shape, about)
        else:
            for _ in chunks:  # computes this process's part
                pass
        return self._mapped(path, shape)

    def _mapped(self, path: Path, shape: tuple[int, int, int]) -> Tensor:
        self.accelerator.wait_for_everyone()
        features = feature_files.read(path, shape, verified=True)
        if features is None:
            raise Refused(
                f"{path} cannot be read by every process: let trainer.feature_cache_dir be a "
                "folder that all machines share, or use trainer.feature_cache=memory"
            )
        return features


_IN_MEMORY, _IN_FILE, _FOUND = range(3)
