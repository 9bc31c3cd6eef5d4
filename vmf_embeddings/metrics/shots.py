"""Many-shot, medium-shot and few-shot accuracy.

Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World",
https://arxiv.org/abs/1904.05160, section 5.1: many-shot classes have more than 100 training
images, few-shot classes fewer than 20. Others (Du et al. 2023, https://arxiv.org/abs/2305.08661)
count a class of exactly 20 as few-shot. The accuracy of a group is the mean of the accuracies of
its classes, not the fraction of correct images; a group without classes has none.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_labels
from vmf_embeddings.metrics.classification import per_class_accuracy

GROUPS = ("many", "medium", "few")


@dataclass(frozen=True)
class Thresholds:
    """Limits of the groups, in training images per class.

    Args:
        many_above: classes with more are many-shot.
        few_below: classes with fewer are few-shot; >= 0.
        few_max_inclusive: whether classes with exactly `few_below` are few-shot too.
    """

    many_above: int = 100
    few_below: int = 20
    few_max_inclusive: bool = False

    def __post_init__(self) -> None:
        if self.few_below < 0 or self.most_of_few > self.many_above:
            raise ValueError(
                "few-shot classes must end at 0 or more training images and not above the start of "
                f"many-shot ones, got few {self.ranges()['few']} and many > {self.many_above}"
            )

    @property
    def most_of_few(self) -> int:
        """The most training images that a few-shot class can have."""
        return self.few_below if self.few_max_inclusive else self.few_below - 1

    def group(self, train_counts: Array) -> Tensor:
        """Index in GROUPS [C] of each class, from its number of training images [C].

        >>> Thresholds().group([101, 100, 20, 19]), Thresholds(few_max_inclusive=True).group([20])
        (tensor([0, 1, 1, 2]), tensor([2]))
        """
        counts = as_labels(train_counts)
        return (counts <= self.many_above).long() + (counts <= self.most_of_few).long()

    def ranges(self) -> dict[str, str]:
        """The limits of each group as text.

        >>> Thresholds(few_max_inclusive=True).ranges()
        {'many': '> 100', 'medium': '21 to 100', 'few': '<= 20'}
        """
        few = "<=" if self.few_max_inclusive else "<"
        least, most = self.most_of_few + 1, self.many_above
        return {
            "many": f"> {most}",
            "medium": f"{least} to {most}" if least <= most else "none",
            "few": f"{few} {self.few_below}",
        }


@dataclass(frozen=True)
class ShotScore:
    """The score of one group.

    Args:
        accuracy: mean over the group's classes of their accuracies, in [0, 1].
        standard_error: of that mean due to sampling n_k test images per class, for fixed classes
            and a fixed model: sqrt(sum_k a_k (1 - a_k) / (n_k - 1)) / K. NaN where a class has a
            single test image.
        n_classes: K, classes of the group with test images.
    """

    accuracy: float
    standard_error: float
    n_classes: int


@dataclass(frozen=True)
class ShotScores:
    """Scores of the groups, and of every class.

    Args:
        groups: name -> score; groups without a class that has test images are left out.
        thresholds: the limits that were used.
        train_counts: [C] int64 training images.
        test_counts: [C] int64 test images.
        accuracy: [C] float64; NaN where a class has no test image.
    """

    groups: dict[str, ShotScore]
    thresholds: Thresholds
    train_counts: Tensor
    test_counts: Tensor
    accuracy: Tensor

    @property
    def group_names(self) -> list[str]:
        """Name of the group of each class, C of them."""
        return [GROUPS[g] for g in self.thresholds.group(self.train_counts).tolist()]


def shot_scores(
    scores: Array, labels: Array, train_counts: Array, thresholds: Thresholds | None = None
) -> ShotScores:
    """Accuracies of the many-shot, medium-shot and few-shot classes.

    Args:
        scores: [N, C] probabilities or logits; ties predict the lowest class.
        labels: [N] in 0..C-1.
        train_counts: [C] images per class of the training split, >= 0; not those of the images
            scored here.
        thresholds: limits of the groups; those of Liu et al. if None.

    Raises:
        ValueError: shapes that differ, negative counts.

    >>> right = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    >>> found = shot_scores(right, [0, 1, 2, 2], train_counts=[500, 120, 5])
    >>> {name: group.accuracy for name, group in found.groups.items()}
    {'many': 1.0, 'few': 0.5}
    """
    thresholds = thresholds or Thresholds()
    accuracy = per_class_accuracy(scores, labels).cpu()
    counts, n_classes = as_labels(train_counts).cpu(), len(accuracy)
    if len(counts) != n_classes or bool((counts < 0).any()):
        raise ValueError(
            f"training counts must be one number >= 0 for each of the {n_classes} classes, got "
            f"{len(counts)} with minimum {int(counts.min()) if len(counts) else 'none'}"
        )
    tested = torch.bincount(as_labels(labels).cpu(), minlength=n_classes)
    numbers = thresholds.group(counts)
    groups = {
        name: _score(accuracy[chosen], tested[chosen])
        for number, name in enumerate(GROUPS)
        if bool((chosen := (numbers == number) & (tested > 0)).any())
    }
    return ShotScores(groups, thresholds, counts, tested, accuracy)


def _score(accuracy: Tensor, tested: Tensor) -> ShotScore:
    """Score of a group of K classes, from their accuracies [K] and test images [K], >= 1."""
    # one test image gives no variance of its class: 0 / 0 = NaN
    variance = (accuracy * (1 - accuracy) / (tested - 1)).sum()
    error = math.sqrt(variance) / len(accuracy)
    return ShotScore(float(accuracy.mean()), error, len(accuracy))
