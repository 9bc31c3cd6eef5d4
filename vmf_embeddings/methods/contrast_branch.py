"""Base of classifiers beside which projections of several views of the images are compared."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.base import BatchLayout, Method
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.precision import full_precision

ONE_VIEW = "method.params.views=1"


def projection_mlp(dim: int, hidden: int, width: int) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, Linear: [N, D] -> [N, P].

    The rows that it sees are those of the whole batch already: no process has to share their
    statistics.

    Args:
        dim: D.
        hidden: width of the layer between.
        width: P.
    """
    norm = nn.BatchNorm1d(hidden)
    norm.shares_statistics = True
    first = nn.Linear(dim, hidden, bias=False)  # batch normalisation has its bias
    return nn.Sequential(first, norm, nn.ReLU(), nn.Linear(hidden, width))


class ContrastBranch(HeadAndLoss):
    """Loss A + alpha B: A of a head on the embeddings, B of a subclass on their projections.

    The projections lie on a sphere. Predictions are those of the head.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`.
        loss: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        views: of every image, >= 1: the first is for A, the others for B; with 1 it is for both.
        temperature: of B, > 0.
        alpha: weight of B, >= 0.
        projection_dim: P of the sphere, >= 2.
        projection_hidden: width of the layer before it, >= 1.
    """

    batch_layout: ClassVar[BatchLayout] = BatchLayout(views=3, one_view=ONE_VIEW)
    needs_global_batch: ClassVar[bool] = True
    takes_soft_labels: ClassVar[bool] = False  # rows of one class are compared

    def __init__(
        self,
        arch: Arch,
        head: Callable[..., Head],
        loss: Loss,
        posthoc_tau: float,
        *,
        views: int,
        temperature: float,
        alpha: float,
        projection_dim: int,
        projection_hidden: int,
    ) -> None:
        super().__init__(arch, head, loss, posthoc_tau)
        at_least(1, views=views, projection_hidden=projection_hidden)
        at_least(2, projection_dim=projection_dim)
        at_least(0, alpha=alpha)
        above_zero(temperature=temperature)
        self.batch_layout = BatchLayout(views=views, one_view=ONE_VIEW)
        self.contrast_temperature, self.alpha = temperature, alpha
        dim = arch.class_spec.embedding_dim
        self.projection = projection_mlp(dim, projection_hidden, projection_dim)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Computes A + alpha B.

        Args:
            embeddings: of all views [B, V, D], or of one [B, D].
            labels: classes [B].

        Returns:
            Mean in nats, scalar.
        """
        views = embeddings[:, None] if embeddings.ndim == 2 else embeddings
        supervised = super().loss(views[:, 0], labels)
        if not self.alpha:
            return supervised
        rows = views[:, 1:] if views.shape[1] > 1 else views
        return supervised + self.alpha * self.contrast(rows, labels)

    @abstractmethod
    def contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """B of the views for it.

        Args:
            embeddings: [B, V, D].
            labels: classes [B].

        Returns:
            Mean in nats, scalar.
        """

    def projected(self, embeddings: Tensor) -> Tensor:
        """Projections to the sphere: embeddings [B, V, D] -> [V B, P], one view after another.

        Raises:
            ValueError: one row, in training.
        """
        rows = embeddings.transpose(0, 1).flatten(0, 1)
        if self.training and len(rows) < 2:
            raise ValueError(
                f"method={self.name} normalises projections over the batch: expected at least two "
                "rows, got 1."
            )
        return normalize(self.projection(rows), dim=1)

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`: embeddings of all views [B, V, D], or [B, D] of one."""
        if self.batch_layout.views == 1:
            return super().loss_inputs(batch)
        return self.loss_inputs_of_views(batch)

    @property
    def loss_is_row_mean(self) -> bool:
        """False: rows of the batch are compared with one another."""
        return False

    def sharded_parameters(self) -> list[str]:
        """Refuses: the contrast needs all classes in every process."""
        return Method.sharded_parameters(self)


def at_least(bound: float, **values: float) -> None:
    """Refuses parameters below a bound.

    Raises:
        ValueError: names the parameter.
    """
    for key, value in values.items():
        if not value >= bound:
            raise ValueError(f"method.params.{key} must be >= {bound}, got {value}.")


def above_zero(**values: float) -> None:
    """Refuses parameters that are not above 0.

    Raises:
        ValueError: names the parameter.
    """
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"method.params.{key} must be > 0, got {value}.")


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Refuses a word that is not known.

    Raises:
        ValueError: names the parameter and the known words.
    """
    if value not in known:
        raise ValueError(f"method.params.{key} is one of {', '.join(known)}; got {value!r}.")
