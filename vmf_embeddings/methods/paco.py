"""PaCo: one softmax over the classes and over the projections of other images.

Cui, Zhong, Liu, Yu, Jia 2021, "Parametric Contrastive Learning", ICCV,
https://arxiv.org/abs/2107.12028; without a momentum network as in Cui et al. 2023, "Generalized
Parametric Contrastive Learning", https://arxiv.org/abs/2209.12400.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.gram import gram
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.losses.logit_adjustment import LogitAdjustment, log_frequencies
from vmf_embeddings.methods.base import BatchLayout
from vmf_embeddings.methods.column_contrast import column_contrast
from vmf_embeddings.methods.contrast_branch import ONE_VIEW, ContrastBranch, at_least
from vmf_embeddings.methods.momentum_copy import MomentumCopy
from vmf_embeddings.methods.precision import full_precision, widen
from vmf_embeddings.methods.row_queue import RowQueue


def parametric_contrast(
    class_logits: Tensor,
    rows: Tensor,
    labels: Tensor,
    others: Tensor,
    other_labels: Tensor,
    temperature: float,
    alpha: float,
    beta: float,
) -> Tensor:
    """Weighted mean log-probability of the own class and of all rows of it, in one softmax.

    For row i of class y, with s_ij = x_i . x_j / temperature, over the logits z of the classes and
    s of all other rows, of which n are of class y:

        -(beta log p(y) + alpha sum over rows j of class y of log p(j)) / (beta + alpha n)

    It is least where p(y) = beta / (beta + alpha n), p(j) = alpha / (beta + alpha n).

    Args:
        class_logits: z [N, C].
        rows: of norm 1, [N, P]; each is compared with the rest of them and with `others`.
        labels: classes [N].
        others: [M, P].
        other_labels: [M], or -1 for rows to leave out.
        temperature: > 0.
        alpha: >= 0.
        beta: >= 0, not 0 with alpha 0.

    Returns:
        Mean over the rows in nats, scalar.

    Example:
        >>> rows, y = torch.eye(2), torch.tensor([0, 0])
        >>> parametric_contrast(torch.zeros(2, 2), rows, y, rows[:0], y[:0], 1.0, 0.5, 1.0)
        tensor(1.0986)
    """
    n_classes = class_logits.shape[1]
    contrast = gram(rows / temperature**0.5), (rows / temperature) @ others.T
    each = torch.arange(n_classes, device=labels.device)
    classes = torch.cat([each, labels, other_labels])
    weights = class_logits.new_full((len(classes),), alpha)
    weights[:n_classes] = beta
    logits = torch.cat([class_logits, *contrast], 1)
    del contrast
    return column_contrast(logits, labels, classes, n_classes, weights)


class PaCo(ContrastBranch):
    """Cross-entropy over classes and rows at once: `parametric_contrast`.

    The logits of the classes are those of a head on the embeddings, plus the log class frequencies;
    the rows are projections of the batch, and of earlier batches in a queue. Predictions are those
    of the head, without the frequencies.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        views: of every image, 1 or 2; see `momentum`.
        temperature: of the rows, > 0; logits of classes are not divided by it.
        alpha: weight of every row of the own class, >= 0.
        beta: weight of the own class, > 0.
        adjust: whether the log class frequencies are added to the logits of the classes.
        queue: rows of earlier batches that are compared with, >= 0.
        momentum: m of `MomentumCopy`: the first view is compared with the copy's projections of the
            last one, which enter the queue; None = with the network's own projections of all views,
            with gradient, and those of the last view enter the queue.
        projection_dim: of the sphere, >= 2.
        projection_hidden: width of the layer before it, >= 1.
    """

    batch_layout: ClassVar[BatchLayout] = BatchLayout(views=2, one_view=ONE_VIEW)
    needs_class_counts: ClassVar[bool] = True
    """Whether `set_class_counts` must be called: log class frequencies are added to the logits."""
    not_on_prefixes: ClassVar[str | None] = "its queue holds projections of whole embeddings"
    instead_of: ClassVar[dict[str, str]] = {
        "loss": "method=bcl, which has a loss of the classifier beside its contrast"
    }

    def __init__(
        self,
        arch: Arch,
        head: Callable[..., Head],
        posthoc_tau: float,
        views: int,
        temperature: float,
        alpha: float,
        beta: float,
        adjust: bool,
        queue: int,
        momentum: float | None,
        projection_dim: int,
        projection_hidden: int,
    ) -> None:
        loss = LogitAdjustment(1.0) if adjust else CrossEntropy()
        super().__init__(
            *(arch, head, loss, posthoc_tau),
            views=views,
            temperature=temperature,
            alpha=alpha,
            projection_dim=projection_dim,
            projection_hidden=projection_hidden,
        )
        at_least(0, queue=queue)
        _check(views, beta, momentum)
        self.beta = beta
        self.queue = RowQueue(queue, projection_dim)
        self.key_arch = self.key_projection = None
        if momentum is not None:
            self.key_arch = MomentumCopy(arch, momentum)
            self.key_projection = MomentumCopy(self.projection, momentum)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor, keys: Tensor | None = None) -> Tensor:
        """The mean over the embeddings; in training mode rows enter the queue.

        Args:
            embeddings: of all views [B, V, D], or of one [B, D].
            labels: classes [B].
            keys: embeddings [B, D] by the momentum copy; None = the views are compared with one
                another, and with the queue.

        Returns:
            Scalar in nats.
        """
        views = embeddings[:, None] if embeddings.ndim == 2 else embeddings
        n_views = views.shape[1]
        rows, each = self.projected(views), labels.repeat(n_views)
        newest = rows.detach()[-len(labels) :]
        # a copy: the queue moves on before the backward pass
        others, classes = self.queue.rows.to(rows, copy=True), self.queue.labels
        if keys is not None:
            newest = normalize(self.key_projection.output(self.projection, keys), dim=1)
            others, classes = torch.cat([others, newest]), torch.cat([classes, labels])
        value = parametric_contrast(
            *(self.class_logits(views.transpose(0, 1).flatten(0, 1)), rows, each, others, classes),
            temperature=self.contrast_temperature,
            alpha=self.alpha,
            beta=self.beta,
        )
        if self.training:
            self._move_on(newest, labels)
        return value

    def class_logits(self, embeddings: Tensor) -> Tensor:
        """Logits of the classes in the loss: embeddings [N, D] -> [N, C]."""
        logits = self.classifier(embeddings)
        if not self.objective.needs_class_counts:
            return logits
        return logits + log_frequencies(self.objective.counts).to(logits)

    def contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of these views [B, V, D]: it has no part without the classes."""
        return self.loss(embeddings, labels)

    def _move_on(self, newest: Tensor, labels: Tensor) -> None:
        """After a step: the rows into the queue, the copies towards the network."""
        if self.queue.frozen:  # the first of two passes over a batch
            return
        self.queue.add(newest, labels)
        if self.key_arch is not None:
            self.key_arch.follow(self.arch)
            self.key_projection.follow(self.projection)

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`; with a momentum copy of the first view, and the last as keys."""
        if self.key_arch is None:
            return super().loss_inputs(batch)
        images, labels = batch["examples"], batch["ids"]
        first, last = (images, images) if self.batch_layout.views == 1 else images.unbind(1)
        return {
            "embeddings": self.scale_features(self.embed(first), labels),
            "labels": labels,
            "keys": widen(self.key_arch.output(self.arch, last)),
        }

    def init_from_data(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Lets the momentum copies begin as the network begins."""
        if self.key_arch is not None:
            self.key_arch.restart(self.arch)
            self.key_projection.restart(self.projection)


def _check(views: int, beta: float, momentum: float | None) -> None:
    if views > 2:
        raise ValueError(f"method.params.views must be 1 or 2, got {views}.")
    if not beta > 0:
        raise ValueError(f"method.params.beta must be > 0, got {beta}.")
    if momentum is not None and not 0 <= momentum <= 1:
        raise ValueError(f"method.params.momentum must be in [0, 1] or null, got {momentum}.")
