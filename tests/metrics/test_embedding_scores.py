"""`evaluate`: known numbers, laws of both spaces, what is asked for and nothing else."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from tests.metrics.fixture import clustered, rotation, sines
from vmf_embeddings.metrics import evaluate, kmeans, retrieval
from vmf_embeddings.metrics.embedding_scores import METRICS, SPACES, retrieve, spaces

GOLDEN = load_golden("dml_metrics")


def test_the_sines_have_their_known_scores():
    scores = evaluate(*sines(), metrics=["recall", "map", "spread", "spectrum"], ks=(1, 2, 4, 10))
    known = {
        "recall@1": 0.0858333, "recall@2": 0.1475, "recall@4": 0.275, "recall@10": 0.6958333,
        "map_at_1000_reference": 0.1832697, "map_at_1000": 0.1929155, "map_c_reference": 0.0495913,
        "map@r": 0.0491641, "rho@1": 0.0007983, "rho@2": 0.0004500, "rho_rev@-1": 0.0008009,
    }  # fmt: skip
    for space in SPACES:  # unit rows: both spaces agree
        assert {name: scores.space(space)[name] for name in known} == pytest.approx(known, abs=6e-8)
    assert scores.normalised["pi_ratio"] == pytest.approx(0.4012040, abs=5e-8)


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_golden(case):
    """The reference searches in float32: its mAP differs by the order of near ties, 1e-6."""
    rows, labels = GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"]
    ks = [int(key.split("@")[1]) for key in GOLDEN if key.startswith(f"{case}/e_recall@")]
    scores = evaluate(rows, labels, metrics=["recall", "map"], ks=ks)
    for space, letter in (("as_output", "e"), ("normalised", "c")):
        found = scores.space(space)
        for k in ks:
            assert found[f"recall@{k}"] == pytest.approx(
                float(GOLDEN[f"{case}/{letter}_recall@{k}"])
            )
        for name, key in (
            ("map_at_1000", "mAP_1000_div_Rminus1_nanmean"),
            ("map_at_1000_reference", "mAP_1000_div_freq_no_padding"),
            ("map_c_reference", "ref_mAP_c"),
            ("map@r", "map_at_r"),
        ):
            assert found[name] == pytest.approx(float(GOLDEN[f"{case}/{key}"]), abs=1e-6), name


def test_a_perfect_embedding_scores_one_and_the_reference_less():
    labels = np.repeat(["x", "y", "z"], 5)
    rows = 2 * torch.eye(3).repeat_interleave(5, 0)
    scores = evaluate(rows, labels)
    for space in SPACES:
        found = scores.space(space)
        for name in ("recall@1", "map@r", "map_at_1000", "mean_average_precision"):
            assert found[name] == pytest.approx(1), name
        assert found["map_at_1000_reference"] == pytest.approx(4 / 5)
        assert found["rho@1"] == pytest.approx(0, abs=1e-12)
    assert scores.normalised["intra"] == pytest.approx(0, abs=1e-12)
    assert scores.normalised["inter"] == pytest.approx(1)
    assert scores.clustering.n_clusters == 3


def test_rotations_orders_and_names_of_classes_change_nothing():
    """All but NMI and F1, whose k-means starts from rows drawn by number."""
    rows, labels = clustered()
    asked = ["recall", "map", "spectrum", "spread"]
    first = evaluate(rows, labels, metrics=asked)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    names = np.array([f"class {9 - label}" for label in labels])
    for case in ((rows @ rotation(5), labels), (rows[order], names[order])):
        other = evaluate(*case, metrics=asked)
        for space in SPACES:
            assert other.space(space) == pytest.approx(first.space(space), rel=1e-10)


def test_lengths_matter_as_output_alone():
    rows, labels = clustered()
    lengths = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(3)) + 0.1
    first, other = evaluate(rows, labels), evaluate(rows * lengths, labels)
    assert other.normalised == pytest.approx(first.normalised, rel=1e-10)
    for name in ("recall@1", "map@r", "nmi", "rho@1"):
        assert other.as_output[name] != pytest.approx(first.as_output[name]), name


@pytest.mark.parametrize(
    ("metric", "both", "normalised_too"),
    [
        ("recall", {"recall@1"}, set()),
        ("nmi", {"nmi", "f1"}, set()),
        ("map", {"map@r", "mean_average_precision", "map_at_1000", "map_at_1000_reference",
                 "map_c_reference"}, set()),
        ("spectrum", {"rho@1", "rho@2", "rho_rev@-1"}, set()),
        ("spread", set(), {"intra", "inter", "pi_ratio", "concentration_mean", "alignment",
                           "concentration_variance", "concentration_relative_variance",
                           "uniformity_g2"}),
    ],
)  # fmt: skip
def test_what_is_asked_for_comes_and_nothing_else(metric, both, normalised_too):
    scores = evaluate(*clustered(30), metrics=[metric], ks=[1])
    assert set(scores.as_output) == both
    assert set(scores.normalised) == both | normalised_too
    assert (scores.clustering is not None) == (metric == "nmi")
    assert set(scores.log_spectra) == (set(SPACES) if metric == "spectrum" else set())


def test_queries_and_gallery_count_for_retrieval():
    rows, labels = clustered(40)
    asks = torch.arange(40) < 15
    found = evaluate(rows, labels, metrics=["recall", "map"], is_query=asks, is_gallery=~asks)
    wanted = retrieval(rows, labels, metric="l2", is_query=asks, is_gallery=~asks)
    assert found.as_output["map@r"] == wanted.map_at_r
    assert found.as_output["recall@1"] == wanted.recall[1]


def test_retrieval_that_is_known_is_taken():
    rows, labels = clustered(40)
    known = {name: retrieve(r, labels, name, ks=(1,)) for name, r in spaces(rows).items()}
    whole = evaluate(rows, labels, metrics=["recall", "map"], ks=[1])
    other = evaluate(-rows[:, :1], labels, metrics=["recall", "map"], ks=[1], retrieved=known)
    assert (other.as_output, other.normalised) == (whole.as_output, whole.normalised)


def test_k_means_runs_over_whole_classes_where_there_are_too_many():
    rows, labels = clustered(300, 30)
    scores = evaluate(rows, labels, metrics=["nmi"], most_pairs=1000, seed=5)
    assert scores.clustering.n_clusters == 10
    assert scores.clustering.n_rows == 100
    assert scores.clustering.n_rows_in_all == 300
    everything = evaluate(rows, labels, metrics=["nmi"], most_pairs=None, seed=5)
    assert everything.clustering.n_clusters == 30
    clusters, _ = kmeans(rows, 30, seed=5)
    from vmf_embeddings.metrics import cluster_scores

    assert everything.as_output["nmi"] == cluster_scores(clusters, labels).nmi


def test_scores_without_value_are_nan():
    scores = evaluate(clustered(10)[0], np.arange(10))
    assert math.isnan(scores.normalised["intra"])
    assert math.isnan(scores.as_output["map_at_1000"])
    assert scores.as_output["map_at_1000_reference"] == 0
    assert math.isnan(scores.as_output["f1"])


def test_wrong_arguments_are_named():
    rows, labels = clustered(10)
    with pytest.raises(ValueError, match="nmj unknown; known: recall, nmi, map, spectrum, spread"):
        evaluate(rows, labels, metrics=["nmj"])
    with pytest.raises(ValueError, match="NaN"):
        evaluate(rows * torch.nan, labels)
    assert set(METRICS) == {"recall", "nmi", "map", "spectrum", "spread"}
