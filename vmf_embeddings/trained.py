"""A trained run without its training data: embeddings and class probabilities of new images."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vmf_embeddings.geometry import Geometry
from vmf_embeddings.library.export import embedding_meta, export_run
from vmf_embeddings.library.export_graph import Exported
from vmf_embeddings.library.run_batches import chosen_device, embedded, rows_of
from vmf_embeddings.library.trained_inputs import ImageBatches, OnBroken, Transform
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.weights_hash import weights_hash


class Run:
    """A trained method, made by `load`.

    Args:
        module: the method, trained; it is set to evaluation mode and gets no gradients.
        transform: from one image to the network's input [ch, H, W]; None where nobody states it.
        class_names: of classes 0, 1, …; None where the run does not know them.
        config: the configuration it was trained with, as plain values.
        metrics: epoch and scores of the checkpoint.
        folder: where it lies; nothing is written there.
        device: where it computes.
    """

    def __init__(
        self,
        module: Method,
        *,
        transform: Transform | None = None,
        class_names: Sequence[str] | None = None,
        config: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        folder: Path | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.device = chosen_device(device)
        self.module = module.to(self.device).eval().requires_grad_(False)
        self.transform = transform
        self.class_names = None if class_names is None else list(class_names)
        self.config = config or {}
        self.metrics = metrics or {}
        self.folder = folder

    @property
    def geometry(self) -> Geometry:
        """How embeddings are compared."""
        return self.module.geometry

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding."""
        return self.module.arch.class_spec.embedding_dim

    @property
    def n_classes(self) -> int | None:
        """C, the number of training classes; None where the run has no predictions of classes."""
        return self.module.arch.class_spec.n_classes if self.module.has_logits else None

    @property
    def confidence_name(self) -> str:
        """What `confidence` returns: "kappa", "norm", "distance_to_origin", or a method's own."""
        return self.module.confidence_name

    def __repr__(self) -> str:
        classes = "no classes" if self.n_classes is None else f"{self.n_classes} classes"
        return (
            f"Run({self.module.name}, {self.geometry.name}, {self.embedding_dim}-D, {classes}, "
            f"{self.device}, {str(self.folder)!r})"
        )

    def embed(
        self, images: Any, *, batch_size: int = 64, progress: bool | None = None
    ) -> np.ndarray:
        """Embeddings of images, as `mode=get_embeddings` stores them.

        Images are read and embedded a batch at a time, in their order.

        Args:
            images: paths; a folder (its images and those of folders below it, sorted by path, as
                `image_files` lists them); Pillow images; uint8 arrays [N, H, W] or [N, H, W, ch];
                uint8 tensors [N, ch, H, W]; or floating-point tensors [N, ch, H, W], which the
                network gets as they are, without `transform`. For a run on feature vectors: arrays
                or tensors [N, F] of floats.
            batch_size: images per step; with another one, results differ by rounding.
            progress: whether to show a progress bar on standard error; None = once it takes long
                and standard error is a terminal.

        Returns:
            float32 [N, D]; [0, D] where there are no images.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: an image cannot be decoded, naming it, or the form is not supported.
        """
        return self._rows(images, lambda z: z, self.embedding_dim, batch_size, progress)

    def predict(
        self, images: Any, *, batch_size: int = 64, progress: bool | None = None
    ) -> np.ndarray:
        """Probabilities of the training classes.

        Methods that draw samples, such as `vmf_softmax`, draw the same ones in every call.

        Args:
            images: see `embed`.
            batch_size: see `embed`.
            progress: see `embed`.

        Returns:
            float32 [N, C], rows sum to 1; column c belongs to `class_names[c]`.

        Raises:
            ValueError: the run has no classes; and see `embed`.
        """
        n_classes = self._classes_or_refuse()
        return self._rows(images, self.probabilities, n_classes, batch_size, progress)

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Probabilities of the training classes, of embeddings as `embed_batches` gives them.

        Args:
            embeddings: [B, D], on `device`.

        Returns:
            float32 [B, C] on `device`. Methods that draw samples draw the same ones in every call.

        Raises:
            ValueError: the run has no classes.
        """
        self._classes_or_refuse()
        with self._same_draws(), torch.no_grad():
            return self.module.predict(embeddings).float()

    def confidence(self, embeddings: ArrayLike) -> np.ndarray:
        """How confident the network is in embeddings [N, D] of `embed` -> float32 [N], >= 0.

        Larger = more confident; `confidence_name` says what it is.

        Raises:
            ValueError: the embeddings are not [N, D].
        """
        rows = torch.as_tensor(np.asarray(embeddings, dtype=np.float32))
        if rows.ndim != 2 or rows.shape[1] != self.embedding_dim:
            raise ValueError(
                f"embeddings: expected [N, {self.embedding_dim}], got {list(rows.shape)}"
            )
        with torch.no_grad():
            return self.module.confidence(rows.to(self.device)).float().cpu().numpy()

    def embed_batches(
        self,
        images: Any,
        *,
        batch_size: int = 64,
        readers: int | None = None,
        on_broken: OnBroken | None = None,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Embeddings a batch at a time, while threads read the images of the next one.

        Args:
            images: see `embed`.
            batch_size: images per step.
            readers: threads that read images; None = one per CPU, at most 8.
            on_broken: called with the number of an image that cannot be read, counted from 0, and
                the error; the image is left out. None = the error is raised.

        Yields:
            Numbers of the images of a batch, and their embeddings [b, D], float32 on `device`.
        """
        batches = ImageBatches(
            images, self.transform, batch_size, readers=readers, on_broken=on_broken
        )
        return embedded(self.module, batches, self.device)

    def export(
        self, path: str | Path, *, predict: bool = False, batch: int | None = None
    ) -> Exported:
        """Writes the network for other programs, or the run as a bundle that `load` reads.

        The graphs of `.onnx` and `.pt2` take what `transform` returns, and give embeddings as
        `embed` does. They are compared with torch on a batch before they are written. What
        describes the run (transform, class names, geometry) lies in the file as JSON.

        Args:
            path: ends in `.onnx` (runs in onnxruntime), `.pt2` (`torch.export.load`), or `.zip`: a
                bundle of weights, configuration, transform and class names. A file of that name is
                replaced.
            predict: whether a graph has a second output, the class probabilities [B, C]. Methods
                whose `predict` draws samples give the softmax of the expected logits instead.
            batch: number of images that a graph takes at once; None = any.

        Returns:
            What was written, and how far it is from torch.

        Raises:
            ValueError: another ending, no classes to predict, or a network that cannot become a
                graph; the message says why.
            ImportError: a package for ONNX is missing.
            RuntimeError: the file would compute something else than torch; it was not written.
        """
        if predict:
            self._classes_or_refuse()
        return export_run(self, Path(path), predict=predict, batch=batch)

    def description(self) -> dict[str, Any]:
        """What a file of embeddings says of the run that made them, as JSON values."""
        return {**embedding_meta(self), "weights": self.weights_hash}

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the weights: two runs with the same one give the same embeddings."""
        return weights_hash(self.module.state_dict())

    def _classes_or_refuse(self) -> int:
        if self.n_classes is None:
            raise ValueError(
                f"this run ({self.module.name}) predicts no classes: its objective compares "
                "embeddings with one another. Embed, and search for the nearest known images"
            )
        return self.n_classes

    def _rows(
        self,
        images: Any,
        of_embeddings: Callable[[Tensor], Tensor],
        width: int,
        batch_size: int,
        progress: bool | None,
    ) -> np.ndarray:
        """One row per image [N, width], a function of its embedding."""
        batches = ImageBatches(images, self.transform, batch_size)
        found = embedded(self.module, batches, self.device)
        return rows_of(found, of_embeddings, batches.total, width, progress)

    @contextlib.contextmanager
    def _same_draws(self) -> Iterator[None]:
        """Seeds torch inside; outside, its random state is as before."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(self.config.get("random_seed", 1234)))
            yield


