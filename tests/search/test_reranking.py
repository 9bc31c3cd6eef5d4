"""Laws and golden numbers of k-reciprocal re-ranking and query expansion."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import cases, load_golden
from vmf_embeddings import native
from vmf_embeddings.search import KReciprocal, augment_gallery, expand_queries

GOLDEN = load_golden("reid_rerank")
each_case = pytest.mark.parametrize("case", cases(GOLDEN))


def golden_rows(case: str) -> tuple[Tensor, Tensor]:
    """Unit rows of queries and of the gallery, which has no query."""
    rows = torch.from_numpy(GOLDEN[f"{case}/embeddings"]).double()
    rows = torch.nn.functional.normalize(rows, dim=1)
    is_query = torch.from_numpy(GOLDEN[f"{case}/is_query"])
    return rows[is_query], rows[~is_query]


def clusters(n: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, dim, dtype=torch.float64, generator=generator)
    centres = torch.randn(6, dim, dtype=torch.float64, generator=generator)
    return torch.nn.functional.normalize(rows + 2 * centres[torch.arange(n) % 6], dim=1)


@each_case
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (10, 3, 0.5)])
def test_k_reciprocal_distances_equal_the_golden(case, k1, k2, weight):
    queries, gallery = golden_rows(case)
    n = len(queries)
    found = KReciprocal(torch.cat([queries, gallery]), k1, k2, weight).distances(
        torch.arange(n), torch.arange(n, n + len(gallery))
    )
    wanted = GOLDEN[f"{case}/rerank_k1_{k1}_k2_{k2}_lambda_{weight}/exact_distance"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)


def slow_k_reciprocal(rows: Tensor, k1: int, k2: int, weight: float) -> np.ndarray:
    """The paper's steps with sets and loops, all rows against all."""
    x = rows.numpy()
    d = ((x[:, None] - x) ** 2).sum(-1)
    d = d / d.max(1, keepdims=True)
    order = [[i, *(j for j in np.argsort(d[i], kind="stable") if j != i)] for i in range(len(x))]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encodings = np.zeros(d.shape)
    for i in range(len(x)):
        own = mutual(i, k1)
        members = set(own)
        for j in own:
            its = mutual(j, round(k1 / 2))
            if len(its & own) > 2 / 3 * len(its):
                members |= its
        for j in members:
            encodings[i, j] = np.exp(-d[i, j])
        encodings[i] /= encodings[i].sum()
    encodings = np.stack([encodings[order[i][:k2]].mean(0) for i in range(len(x))])
    shared = np.minimum(encodings[:, None], encodings).sum(-1)
    return (1 - weight) * (1 - shared / (2 - shared)) + weight * d


PARAMETERS = [(7, 3, 0.3), (5, 1, 0.0), (1, 2, 0.9), (90, 4, 0.2)]


@pytest.mark.parametrize("kernels", ("0", "1"))
@pytest.mark.parametrize(("k1", "k2", "weight"), PARAMETERS)
def test_distances_equal_the_papers_steps_in_loops(monkeypatch, kernels, k1, k2, weight):
    monkeypatch.setenv(native.SWITCH, kernels)
    rows = clusters(60, 5)
    found = KReciprocal(rows, k1, k2, weight).distances(torch.arange(60))
    np.testing.assert_allclose(found, slow_k_reciprocal(rows, k1, k2, weight), rtol=0, atol=1e-12)


def test_lambda_1_keeps_the_order_of_distances():
    rows = clusters(50, 4)
    found = KReciprocal(rows, weight=1.0).distances(torch.arange(50))
    assert torch.equal(found.argsort(1), torch.cdist(rows, rows).argsort(1))


def test_k_reciprocal_distances_ignore_rotations_and_the_order_of_rows():
    rows, order = clusters(50, 4), torch.randperm(50, generator=torch.Generator().manual_seed(1))
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    found = KReciprocal(rows, 6, 3).distances(torch.arange(50))
    turned = KReciprocal(rows[order] @ rotation, 6, 3).distances(torch.arange(50))
    torch.testing.assert_close(turned, found[order][:, order], rtol=0, atol=1e-10)


def test_k_reciprocal_distances_lie_in_0_to_1_and_are_finite_for_equal_rows():
    for rows in (clusters(40, 3), torch.ones(9, 2), torch.ones(1, 2), clusters(40, 3)[[0] * 20]):
        found = KReciprocal(rows, 5, 2).distances(torch.arange(len(rows)))
        assert torch.isfinite(found).all()
        assert found.min() >= 0 and found.max() <= 1 + 1e-12


@each_case
@pytest.mark.parametrize(("alpha", "n"), [(0, 5), (3, 5), (3, 10)])
def test_expanded_queries_equal_the_golden(case, alpha, n):
    found = expand_queries(*golden_rows(case), n, alpha)
    wanted = GOLDEN[f"{case}/query_expansion_alpha_{alpha}_n_{n}/queries"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)


@each_case
def test_the_augmented_gallery_equals_the_golden(case):
    found = augment_gallery(golden_rows(case)[1], 5, 3)
    wanted = GOLDEN[f"{case}/database_augmentation_alpha_3_n_5/gallery"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)


def test_no_neighbour_changes_nothing():
    queries, gallery = clusters(8, 4), clusters(30, 4, seed=1)
    torch.testing.assert_close(expand_queries(3 * queries, gallery, n=0), queries)
    for n in (0, 1):
        torch.testing.assert_close(augment_gallery(2 * gallery, n), gallery)


def test_expansion_turns_with_the_rows():
    queries, gallery = clusters(8, 4), clusters(30, 4, seed=1)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    torch.testing.assert_close(
        expand_queries(queries @ rotation, gallery @ rotation, 5),
        expand_queries(queries, gallery, 5) @ rotation,
    )
    turned = augment_gallery(gallery @ rotation, 5)
    torch.testing.assert_close(turned, augment_gallery(gallery, 5) @ rotation)


def test_a_query_is_not_expanded_by_rows_left_out_nor_by_more_than_there_are():
    rows = clusters(6, 3)
    own = torch.arange(6)
    found = expand_queries(rows, rows, n=50, alpha=0.0, exclude=own)
    torch.testing.assert_close(
        found, torch.nn.functional.normalize(rows.sum(0), dim=0).expand(6, 3)
    )
    zero = torch.zeros(1, 3)
    assert torch.equal(expand_queries(zero, rows, n=3), zero.double())  # weights max(0, 0)^3


@pytest.mark.parametrize(
    "call",
    [
        lambda: KReciprocal(torch.eye(3), k1=0),
        lambda: KReciprocal(torch.eye(3), k2=0),
        lambda: KReciprocal(torch.eye(3), weight=1.1),
        lambda: expand_queries(torch.eye(3), torch.eye(3), n=-1),
        lambda: augment_gallery(torch.eye(3), alpha=-1.0),
        lambda: augment_gallery(torch.eye(3), alpha=float("nan")),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(call):
    with pytest.raises(ValueError, match=r"k1|n, the|alpha must"):
        call()
