"""Deep metric learning: any criterion on the embeddings, with or without a miner.

These are what the benchmark of Roth et al. 2020, "Revisiting Training Strategies and Generalization
Performance in Deep Metric Learning", https://arxiv.org/abs/2002.08473, varies.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.methods.base import BatchLayout, Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.cross_batch_memory import CrossBatchMemory
from vmf_embeddings.methods.precision import full_precision, widen
from vmf_embeddings.methods.vmf_start import scale_of_arch
from vmf_embeddings.miners.base import MaskedTriplets, Miner, Triplets

log = logging.getLogger(__name__)

WITH_MEMORY = (
    "contrastive, triplet, margin, snr, multisimilarity, multisimilarity_nir, supcon, npair, "
    "angular, lifted, histogram, smooth_ap, roadmap, recall_at_k, poincare_pairs, mcinfonce or hib"
)
"""The criteria that `takes_memory`, for messages."""


class DML(Method):
    """A criterion on the embeddings, which are compared by the criterion's geometry.

    Args:
        arch: the backbone. Its temperature is ignored: criteria have their own scales.
        criterion: on embeddings and labels; its parameters are created here.
        miner: chooses triplets of a batch by the current embeddings; None = no miner.
        memory_size: rows of earlier batches that those of a batch are compared with as well, see
            `CrossBatchMemory`; 0 = none.
        memory_start: training batches before the memory is used, >= 0.
    """

    needs_global_batch = True

    def __init__(
        self,
        arch: Arch,
        criterion: Criterion,
        miner: Miner | None,
        memory_size: int = 0,
        memory_start: int = 0,
    ) -> None:
        super().__init__(arch)
        criterion.check_miner(None if miner is None else miner.name)
        if criterion.not_on_prefixes is not None:
            self.not_on_prefixes = criterion.not_on_prefixes
        self.memory: CrossBatchMemory | None = None
        if memory_size or memory_start:
            _check_memory(memory_size, memory_start, criterion, miner)
            self.memory = CrossBatchMemory(memory_size, arch.class_spec.embedding_dim, memory_start)
            self.not_on_prefixes = "its memory holds whole embeddings of earlier batches"
        if criterion.views > 1:
            self.batch_layout = BatchLayout(
                criterion.views, one_view="criterion.params.positives=classes", differ=True
            )
            self.not_on_prefixes = "it compares views of images"
        if arch.class_spec.learn_temp or arch.class_spec.init_temp:
            log.warning(
                "method=%s reads neither arch.params.learn_temp nor arch.params.init_temp: scales "
                "are parameters of the criterion",
                self.name,
            )
        if arch.class_spec.embedding_dim < criterion.min_dim:
            raise ValueError(
                f"this criterion needs arch.params.embedding_dim >= {criterion.min_dim}, got "
                f"{arch.class_spec.embedding_dim}."
            )
        n_features = getattr(arch, "n_features", None)
        criterion.build(known_classes(arch.class_spec), arch.class_spec.embedding_dim, n_features)
        self.criterion = criterion
        self.miner = miner

    def embed(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> embeddings [B, D] as the criterion wants them stored."""
        return self.criterion.as_stored(super().embed(images))

    @torch.no_grad()
    def init_from_data(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Sets the scale of distributions from one pass over the training images."""
        confidence = self.criterion.image_confidence
        if confidence is not None:
            scale = scale_of_arch(self.arch, batches(), confidence)
            self.criterion.kappa_scale.fill_(scale)
            log.info("Set z-kappa-mult: %.4f", scale)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: [B, D]; of a criterion whose positives are views [B, V, D].
            labels: classes [B], which these criteria do not use.
            **context: other inputs of the criterion.

        Returns:
            Scalar.
        """
        if self.criterion.views > 1:
            embeddings, labels = _rows_of_views(embeddings, self.criterion)
        if self.class_shard is not None:
            (embeddings,) = self.class_shard.sum_gradients(embeddings)
            context["shard"] = self.class_shard
        rows = self.criterion.prepare_embeddings(embeddings)
        if self.memory is None:
            return self.criterion(rows, labels, self._mined(rows, labels), **context)
        if torch.compiler.is_compiling():  # how many rows the memory has is known to Python
            return torch.compiler.disable(self._with_memory)(rows, labels, **context)
        return self._with_memory(rows, labels, **context)

    def _with_memory(self, rows: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """The loss of the rows of a batch [B, D] as anchors among those of the memory as well."""
        every, classes = self.memory.joined(rows, labels)
        anchors = {"n_anchors": len(rows)}
        mined = self._mined(every, classes, **anchors)
        loss = self.criterion(every, classes, mined, **anchors, **context)
        if self.training:
            self.memory.add(rows, labels)
        return loss

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`, with `features` [B, F] if the criterion needs them."""
        if self.criterion.views > 1:
            return self.loss_inputs_of_views(batch)
        if not self.criterion.needs_features:
            return super().loss_inputs(batch)
        labels = batch["ids"]
        features = widen(self.arch.pooled_features(batch["examples"]))
        embeddings = self.scale_features(widen(self.arch.project(features)), labels)
        return {"embeddings": embeddings, "labels": labels, "features": features}

    def _mined(
        self, rows: Tensor, labels: Tensor, **anchors: int
    ) -> Triplets | MaskedTriplets | None:
        """Triplets of the batch; random choices by torch's generator, which is seeded per epoch.

        On the CPU, which need not be waited for, work on triplets that do not count is saved.
        """
        if self.miner is None:
            return None
        if rows.device.type != "cpu" and self.criterion.takes_masks:
            return self.miner.masked(rows.detach(), labels, **anchors)
        return self.miner(rows.detach(), labels, **anchors)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits [B, C] of the proxies; None if there are none."""
        return self.criterion.logits(self.criterion.prepare_embeddings(embeddings))

    @property
    def has_logits(self) -> bool:
        """Whether the criterion has proxies, which predict classes."""
        return self.criterion.has_logits

    @property
    def geometry(self) -> Geometry:
        """Geometry of the criterion."""
        return self.criterion.geometry

    @property
    def class_weights(self) -> Tensor | None:
        """Proxies of the criterion [C, D], or None."""
        return self.criterion.class_weights

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the criterion with their own learning rate."""
        return self.criterion.extra_param_groups()

    def sharded_parameters(self) -> list[str]:
        """The proxies of the criterion.

        Raises:
            ValueError: the criterion has none, or needs all in every process.
        """
        if not self.criterion.takes_shard:
            raise ValueError(
                f"trainer.shard_classes=true: criterion={self.criterion.name} has no proxies, or "
                "needs all in every process; use criterion=softmax, arcface, proxy_nca, "
                "proxy_anchor, proxy_anchor_nca or soft_triple, or leave "
                "trainer.shard_classes=false"
            )
        return ["criterion.proxies"]


def _rows_of_views(embeddings: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """Embeddings [B, V, D] -> rows [B V, D], view after view of each image, and image numbers."""
    if embeddings.ndim != 3 or embeddings.shape[1] != criterion.views:
        raise ValueError(
            f"embeddings: expected those of {criterion.views} views of each image, [B, "
            f"{criterion.views}, D], got {list(embeddings.shape)}; with criterion.params.positives="
            f"classes, criterion={criterion.name} takes [B, D]"
        )
    images = torch.arange(len(embeddings), device=embeddings.device)
    return embeddings.flatten(0, 1), images.repeat_interleave(criterion.views)


def _check_memory(size: int, start: int, criterion: Criterion, miner: Miner | None) -> None:
    """Refuses a memory that there cannot be, or that the criterion cannot compare rows with.

    Raises:
        ValueError: with what to type.
    """
    if size < 1 or start < 0:
        raise ValueError(
            f"method.params.memory_size={size} memory_start={start}: expected a number of rows "
            ">= 1, and of training batches >= 0; or memory_size=0 memory_start=0 for no memory"
        )
    asked = f"method.params.memory_size={size}: criterion={criterion.name}"
    if not criterion.takes_memory:
        raise ValueError(
            f"{asked} cannot compare the rows of a batch with those of earlier ones; use "
            f"criterion={WITH_MEMORY}, or leave method.params.memory_size=0"
        )
    if criterion.views > 1:
        raise ValueError(
            f"{asked} knows which rows show one image within a batch only; use criterion.params."
            "positives=classes, or leave method.params.memory_size=0"
        )
    if criterion.takes_all_triplets and miner is None:
        raise ValueError(
            f"{asked} takes all triplets, of which a memory makes too many; choose some by "
            "miner=distance or another miner"
        )
