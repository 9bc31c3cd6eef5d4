"""Searches of `vmf.search` among codes and with re-ranking."""

import numpy as np
import pytest

import vmf_embeddings as vmf

WAYS = ("k_reciprocal", "alpha_qe", "dba")


def rows(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, dim))[np.arange(n) % 6] + rng.normal(size=(n, dim))


QUERIES, GALLERY = rows(20, seed=1), rows(90)


@pytest.mark.parametrize("geometry", ("cosine", "euclidean", "vmf"))
@pytest.mark.parametrize("precision", ("float32", "int8", "uint8", "binary", "ubinary"))
def test_rescoring_all_rows_finds_exact_neighbours_and_similarities(geometry, precision):
    exact = vmf.search(QUERIES, GALLERY, 5, geometry)
    found = vmf.search(QUERIES, GALLERY, 5, geometry, precision=precision, rescore_multiplier=18)
    np.testing.assert_array_equal(found.indices, exact.indices)
    np.testing.assert_allclose(found.similarities, exact.similarities, rtol=1e-12, atol=1e-12)


def test_fewer_candidates_find_most_of_the_neighbours_and_never_a_row_left_out():
    exact = vmf.search(GALLERY, GALLERY, 5, exclude=np.arange(90))
    for precision, least in (("int8", 0.99), ("binary", 0.8)):
        found = vmf.search(GALLERY, GALLERY, 5, precision=precision, exclude=np.arange(90))
        shared = (found.indices[:, :, None] == exact.indices[:, None]).any(2).mean()
        assert least <= shared < 1 or precision == "int8"
        assert (found.indices != np.arange(90)[:, None]).all()


def test_bits_that_are_not_rescored_are_compared_by_hamming_distance():
    found = vmf.search(QUERIES, GALLERY, 4, precision="binary", rescore_multiplier=0)
    distances = ((QUERIES[:, None] > 0) != (GALLERY > 0)).sum(-1)
    wanted = np.sort(distances, 1)[:, :4]
    np.testing.assert_array_equal(-found.similarities, wanted)


def test_ranges_may_be_those_of_other_rows():
    own, other = (
        vmf.search(QUERIES, GALLERY, 3, "euclidean", precision="int8", rescore_multiplier=0,
                   train_embeddings=train)
        for train in (None, 0.1 * GALLERY)
    )  # fmt: skip
    assert (own.indices != other.indices).any()  # narrow ranges clip most values


@pytest.mark.parametrize("way", WAYS)
def test_no_neighbour_added_and_lambda_1_find_what_a_plain_search_does(way):
    plain = vmf.search(QUERIES, GALLERY, 7)
    found = vmf.search(QUERIES, GALLERY, 7, rerank=way, rerank_options={"n": 0, "lambda": 1.0})
    np.testing.assert_array_equal(found.indices, plain.indices)


@pytest.mark.parametrize("way", WAYS)
def test_a_query_that_is_a_gallery_row_is_there_once(way):
    """So that searching for rows left out of the gallery's own ranking equals the evaluation's."""
    options = {"k1": 8, "k2": 3, "n": 4}
    labels = np.arange(90) % 6
    found = vmf.search(GALLERY, GALLERY, 5, exclude=np.arange(90), rerank=way,
                       rerank_options=options)  # fmt: skip
    scores = vmf.evaluate(GALLERY, labels, rerank=[way], rerank_options=options)["reranked"]
    hits = labels[found.indices] == labels[:, None]
    assert hits[:, 0].mean() == pytest.approx(scores[f"{way}/recall@1"], abs=1e-12)
    assert hits[:, :4].any(1).mean() == pytest.approx(scores[f"{way}/recall@4"], abs=1e-12)


def test_a_gallery_smaller_than_k_ends_with_minus_one():
    for way in WAYS:
        found = vmf.search(QUERIES, GALLERY[:3], 5, rerank=way, exclude=np.zeros(20, int))
        assert (found.indices[:, 2:] == -1).all() and (found.indices[:, :2] > 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "int4"}, "int4.*float32"),
        ({"precision": "int8", "rescore_multiplier": -1}, "rescore_multiplier"),
        ({"precision": "int8", "geometry": "poincare", "curvature": 1.0}, "poincare"),
        ({"precision": "int8", "rerank": "dba"}, "got both"),
        ({"rerank": "qe"}, "qe.*k_reciprocal"),
        ({"rerank": "dba", "geometry": "euclidean"}, "cosine"),
        ({"rerank": "k_reciprocal", "rerank_options": {"k3": 1}}, "k3"),
        ({"rerank": "k_reciprocal", "geometry": "poincare", "curvature": 1.0}, "distances"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        vmf.search(0.1 * QUERIES, 0.1 * GALLERY, 3, **options)
