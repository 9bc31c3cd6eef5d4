"""Groups by training pictures: boundaries, means of class accuracies, empty groups, errors."""

import math

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics import (
    Thresholds,
    accuracy,
    macro_accuracy,
    macro_f1,
    per_class_accuracy,
    shot_scores,
    top_k_accuracy,
)
from vmf_embeddings.metrics.shots import GROUPS


def predictions(n_classes=12, n_rows=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_rows)
    return rng.normal(size=(n_rows, n_classes)) + 1.5 * np.eye(n_classes)[labels], labels


def cifar_100_lt(imbalance_factor):
    return [int(500 * imbalance_factor ** (-k / 99)) for k in range(100)]


@pytest.mark.parametrize(
    ("imbalance_factor", "sizes", "few_if_inclusive"),
    [
        (10, [69, 31, 0], 0),
        (50, [41, 41, 18], 19),
        (100, [35, 35, 30], 31),
        (200, [30, 31, 39], 40),
    ],
)
def test_group_sizes_of_cifar_100_lt(imbalance_factor, sizes, few_if_inclusive):
    counts = cifar_100_lt(imbalance_factor)
    assert torch.bincount(Thresholds().group(counts), minlength=3).tolist() == sizes
    inclusive = Thresholds(few_max_inclusive=True).group(counts)
    assert int((inclusive == 2).sum()) == few_if_inclusive
    assert int((inclusive == 0).sum()) == sizes[0]


def test_words_agree_with_the_groups_at_every_count():
    for thresholds in (Thresholds(), Thresholds(few_max_inclusive=True), Thresholds(50, 9)):
        words = thresholds.ranges()
        for count, number in enumerate(thresholds.group(range(130)).tolist()):
            low, _, high = words["medium"].partition(" to ")
            inside = {
                "many": count > int(words["many"].removeprefix("> ")),
                "medium": int(low) <= count <= int(high),
                "few": count < int(low),
            }
            assert [name for name in GROUPS if inside[name]] == [GROUPS[number]]
    assert Thresholds(20, 20, few_max_inclusive=True).ranges()["medium"] == "none"


def test_thresholds_that_overlap_are_refused():
    with pytest.raises(ValueError, match="few < 200 and many > 100"):
        Thresholds(100, 200)
    with pytest.raises(ValueError, match="few < -1"):
        Thresholds(100, -1)


def test_a_group_is_the_mean_of_its_classes_and_not_of_its_pictures():
    scores, labels = predictions()
    counts = np.arange(12)[::-1] * 12  # 132, 120, 108, then down to 0
    found = shot_scores(scores, labels, counts)
    guess = scores.argmax(1)
    for name, chosen in {
        "many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20
    }.items():  # fmt: skip
        slow = [(guess[labels == c] == c).mean() for c in np.flatnonzero(chosen)]
        assert found.groups[name].accuracy == pytest.approx(np.mean(slow), abs=1e-15)
        assert found.groups[name].n_classes == chosen.sum()
    assert found.group_names[0] == "many"
    assert found.group_names[-1] == "few"


def test_training_counts_alone_decide_not_those_of_the_scored_pictures():
    labels = np.array([0] * 150 + [1])
    scores = np.eye(2)[labels]
    found = shot_scores(scores, labels, [5, 500])
    assert found.group_names == ["few", "many"]
    assert found.test_counts.tolist() == [150, 1]


def test_empty_groups_are_left_out_and_never_zero():
    scores, labels = predictions(3)
    assert set(shot_scores(scores, labels, [500, 400, 300]).groups) == {"many"}
    # a class that is not scored adds nothing to its group, and is none by itself
    kept = labels < 2
    found = shot_scores(scores[kept], labels[kept], [500, 50, 5])
    assert set(found.groups) == {"many", "medium"}
    assert math.isnan(found.accuracy[2])


def test_groups_weighted_by_their_classes_give_the_macro_accuracy():
    scores, labels = predictions()
    found = shot_scores(scores, labels, np.arange(12) * 12).groups.values()
    mean = sum(g.accuracy * g.n_classes for g in found) / sum(g.n_classes for g in found)
    assert mean == pytest.approx(macro_accuracy(scores, labels), abs=1e-15)


def test_squared_standard_error_is_the_variance_over_choices_of_pictures():
    rng = np.random.default_rng(0)
    chance, n_test = np.array([0.9, 0.6, 0.2]), np.array([40, 10, 25])
    labels = np.repeat(np.arange(3), n_test)
    found = []
    for _ in range(400):
        right = rng.random(len(labels)) < chance[labels]
        guess = np.where(right, labels, (labels + 1) % 3)
        found.append(shot_scores(np.eye(3)[guess], labels, [500] * 3).groups["many"])
    true_variance = (chance * (1 - chance) / n_test).sum() / 9
    # the estimate is unbiased: its mean over 400 draws is within 3 % with these seeds' spread
    assert np.mean([g.standard_error**2 for g in found]) == pytest.approx(true_variance, rel=0.03)
    assert np.var([g.accuracy for g in found]) == pytest.approx(true_variance, rel=0.2)


def test_a_class_with_one_scored_picture_has_no_known_error():
    found = shot_scores(np.eye(2)[[0, 0, 1]], [0, 0, 1], [500, 5]).groups
    assert found["many"].standard_error == 0
    assert math.isnan(found["few"].standard_error)


@pytest.mark.parametrize("counts", [[500, 5], [500, 50, -1], []])
def test_counts_must_fit_the_classes(counts):
    with pytest.raises(ValueError, match="each of the 3 classes"):
        shot_scores(np.eye(3), [0, 1, 2], np.array(counts, np.int64))


def test_macro_accuracy_is_accuracy_on_a_balanced_set_only():
    scores, _ = predictions(4, 80)
    balanced = np.arange(80) % 4
    assert macro_accuracy(scores, balanced) == pytest.approx(accuracy(scores, balanced))
    lopsided = np.array([0] * 9 + [1])
    always_0 = np.eye(2)[np.zeros(10, int)]
    assert accuracy(always_0, lopsided) == 0.9
    assert macro_accuracy(always_0, lopsided) == 0.5
    assert per_class_accuracy(always_0, lopsided).tolist() == [1, 0]


def test_macro_f1_is_the_mean_of_precision_and_recall_s_harmonic_means():
    scores, labels = predictions(9, 40)
    kept = (labels != 4) & (scores.argmax(1) != 4)  # a class without rows that is not predicted
    labels, guess = labels[kept], scores[kept].argmax(1)
    slow = []
    for c in sorted({*labels, *guess}):
        right = ((guess == c) & (labels == c)).sum()
        precision = right / max(1, (guess == c).sum())
        recall = right / max(1, (labels == c).sum())
        slow.append(2 * precision * recall / (precision + recall) if right else 0.0)
    assert 4 not in labels
    assert macro_f1(scores[kept], labels) == pytest.approx(np.mean(slow), abs=1e-15)


def test_top_k_is_the_written_ranking_and_grows_with_k():
    scores, labels = predictions(7, 60)
    scores = scores.round()  # ties
    found = [top_k_accuracy(scores, labels, k) for k in range(1, 9)]
    order = np.argsort(-scores, axis=1, kind="stable")
    slow = [
        np.mean([y in row[:k] for y, row in zip(labels, order, strict=True)]) for k in range(1, 9)
    ]
    assert found == pytest.approx(slow)
    assert found[0] == accuracy(scores, labels)
    assert found == sorted(found)
    assert found[6] == found[7] == 1
    with pytest.raises(ValueError, match="at least 1"):
        top_k_accuracy(scores, labels, 0)
