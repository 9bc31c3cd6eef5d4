"""How two embeddings are compared: Euclidean, cosine, Poincare ball, von Mises-Fisher densities.

A geometry is a small constant object. `project` turns stored rows into rows that can be compared,
`similarity` compares them (larger = closer), `to_meta` and `from_meta` carry it through an
embedding file.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vmf_embeddings import directional, hyperbolic
from vmf_embeddings.directional.unit import unit_vectors

_SHORT = 1e-10  # largest coordinate of rows that are lengthened before they are normalised
_MAX_COORDINATE = 1e15  # of kappa mu; float32 has no square of a length above 1.8e19


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of every row of x with every row of y.

    Args:
        x: [B, D], any length.
        y: [C, D], any length.

    Returns:
        [B, C] in [-1, 1] up to rounding; 0 for a vector of length 0.

    Example:
        >>> cosines(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]]))
        tensor([[0.6000]])
    """
    return unit_vectors(x) @ unit_vectors(y).T


def kappa_mu(embeddings: Tensor, scale: Tensor | float) -> Tensor:
    """Embeddings times a scale, as parameters kappa mu of von Mises-Fisher distributions.

    Coordinates beyond 1e15 count as that and get no gradient: float32 could not square the length.

    Args:
        embeddings: [.., D], of any length.
        scale: > 0, scalar.

    Example:
        >>> kappa_mu(torch.tensor([3e30, -4.0]), 2.0)
        tensor([ 1.0000e+15, -8.0000e+00])
    """
    return (scale * embeddings).clamp(-_MAX_COORDINATE, _MAX_COORDINATE)


def _shortened(rows: Tensor) -> Tensor:
    """Rows [.., D] with coordinates of at most 1e15, in their directions, however long they are."""
    largest = rows.detach().abs().amax(-1, keepdim=True)
    return rows * (_MAX_COORDINATE / largest).clamp_max(1)


@dataclass(frozen=True)
class Geometry(ABC):
    """Base of all geometries: frozen, compares by value."""

    name: ClassVar[str]
    faiss_metric: ClassVar[Literal["l2", "ip"] | None]
    """How a flat index gets the order of `similarity` from projected rows; None = it cannot."""
    similarity_name: ClassVar[str] = "similarity"
    """What `similarity` returns, in words."""
    confidence_name: ClassVar[str] = "norm"
    """What `confidence` returns."""
    alternatives: ClassVar[tuple[str, ...]] = ()
    """Names of geometries with the same constants that read the same stored embeddings."""

    @abstractmethod
    def project(self, embeddings: Tensor) -> Tensor:
        """Stored embeddings [N, D] -> rows [N, D] to be compared."""

    @abstractmethod
    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Projected rows [Q, D] and [G, D] -> [Q, G], larger = closer."""

    def confidence(self, embeddings: Tensor) -> Tensor:
        """Stored embeddings [N, D] -> one number each, larger = more confident [N], >= 0.

        Here the norm; under the cosine, no loss trains it to mean anything.
        """
        return torch.linalg.vector_norm(embeddings, dim=-1)

    def to_meta(self) -> dict[str, Any]:
        """Name and constants, ready for JSON."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Euclidean(Geometry):
    """Squared Euclidean distance of the raw embeddings."""

    name: ClassVar[str] = "euclidean"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = "l2"
    similarity_name: ClassVar[str] = "minus the squared Euclidean distance"

    def project(self, embeddings: Tensor) -> Tensor:
        """The embeddings themselves."""
        return embeddings

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """-|x-y|^2, [Q, G], <= 0 up to rounding."""
        lengths = queries.square().sum(-1)[:, None] + gallery.square().sum(-1)
        return 2 * queries @ gallery.T - lengths


@dataclass(frozen=True)
class Cosine(Geometry):
    """Cosine of the angle between embeddings."""

    name: ClassVar[str] = "cosine"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = "ip"
    similarity_name: ClassVar[str] = "cosine"

    def project(self, embeddings: Tensor) -> Tensor:
        """Unit vectors, however short the rows are; a vector of length 0 stays 0."""
        largest = embeddings.detach().abs().amax(-1, keepdim=True)
        lifted = embeddings / largest.clamp_min(torch.finfo(embeddings.dtype).tiny)
        # `normalize` divides by 1e-12 at least, which would leave shorter rows short
        return nn.functional.normalize(torch.where(largest < _SHORT, lifted, embeddings), dim=-1)

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Cosine [Q, G] of unit rows."""
        return queries @ gallery.T


@dataclass(frozen=True)
class Poincare(Geometry):
    """Geodesic distance in the Poincare ball of curvature -c and radius 1/sqrt(c).

    Stored embeddings are tangent vectors at the origin. With c >= 0.1 many of them land near the
    border, where float32 has few digits left: project and compare in float64.
    """

    c: float
    name: ClassVar[str] = "poincare"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = None
    similarity_name: ClassVar[str] = (
        "-|x-y|^2 / ((1-c|x|^2)(1-c|y|^2)), in the order of distances in the Poincare ball"
    )
    confidence_name: ClassVar[str] = "distance_to_origin"
    alternatives: ClassVar[tuple[str, ...]] = ("poincare-reference",)

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise ValueError(f"The Poincare ball needs a curvature constant c > 0, got {self.c}.")

    def project(self, embeddings: Tensor) -> Tensor:
        """Exponential map at the origin, kept 0.1 % inside the border."""
        return hyperbolic.project(hyperbolic.expmap0(embeddings, self.c), self.c)

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """-|x-y|^2 / ((1-c|x|^2)(1-c|y|^2)), [Q, G]: the order of distances without arcosh."""
        return hyperbolic.distance_ratio(queries, gallery, self.c).neg_()

    def confidence(self, embeddings: Tensor) -> Tensor:
        """Geodesic distance [N] from the origin, 2 |v| for tangent vectors v [N, D]."""
        return 2 * torch.linalg.vector_norm(embeddings, dim=-1)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Geodesic distance [Q, G] of points of the ball."""
        return hyperbolic.distance(x, y, self.c)


