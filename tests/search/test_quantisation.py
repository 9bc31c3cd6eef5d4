"""Laws and golden numbers of bytes and bits, and of searches among them."""

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings import native
from vmf_embeddings.metrics import retrieval
from vmf_embeddings.search import (
    QuantisedGallery,
    Ranges,
    bytes_per_row,
    dequantise,
    hamming_nearest,
    nearest,
    overlap,
    quantise,
    signs,
)

GOLDEN = load_golden("compact")
BITS = np.zeros((1, 1), np.uint8)
each_case = pytest.mark.parametrize("case", cases(GOLDEN))


def golden(case: str, name: str) -> np.ndarray:
    return GOLDEN[f"{case}/{name}"]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@each_case
def test_bytes_equal_the_golden_where_the_original_wraps_and_truncates(case):
    rows, calibration = golden(case, "unit_rows"), golden(case, "is_calibration")
    ranges = Ranges.of(rows[calibration])
    np.testing.assert_array_equal(np.stack([ranges.low, ranges.high]), golden(case, "ranges"))
    codes = quantise(rows, "uint8", ranges)
    np.testing.assert_array_equal(codes, golden(case, "exact_code_0_255"))
    np.testing.assert_array_equal(quantise(rows, "int8", ranges), codes.astype(int) - 128)
    np.testing.assert_allclose(
        dequantise(codes, ranges), golden(case, "exact_dequantised"), rtol=0, atol=1e-15
    )
    outside = (rows < ranges.low) | (rows > ranges.high)
    assert outside.any(1).sum() == golden(case, "n_outside_ranges") > 0
    assert set(codes[outside]) <= {0, 255}  # clipped, not wrapped to the other end
    original = golden(case, "ref_uint8_inside_ranges")
    inside = ~outside.any(1)
    assert (codes[inside] != original[inside]).any()  # which truncates
    assert (np.abs(codes[inside].astype(int) - original[inside]) <= 1).all()


@each_case
def test_bits_equal_those_of_sentence_transformers(case):
    rows = golden(case, "unit_rows")
    np.testing.assert_array_equal(quantise(rows, "binary"), golden(case, "ref_binary"))
    np.testing.assert_array_equal(quantise(rows, "ubinary"), golden(case, "ref_ubinary"))


def test_halves_round_to_even_codes():
    ranges = Ranges(np.array([0.0]), np.array([255.0]))
    assert quantise([[0.5], [1.5], [2.5]], "uint8", ranges).ravel().tolist() == [0, 2, 2]


def test_a_constant_dimension_has_code_0_and_comes_back_exactly():
    rows = np.array([[0.3, 1.0], [0.3, 2.0]])
    ranges = Ranges.of(rows)
    assert quantise(rows, "uint8", ranges)[:, 0].tolist() == [0, 0]
    assert quantise([[9.0, 1.0]], "int8", ranges)[0, 0] == -128
    np.testing.assert_array_equal(dequantise(quantise(rows, "int8", ranges), ranges), rows)


def test_values_in_range_come_back_within_half_a_step():
    rows = normal(200, 7)
    ranges = Ranges.of(rows)
    back = dequantise(quantise(rows, "int8", ranges), ranges)
    assert (np.abs(back - rows) <= ranges.step / 2 * (1 + 1e-9)).all()


@pytest.mark.parametrize("dim", (1, 8, 13, 64))
def test_hamming_distances_and_inner_products_of_signs_order_alike(dim):
    rows = normal(30, dim)
    rows[0] = 0  # zeros are bits 0
    found = signs(quantise(rows, "ubinary"), dim)
    np.testing.assert_array_equal(found, np.where(rows > 0, 1, -1))
    differing = ((rows[:, None] > 0) != (rows > 0)).sum(-1)
    np.testing.assert_array_equal(found @ found.T, dim - 2 * differing)
    assert quantise(rows, "binary").shape == (30, bytes_per_row(dim, "binary"))


@pytest.mark.parametrize("kernels", ("0", "1"))
@pytest.mark.parametrize("dim", (3, 64, 130))
def test_hamming_search_equals_a_sort_of_all_distances(monkeypatch, kernels, dim):
    monkeypatch.setenv(native.SWITCH, kernels)
    queries, gallery = normal(20, dim), normal(150, dim, seed=1)
    exclude = np.stack([np.arange(20), np.full(20, -1)], 1)
    distances = ((queries[:, None] > 0) != (gallery > 0)).sum(-1)
    distances[np.arange(20), np.arange(20)] = 10**6
    rows = np.broadcast_to(np.arange(150), distances.shape)
    wanted = np.lexsort((rows, distances), axis=1)[:, :12]
    bits = quantise(queries, "binary"), quantise(gallery, "binary")
    found, its = hamming_nearest(*bits, 12, exclude)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(its, np.take_along_axis(distances, wanted, 1))
    found, its = hamming_nearest(bits[0], bits[1][:3], 5, np.minimum(exclude, 2))
    assert (found[:, 2:] == -1).all() and (its[:, 2:] == -1).all() and (found[:, :2] >= 0).all()


