"""NMI and F1 equal slow counts and stored numbers; k-means finds what is apart."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from tests.conftest import cases, load_golden
from tests.metrics.fixture import clustered, rotation, sines
from vmf_embeddings.metrics import cluster_scores, kmeans
from vmf_embeddings.metrics.clustering import some_classes

GOLDEN = load_golden("dml_metrics")
GROUPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(GROUPS)
def test_scores_equal_a_count_of_pairs_and_an_independent_nmi(groups):
    clusters, labels = map(list, zip(*groups, strict=True))
    pairs = list(itertools.combinations(range(len(groups)), 2))
    found = sum(clusters[i] == clusters[j] for i, j in pairs)
    wanted = sum(labels[i] == labels[j] for i, j in pairs)
    both = sum(groups[i] == groups[j] for i, j in pairs)
    scores = cluster_scores(clusters, labels)
    expected = [
        both / found if found else math.nan,
        both / wanted if wanted else math.nan,
        2 * both / (found + wanted) if found + wanted else math.nan,
    ]
    assert [scores.precision, scores.recall, scores.f1] == pytest.approx(expected, nan_ok=True)
    assert scores.nmi == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-12)


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_golden(case):
    clusters, labels = GOLDEN[f"{case}/cluster_assignments"], GOLDEN[f"{case}/labels"]
    scores = cluster_scores(clusters, labels)
    assert scores.nmi == pytest.approx(float(GOLDEN[f"{case}/nmi"]), abs=1e-14)
    assert scores.f1 == pytest.approx(float(GOLDEN[f"{case}/f1"]), abs=1e-14)
    true, wanted = GOLDEN[f"{case}/pairs_tp"], GOLDEN[f"{case}/pairs_same_class"]
    assert scores.recall == pytest.approx(true / wanted, abs=1e-15)
    assert scores.precision == pytest.approx(true / GOLDEN[f"{case}/pairs_same_cluster"], abs=1e-15)


def test_known_clusters_of_the_sines():
    scores = cluster_scores(7 * np.arange(1200) // 13 % 60, sines()[1])
    assert scores.f1 == pytest.approx(0.0368001402, abs=5e-11)
    assert scores.nmi == pytest.approx(0.3866138720, abs=5e-11)


def test_perfect_clusters_score_one_whatever_they_are_called():
    labels = ["b", "a", "b", "c", "a"]
    scores = cluster_scores([5, -1, 5, 0, -1], labels)
    assert scores == type(scores)(nmi=1, f1=1, precision=1, recall=1)
    assert cluster_scores([3, 3], [0, 0]).nmi == 1
    assert cluster_scores([0, 0, 0, 0], [0, 0, 1, 1]).nmi == 0
    alone = cluster_scores([0, 1, 2], [2, 0, 1])
    assert alone.nmi == pytest.approx(1)
    assert math.isnan(alone.f1)


@pytest.mark.parametrize("spherical", [False, True])
def test_kmeans_finds_classes_that_are_apart_however_they_are_turned(spherical):
    labels = torch.arange(80) % 4
    noise = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    rows = 5 * torch.eye(6)[labels] + 0.05 * noise
    rows = torch.nn.functional.normalize(rows, dim=1) if spherical else rows
    for turned in (rows, rows @ rotation(6).float()):
        clusters, centroids = kmeans(turned, 4, spherical=spherical)
        assert cluster_scores(clusters, labels).nmi == 1
        lengths = torch.linalg.vector_norm(centroids, dim=1)
        assert torch.allclose(lengths, torch.ones(4)) == spherical


def test_kmeans_gives_the_nearest_centroid_and_the_same_answer_again():
    rows = clustered(dim=3)[0]
    clusters, centroids = kmeans(rows, 10, seed=3)
    distances = torch.cdist(rows, centroids.double())
    assert torch.equal(distances.argmin(1), clusters)
    means = torch.stack([rows[clusters == k].mean(0) for k in range(10)])
    torch.testing.assert_close(centroids.double(), means, rtol=0, atol=1e-5)
    again = kmeans(rows, 10, seed=3)
    assert torch.equal(again[0], clusters)
    assert not torch.equal(kmeans(rows, 10, seed=4)[0], clusters)


def test_kmeans_clusters_by_angle_only_if_spherical():
    angles = torch.tensor([0.0, 0.01, 0.02, 1.5, 1.51, 1.52])
    lengths = torch.tensor([1.0, 9.0, 9.0, 1.0, 1.0, 9.0])
    rows = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
    unit = rows / lengths[:, None]
    assert cluster_scores(kmeans(unit, 2, spherical=True)[0], angles > 1).nmi == 1
    assert cluster_scores(kmeans(rows, 2)[0], angles > 1).nmi < 1


def test_some_classes_are_whole_and_as_many_as_fit():
    labels = np.random.default_rng(0).integers(0, 50, 1000)
    chosen = some_classes(labels, most_pairs=5000)
    taken = np.unique(labels[chosen])
    assert np.isin(labels, taken).sum() == len(chosen)
    assert len(chosen) * len(taken) <= 5000
    assert len(chosen) * len(taken) > 3500  # one more class of about 20 rows would not fit
    assert torch.equal(chosen, some_classes(labels, most_pairs=5000))
    assert not torch.equal(chosen, some_classes(labels, most_pairs=5000, seed=1))
    for everything in (None, 50_000):
        assert torch.equal(some_classes(labels, everything), torch.arange(1000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cluster_scores([0], [0, 1]), "one of each"),
        (lambda: cluster_scores([], []), "one of each"),
        (lambda: kmeans(np.ones((3, 2)), 4), "k = 4"),
        (lambda: kmeans(np.ones((3, 2)), 0), "k = 0"),
        (lambda: kmeans(np.full((3, 2), np.nan), 2), "NaN"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_faiss_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        kmeans(np.ones((3, 2)), 1)


@pytest.mark.parametrize("factor", [2.0**100, 2.0**-110])
def test_kmeans_finds_the_same_clusters_of_rows_of_any_length(factor):
    # squares beyond float32 ended the process
    rows = np.round(np.random.default_rng(6).normal(size=(40, 3)) * 64).astype(np.float32)
    clusters, centroids = kmeans(rows, 5)
    scaled, of_scaled = kmeans((rows.astype(float) * factor).astype(np.float32), 5)
    assert torch.equal(scaled, clusters)
    torch.testing.assert_close(of_scaled.double(), centroids.double() * factor, rtol=1e-5, atol=0)