@dataclass(frozen=True)
class PoincareReference(Geometry):
    """The Poincare ball with the distance of 2021, whose clip makes far pairs tie; for parity only.

    With c = 1 that moves MAP@R by some 1e-4. `Poincare` is exact.
    """

    c: float
    name: ClassVar[str] = "poincare-reference"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = None
    similarity_name: ClassVar[str] = "minus the distance of 2021 in the Poincare ball"
    confidence_name: ClassVar[str] = "distance_to_origin"

    def confidence(self, embeddings: Tensor) -> Tensor:
        """See `Poincare.confidence`."""
        return Poincare(self.c).confidence(embeddings)

    def project(self, embeddings: Tensor) -> Tensor:
        """The same points as in `Poincare`."""
        return Poincare(self.c).project(embeddings)

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Minus the distance of 2021, [Q, G], >= -12.206/sqrt(c)."""
        return -hyperbolic.reference_distance(queries, gallery, self.c)


@dataclass(frozen=True)
class VonMisesFisher(Geometry):
    """Embeddings are parameters kappa * mu of von Mises-Fisher distributions.

    Two distributions are compared by the expected cosine of two draws,
    A(kappa_x) A(kappa_y) <mu_x, mu_y>, with A the mean cosine of a draw with its mean direction.
    """

    name: ClassVar[str] = "vmf"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = "ip"
    similarity_name: ClassVar[str] = "expected cosine of two draws"
    confidence_name: ClassVar[str] = "kappa"
    alternatives: ClassVar[tuple[str, ...]] = ("expected_likelihood",)

    def project(self, embeddings: Tensor) -> Tensor:
        """Means A(kappa) mu of the distributions, [N, D], shorter than 1."""
        kappa, mu = self.split(embeddings)
        return directional.mean_cosine(kappa, embeddings.shape[-1])[..., None] * mu

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Expected cosine [Q, G] of draws from the distributions whose means are the rows."""
        return queries @ gallery.T

    def sample(
        self,
        embeddings: Tensor,
        n_samples: int,
        generator: torch.Generator | None = None,
        *,
        gradient: bool = False,
    ) -> Tensor:
        """Unit vectors [S, N, D] drawn from the distributions of the stored embeddings [N, D].

        With `gradient` they are reparameterised, see `directional.sample`.
        """
        kappa, mu = self.split(_shortened(embeddings))
        draw = directional.sample
        if torch.compiler.is_compiling():  # it draws until every proposal was accepted
            draw = torch.compiler.disable(draw)
        return draw(mu, kappa, n_samples, gradient=gradient, generator=generator)

    @staticmethod
    def split(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [.., D] -> their lengths kappa [..], > 0, and mean directions mu [.., D]."""
        # an embedding of length 0 has no direction: it becomes nearly uniform
        kappa = torch.linalg.vector_norm(embeddings, dim=-1).clamp_min(1e-6)
        return kappa, embeddings / kappa[..., None]


@dataclass(frozen=True)
class ExpectedLikelihood(Geometry):
    """Embeddings kappa * mu of von Mises-Fisher distributions, compared by their expected density.

    log integral p_x(t) p_y(t) dt, see `directional.log_elk`: unlike the expected cosine it says
    that two distributions of one direction are the more alike the surer they are. Its value is no
    inner product or distance of any projected rows, hence no index has its order.
    """

    name: ClassVar[str] = "expected_likelihood"
    faiss_metric: ClassVar[Literal["l2", "ip"] | None] = None
    similarity_name: ClassVar[str] = "log expected likelihood"
    confidence_name: ClassVar[str] = "kappa"
    alternatives: ClassVar[tuple[str, ...]] = ("vmf",)

    def project(self, embeddings: Tensor) -> Tensor:
        """The parameters kappa * mu themselves."""
        return embeddings

    def similarity(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Log expected likelihood [Q, G] in nats."""
        return directional.log_elk(_shortened(queries), _shortened(gallery))


_GEOMETRIES = {
    g.name: g
    for g in (Euclidean, Cosine, Poincare, PoincareReference, VonMisesFisher, ExpectedLikelihood)
}


def alternatives(name: Any) -> tuple[str, ...]:
    """Names of geometries with the same constants that read the same rows; none if unknown."""
    known = _GEOMETRIES.get(name) if isinstance(name, str) else None
    return () if known is None else known.alternatives


def from_meta(meta: dict[str, Any]) -> Geometry:
    """The geometry that `to_meta` described.

    Raises:
        ValueError: the name is unknown or a constant is missing.
    """
    constants = dict(meta)
    name = constants.pop("name", None)
    if name not in _GEOMETRIES:
        raise ValueError(f"Unknown geometry {name!r}; known are {', '.join(_GEOMETRIES)}.")
    try:
        return _GEOMETRIES[name](**constants)
    except TypeError as error:
        raise ValueError(
            f"Geometry {name} does not fit the constants {constants}: {error}"
        ) from error
