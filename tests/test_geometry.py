"""Laws of the geometries: order, symmetry, what an embedding file keeps of them."""

import json

import pytest
import torch

from vmf_embeddings.geometry import (
    Cosine,
    Euclidean,
    ExpectedLikelihood,
    Poincare,
    PoincareReference,
    VonMisesFisher,
    alternatives,
    from_meta,
)

GEOMETRIES = (
    Euclidean(),
    Cosine(),
    Poincare(1e-5),
    Poincare(1.0),
    PoincareReference(0.5),
    VonMisesFisher(),
    ExpectedLikelihood(),
)
ids = [f"{g.name}{getattr(g, 'c', '')}" for g in GEOMETRIES]


def rows(n: int, dim: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=ids)
def test_meta_survives_json(geometry):
    assert from_meta(json.loads(json.dumps(geometry.to_meta()))) == geometry


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=ids)
def test_similarity_is_symmetric_and_of_shape_queries_by_gallery(geometry):
    x, y = geometry.project(rows(5)), geometry.project(rows(7, seed=1))
    assert geometry.similarity(x, y).shape == (5, 7)
    torch.testing.assert_close(geometry.similarity(x, y), geometry.similarity(y, x).T)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=ids)
def test_projection_keeps_shape_and_dtype(geometry):
    for dtype in (torch.float32, torch.float64):
        projected = geometry.project(rows(5).to(dtype))
        assert projected.shape == (5, 4)
        assert projected.dtype == dtype


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=ids)
def test_zero_rows_stay_finite(geometry):
    projected = geometry.project(torch.cat([torch.zeros(1, 4), rows(3).float()]))
    assert torch.isfinite(geometry.similarity(projected, projected)).all()


def test_cosine_knows_the_direction_of_rows_of_any_length():
    unit = Cosine().project(rows(5).float())
    for length in (1e-37, 1e-20, 1e-11, 1e3):
        torch.testing.assert_close(Cosine().project(length * rows(5).float()), unit)
    assert torch.equal(unit, torch.nn.functional.normalize(rows(5).float(), dim=-1))
    assert torch.equal(Cosine().project(torch.zeros(2, 4)), torch.zeros(2, 4))


@pytest.mark.parametrize(
    "geometry", [g for g in GEOMETRIES if g.faiss_metric], ids=lambda geometry: geometry.name
)
def test_an_index_with_the_named_metric_finds_the_same_order(geometry):
    x, y = geometry.project(rows(6)), geometry.project(rows(40, seed=1))
    indices = {"l2": lambda: -torch.cdist(x, y), "ip": lambda: x @ y.T}
    assert torch.equal(
        indices[geometry.faiss_metric]().argsort(-1), geometry.similarity(x, y).argsort(-1)
    )


def test_euclidean_similarity_is_minus_the_squared_distance():
    x, y = rows(5), rows(7, seed=1)
    torch.testing.assert_close(Euclidean().similarity(x, y), -torch.cdist(x, y).square())


def test_cosine_ignores_lengths():
    x, y, cosine = rows(5), rows(7, seed=1), Cosine()
    stretched = cosine.similarity(cosine.project(9 * x), cosine.project(y / 7))
    torch.testing.assert_close(stretched, cosine.similarity(cosine.project(x), cosine.project(y)))
    torch.testing.assert_close(stretched[0, 0], torch.cosine_similarity(x[0], y[0], dim=0))


@pytest.mark.parametrize("c", (1e-5, 0.1, 1.0))
def test_poincare_similarity_has_the_order_of_the_distances(c):
    ball = Poincare(c)
    x, y = ball.project(rows(6)), ball.project(rows(40, seed=1))
    assert torch.equal(
        ball.similarity(x, y).argsort(-1, descending=True), ball.distance(x, y).argsort(-1)
    )
    assert (c**0.5 * x.norm(dim=-1) < 1).all()


def test_poincare_order_is_not_the_euclidean_one():
    """Otherwise the laws above would hold for a ball that ignores its curvature."""
    ball = Poincare(1.0)
    x, y = ball.project(rows(20)), ball.project(rows(200, seed=1))
    assert not torch.equal(
        ball.similarity(x, y).argmax(-1), Euclidean().similarity(x, y).argmax(-1)
    )


def test_expected_cosine_is_the_mean_cosine_of_draws():
    vmf, x, y = VonMisesFisher(), 4 * rows(3), 4 * rows(4, seed=1)
    n_samples = 20_000
    generator = torch.Generator().manual_seed(5)
    draws = [vmf.sample(v, n_samples, generator=generator) for v in (x, y)]
    assert draws[0].shape == (n_samples, 3, 4)
    torch.testing.assert_close(draws[0].norm(dim=-1), torch.ones(n_samples, 3).double())
    cosines = torch.einsum("sid,sjd->sij", *draws)
    expected = vmf.similarity(vmf.project(x), vmf.project(y))
    errors = (cosines.mean(0) - expected) / (cosines.std(0) / n_samples**0.5)
    assert errors.abs().max() < 4.5  # standard errors, 12 of them


def test_vmf_confidence_counts():
    """Two rows of one direction: the longer, surer one is closer to anything on its side."""
    vmf, x = VonMisesFisher(), rows(1)
    y = vmf.project(torch.cat([0.5 * x, 50 * x]))
    near, sure = vmf.similarity(vmf.project(x), y)[0]
    assert 0 < near < sure < 1


def test_unknown_names_and_constants_are_named():
    with pytest.raises(
        ValueError, match="'torus'; known are euclidean, cosine, poincare, poincare-reference, vmf"
    ):
        from_meta({"name": "torus"})
    with pytest.raises(ValueError, match="poincare does not fit"):
        from_meta({"name": "poincare"})
    with pytest.raises(ValueError, match="c > 0"):
        from_meta({"name": "poincare", "c": 0.0})


def test_confidence_is_the_concentration_of_vmf_and_the_norm_of_points():
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    for geometry in (VonMisesFisher(), Euclidean(), Cosine()):
        assert geometry.confidence(rows).tolist() == [5.0, 0.0]
    assert VonMisesFisher.confidence_name == "kappa"


@pytest.mark.parametrize("kind", (Poincare, PoincareReference))
@pytest.mark.parametrize("c", (0.1, 1.0))
def test_confidence_in_the_ball_is_the_distance_to_the_origin(kind, c):
    rows = torch.tensor([[0.3, 0.4], [0.0, -1.2]], dtype=torch.float64)
    origin = torch.zeros(1, 2, dtype=torch.float64)
    distances = Poincare(c).distance(Poincare(c).project(rows), origin)[:, 0]
    torch.testing.assert_close(kind(c).confidence(rows), distances)


def test_expected_likelihood_prefers_the_surer_of_two_rows_of_one_direction():
    elk, x = ExpectedLikelihood(), rows(1)
    doubtful, same, sure = elk.similarity(x, torch.cat([0.1 * x, x, 50 * x]))[0]
    assert doubtful < same < sure
    assert elk.faiss_metric is None and elk.confidence_name == "kappa"


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=ids)
def test_alternatives_have_the_same_constants(geometry):
    constants = {k: v for k, v in geometry.to_meta().items() if k != "name"}
    for name in alternatives(geometry.name):
        assert from_meta({"name": name, **constants}).confidence(rows(3)).shape == (3,)
    assert alternatives("torus") == alternatives(None) == ()