@each_case
@pytest.mark.parametrize(
    ("name", "multiplier"),
    [("hamming", 0), ("signs", 2), ("signs", 4), ("float_rows", 2), ("float_rows", 4)],
)
def test_binary_search_finds_what_the_golden_one_does(case, name, multiplier):
    rows, labels = torch.from_numpy(golden(case, "unit_rows")), golden(case, "labels")
    own = torch.arange(len(rows))
    floats, _ = nearest(rows, rows, 10, metric="ip", exclude=own)
    found, _ = QuantisedGallery(rows, "ubinary").nearest(
        rows, 10, rescore_multiplier=multiplier, exclude=own,
        rows=rows.double() if name == "float_rows" else None,
    )  # fmt: skip
    key = "binary_hamming" if name == "hamming" else f"binary_rescored_{name}_x{multiplier}"
    hits = labels[found] == labels[:, None]
    assert hits[:, 0].mean() == pytest.approx(golden(case, f"{key}/exact_recall@1"), abs=1e-12)
    recall_at_4 = hits[:, :4].any(1).mean()
    assert recall_at_4 == pytest.approx(golden(case, f"{key}/exact_recall@4"), abs=1e-12)
    # two rows of q1 are equal: which of them is the tenth is up to the order of the sums
    assert overlap(found, floats) == pytest.approx(
        golden(case, f"{key}/overlap_with_float_10"), abs=1.01 / found.numel()
    )


@each_case
def test_byte_search_ranks_float_queries_by_the_values_of_codes(case):
    rows, labels = torch.from_numpy(golden(case, "unit_rows")), golden(case, "labels")
    ranges = Ranges(*golden(case, "ranges").astype(np.float64))
    gallery = QuantisedGallery(rows, "int8", ranges=ranges)
    found, _ = gallery.nearest(rows, 4, exclude=torch.arange(len(rows)))
    hits = labels[found] == labels[:, None]
    assert hits[:, 0].mean() == golden(case, "int8_dequantised/exact_recall@1")
    assert hits.any(1).mean() == golden(case, "int8_dequantised/exact_recall@4")


@each_case
def test_ranking_all_rows_by_signs_equals_the_golden_hamming_scores(case):
    rows, labels = golden(case, "unit_rows"), golden(case, "labels")
    found = signs(quantise(rows, "binary"), rows.shape[1])
    scores = retrieval(found, labels, metric="ip", ks=(1, 4), ties="index")
    assert scores.recall[1] == golden(case, "binary_hamming/exact_recall@1")
    assert scores.map_at_r == pytest.approx(golden(case, "binary_hamming/exact_map@r"), abs=1e-12)


@pytest.mark.parametrize("metric", ("ip", "l2"))
@pytest.mark.parametrize("precision", ("float32", "int8", "uint8", "binary"))
@pytest.mark.parametrize("multiplier", (9, 10**12))  # no more memory than the gallery's rows take
def test_rescoring_every_row_gives_the_exact_neighbours(metric, precision, multiplier):
    queries, gallery = (torch.from_numpy(normal(n, 9, seed=n)) for n in (15, 60))
    exclude = torch.arange(15)
    wanted, scores = nearest(queries, gallery, 7, metric=metric, exclude=exclude)
    found, its = QuantisedGallery(gallery, precision, metric).nearest(
        queries, 7, rescore_multiplier=multiplier, rows=gallery, exclude=exclude
    )
    assert torch.equal(found, wanted)
    torch.testing.assert_close(its, scores)


@pytest.mark.parametrize("metric", ("ip", "l2"))
def test_bytes_are_compared_as_code_times_step_plus_low(metric):
    queries, gallery = (torch.from_numpy(normal(n, 9, seed=n)) for n in (15, 5000))
    codes = QuantisedGallery(gallery, "int8", metric)
    values = torch.from_numpy(dequantise(codes.codes, codes.ranges))
    wanted, _ = nearest(queries, values, 5, metric=metric)
    found, scores = codes.nearest(queries, 5)
    assert torch.equal(found, wanted)  # no two scores here are within float32's rounding
    again, exact = codes.nearest(queries, 5, rescore_multiplier=2)
    assert torch.equal(again, wanted)
    torch.testing.assert_close(scores, exact, rtol=1e-5, atol=1e-5)


def test_a_gallery_smaller_than_k_ends_with_minus_one():
    rows = torch.eye(3)
    for precision in ("int8", "binary"):
        found, scores = QuantisedGallery(rows, precision).nearest(
            rows[:1], 5, rescore_multiplier=2, rows=rows, exclude=torch.tensor([0])
        )
        assert found[0, 2:].tolist() == [-1, -1, -1]
        assert (scores[0, 2:] == -torch.inf).all()
        assert set(found[0, :2].tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantise([[1.0]], "int4"), "int4.*float32, int8"),
        (lambda: quantise([[np.nan]], "int8"), "finite"),
        (lambda: quantise([[1.0, 2.0]], "int8", Ranges.of([[1.0]])), "expected 2 dimensions"),
        (lambda: Ranges.of(np.empty((0, 3))), "at least one"),
        (lambda: dequantise(np.zeros((2, 2)), Ranges.of([[1.0, 1.0]])), "int8 or uint8"),
        (lambda: QuantisedGallery(torch.eye(2), "int8", "cosine"), "cosine.*ip, l2"),
        (lambda: QuantisedGallery(torch.eye(2), "int8").nearest(torch.eye(3), 1), "columns"),
        (lambda: QuantisedGallery(torch.eye(2), "int8").nearest(torch.eye(2), 0), "k >= 1"),
        (lambda: hamming_nearest(BITS, BITS, 1, np.array([[7]])), "rows below 1"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
