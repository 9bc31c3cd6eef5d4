"""Detectors of other data: the golden numbers, a slow restatement, and laws."""

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics.binary import auroc, average_precision, fpr_at_tpr
from vmf_embeddings.metrics.confidence import logit_confidences
from vmf_embeddings.metrics.ood import ClassGaussians, ClassMeans, kth_neighbour

GOLDEN = load_golden("ood")
CASES = [case for case in cases(GOLDEN) if case != "ties"]


def some_rows(n=60, dim=5, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return rng.normal(size=(n, dim)) + 2 * np.eye(n_classes, dim)[labels], labels


@pytest.mark.parametrize("case", CASES)
def test_distances_are_the_golden_ones(case):
    train, labels = GOLDEN[f"{case}/train_embeddings"], GOLDEN[f"{case}/train_labels"]
    fitted, means = ClassGaussians.fit(train, labels), ClassMeans.fit(train, labels)
    rows = GOLDEN[f"{case}/near_embeddings"]
    near, background = fitted.distances(rows)
    found = {
        "mahalanobis": -near,
        "relative_mahalanobis": background - near,
        "class_mean_cosine": means.cosine(rows),
        **{f"knn_{k}": v for k, v in kth_neighbour(rows, train, (1, 10, 50)).items()},
    }
    for name, values in found.items():
        expected = GOLDEN[f"{case}/near/{name}"]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_confidences_of_logits_are_the_golden_ones(case):
    found = logit_confidences(GOLDEN[f"{case}/near_logits"])
    for name in ("max_probability", "max_logit", "energy", "negative_entropy"):
        expected = GOLDEN[f"{case}/near/{name}"]
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_scores_where_rows_tie_are_the_golden_ones():
    values = np.r_[GOLDEN["ties/in"], GOLDEN["ties/out"]]
    is_in = np.arange(len(values)) < len(GOLDEN["ties/in"])
    found = {
        "auroc": auroc(values, is_in),
        "fpr95_in_positive": fpr_at_tpr(values, is_in),
        "fpr95_out_positive": fpr_at_tpr(-values, ~is_in),
        "aupr_in": average_precision(values, is_in),
        "aupr_out": average_precision(-values, ~is_in),
    }
    for name, value in found.items():
        assert value == pytest.approx(float(GOLDEN[f"ties/exact_{name}"]), rel=1e-12), name


def test_energy_is_at_most_the_logarithm_of_the_classes_above_the_largest_logit():
    logits = np.random.default_rng(1).normal(size=(50, 3, 7)) * 5
    found = logit_confidences(logits)
    above = found["energy"] - found["max_logit"]
    assert float(above.min()) >= 0 and float(above.max()) <= np.log(7)


def test_confidences_do_not_depend_on_blocks_of_rows(monkeypatch):
    logits = np.random.default_rng(2).normal(size=(50, 7))
    whole = logit_confidences(logits)
    monkeypatch.setattr("vmf_embeddings.metrics.confidence._BLOCK_ELEMENTS", 20)
    for name, values in logit_confidences(logits).items():
        torch.testing.assert_close(values, whole[name], rtol=0, atol=1e-15)


def test_mahalanobis_distances_stay_under_invertible_maps_of_all_rows():
    train, labels = some_rows()
    rows = some_rows(20, seed=3)[0]
    mapping = np.random.default_rng(4).normal(size=(5, 5)) + 3 * np.eye(5)
    before = ClassGaussians.fit(train, labels).distances(rows)
    after = ClassGaussians.fit(train @ mapping + 7, labels).distances(rows @ mapping + 7)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_a_direction_without_variance_is_left_out():
    train, labels = some_rows()
    rows = some_rows(20, seed=3)[0]
    wider = np.c_[train, np.full(len(train), 3.0)]
    fitted = ClassGaussians.fit(wider, labels)
    assert fitted.rank == 5
    for one, other in zip(
        fitted.distances(np.c_[rows, np.zeros(len(rows))]),
        ClassGaussians.fit(train, labels).distances(rows),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_classes_of_equal_rows_have_no_covariance():
    with pytest.raises(ValueError, match="the rows of every class are equal"):
        ClassGaussians.fit(np.repeat([[0.1, 0.2], [0.3, 0.5]], 9, 0), np.repeat([0, 1], 9))


def test_with_one_class_both_distances_are_equal():
    train, _ = some_rows()
    near, background = ClassGaussians.fit(train, np.zeros(60, int)).distances(train)
    torch.testing.assert_close(near, background, rtol=1e-9, atol=1e-9)


def test_doubling_the_training_rows_leaves_distances_and_makes_k_twice_as_large():
    train, labels = some_rows()
    rows = some_rows(20, seed=3)[0]
    twice, both = np.r_[train, train], np.r_[labels, labels]
    for one, other in zip(
        ClassGaussians.fit(twice, both).distances(rows),
        ClassGaussians.fit(train, labels).distances(rows),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    once = kth_neighbour(rows, train, (1, 4, 9))
    again = kth_neighbour(rows, twice, (2, 8, 18))
    for k, values in once.items():
        torch.testing.assert_close(values, again[2 * k], rtol=0, atol=1e-12)


def test_the_kth_neighbour_falls_with_k_and_does_not_read_lengths_or_blocks(monkeypatch):
    train, _ = some_rows()
    rows = some_rows(20, seed=3)[0]
    found = kth_neighbour(rows, train, (1, 5, 60))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, train)]
    distances = np.sort(np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2), 1)
    for k, values in found.items():
        np.testing.assert_allclose(-values, distances[:, k - 1], rtol=0, atol=1e-12)
    monkeypatch.setattr("vmf_embeddings.metrics.ood._PART_ROWS", 17)
    monkeypatch.setattr("vmf_embeddings.metrics.ood._BLOCK_ROWS", 7)
    for k, values in kth_neighbour(5 * rows, train, (1, 5, 60)).items():
        torch.testing.assert_close(values, found[k], rtol=0, atol=1e-12)
    assert bool((found[1] >= found[5]).all() and (found[5] >= found[60]).all())
    with pytest.raises(ValueError, match="61-th nearest of 60 training rows"):
        kth_neighbour(rows, train, (1, 61))


def test_an_equal_row_is_at_distance_0():
    train = np.random.default_rng(5).normal(size=(30, 40)).astype(np.float32)
    assert kth_neighbour(train[3:4], train, [1])[1].tolist() == [0.0]


def test_a_row_of_length_0_is_at_right_angles_to_every_direction():
    zero, train = np.zeros((1, 3)), np.eye(3)
    assert kth_neighbour(zero, train, [1, 3])[3].tolist() == [-1.0]
    assert ClassMeans.fit(train, [0, 1, 1]).cosine(zero).tolist() == [0.0]


def test_labels_that_do_not_fit_the_rows_are_refused():
    for labels in ([0, 1], []):
        with pytest.raises(ValueError, match="need one label for each embedding"):
            ClassGaussians.fit(np.eye(3), labels)