def load(
    path: str | Path,
    *,
    device: str | torch.device = "auto",
    transform: Transform | None = None,
    n_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
) -> Run:
    """Loads a trained run for use, without its training data.

    Nothing is written, and no code of the run is executed. What the checkpoint does not state is
    taken from its weights (the number of classes) and its configuration (the image transform).

    Args:
        path: a run's folder, whose best checkpoint is taken; a checkpoint `model_<epoch>.pt`; or a
            bundle `.zip` that `Run.export` wrote.
        device: "auto" (a GPU where there is one), or a device of torch.
        transform: from one image to the network's input [ch, H, W]; None = the run's own.
        n_classes: C, where it follows neither from the checkpoint nor from its weights.
        class_names: of classes 0, 1, …; None = those in the checkpoint.
        overrides: the command line that it was trained with, as `["method=vmf_softmax"]`; only for
            checkpoints of 2021 that lie in no run folder.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: it is no checkpoint, or does not fit its configuration; the message says which
            argument helps.

    Example:
        >>> load("no/such/run")
        Traceback (most recent call last):
        FileNotFoundError: no run no/such/run: expected a run's folder, a checkpoint model_*.pt, ...
    """
    from vmf_embeddings.cli.run_loader import load_run  # imports Hydra

    loaded = load_run(Path(path), overrides=overrides, n_classes=n_classes)
    return Run(
        loaded.method,
        transform=loaded.transform if transform is None else transform,
        class_names=loaded.class_names if class_names is None else class_names,
        config=loaded.config,
        metrics=loaded.metrics,
        folder=loaded.folder,
        device=device,
    )
