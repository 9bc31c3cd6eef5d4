"""Laws and golden numbers of clusters against classes."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import load_golden
from vmf_embeddings.metrics import agreement as module
from vmf_embeddings.metrics.agreement import cluster_agreement
from vmf_embeddings.metrics.clustering import cluster_scores

GOLDEN = load_golden("ranking_clustering")
CASES = sorted(key.removesuffix("/ref_ami") for key in GOLDEN if key.endswith("/ref_ami"))


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers(case):
    found = dataclasses.asdict(
        cluster_agreement(GOLDEN[f"{case}/clusters"], GOLDEN[f"{case}/labels"])
    )
    for name, value in found.items():
        key = f"{case}/{'exact' if name.startswith('bcubed') else 'ref'}_{name}"
        assert value == pytest.approx(float(GOLDEN[key]), rel=1e-9, abs=1e-12), name


def both(n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, n)
    return np.where(rng.random(n) < 0.6, labels, rng.integers(0, 20, n)), labels


def test_bcubed_is_the_mean_over_rows():
    clusters, labels = both(80)
    precision = [np.mean(labels[clusters == c] == y) for c, y in zip(clusters, labels, strict=True)]
    recall = [np.mean(clusters[labels == y] == c) for c, y in zip(clusters, labels, strict=True)]
    found = cluster_agreement(clusters, labels)
    assert found.bcubed_precision == pytest.approx(np.mean(precision), abs=1e-14)
    assert found.bcubed_recall == pytest.approx(np.mean(recall), abs=1e-14)


def test_names_of_clusters_and_which_side_is_which_change_nothing():
    clusters, labels = both()
    found, turned = cluster_agreement(clusters, labels), cluster_agreement(labels, clusters)
    renamed = cluster_agreement([f"c{c * 7 % 31}" for c in clusters], labels)
    assert dataclasses.astuple(renamed) == pytest.approx(dataclasses.astuple(found), abs=1e-12)
    for name in ("ami", "ari", "v_measure", "bcubed_f"):
        assert getattr(turned, name) == pytest.approx(getattr(found, name), abs=1e-12)
    assert (turned.homogeneity, turned.bcubed_recall) == pytest.approx(
        (found.completeness, found.bcubed_precision)
    )


def test_v_is_nmi():
    clusters, labels = both(seed=1)
    assert cluster_agreement(clusters, labels).v_measure == pytest.approx(
        cluster_scores(clusters, labels).nmi, abs=1e-12
    )


def test_chance_scores_zero_however_many_clusters():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 10, 4000)
    for n_clusters in (5, 400):
        found = cluster_agreement(rng.integers(0, n_clusters, 4000), labels)
        assert abs(found.ami) < 0.01
        assert abs(found.ari) < 0.01


def test_where_the_expected_information_takes_minutes_it_is_not_computed(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 3)
    found = cluster_agreement([0, 0, 1, 1], [0, 0, 1, 1])
    assert np.isnan(found.ami)
    assert found.ari == 1
