"""How well clusters agree with classes, adjusted for chance and row by row: AMI, ARI, BCubed.

NMI grows with the number of clusters: with a cluster for every row it is far from 0, while AMI and
ARI are 0. AMI: Vinh, Epps, Bailey 2010, https://jmlr.org/papers/v11/vinh10a.html, with the mean of
the entropies. ARI: Hubert & Arabie 1985. Homogeneity, completeness, V: Rosenberg & Hirschberg 2007,
https://aclanthology.org/D07-1043. BCubed: Bagga & Baldwin 1998, https://aclanthology.org/P98-1012.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes

MOST_CELLS = 20_000_000  # clusters x classes up to which the expected information is summed


@dataclass(frozen=True)
class Agreement:
    """Agreement of clusters with classes, each 1 where they are the same.

    Args:
        ami: mutual information adjusted for chance, <= 1; about 0 for random clusters. NaN above
            `MOST_CELLS` clusters x classes, where its expectation takes minutes.
        ari: pairs of rows that agree, adjusted for chance, in [-0.5, 1].
        homogeneity: 1 - H(class | cluster) / H(class), in [0, 1].
        completeness: 1 - H(cluster | class) / H(cluster), in [0, 1].
        v_measure: their harmonic mean, which equals NMI.
        bcubed_precision: mean over rows of the share of its cluster that is of its class.
        bcubed_recall: mean over rows of the share of its class that is in its cluster.
        bcubed_f: harmonic mean of the two.
    """

    ami: float
    ari: float
    homogeneity: float
    completeness: float
    v_measure: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float


def cluster_agreement(clusters: Array, labels: Array) -> Agreement:
    """Compare clusters with classes; labels of both are arbitrary.

    Args:
        clusters: [N] cluster of each row.
        labels: [N] class of each row.

    Returns:
        The scores, from the counts of the pairs of cluster and class that occur.

    Raises:
        ValueError: there are no rows, or lengths differ.

    >>> found = cluster_agreement([0, 1, 2, 3], ["a", "a", "b", "b"])
    >>> round(found.ami, 12), found.ari, found.bcubed_precision, found.bcubed_recall
    (0.0, 0.0, 1.0, 0.5)
    """
    if len(clusters) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{len(clusters)} clusters and {len(labels)} labels: need one of each for every row"
        )
    cluster, label = as_codes(clusters), as_codes(labels)
    n_labels = int(label.max()) + 1
    pair, cells = torch.unique(cluster * n_labels + label, return_counts=True)
    of_cluster, of_label = torch.bincount(cluster), torch.bincount(label)
    entropies = [_entropy(counts) for counts in (cells, of_cluster, of_label)]
    homogeneity, completeness = _conditional(*entropies)
    size_of_cluster, size_of_label = of_cluster[pair // n_labels], of_label[pair % n_labels]
    n, square = len(label), cells.double().square()
    precision = float((square / size_of_cluster).sum() / n)
    recall = float((square / size_of_label).sum() / n)
    return Agreement(
        ami=_adjusted_information(cluster, label),
        ari=_adjusted_rand(*(_pairs(counts) for counts in (cells, of_cluster, of_label)), n),
        homogeneity=homogeneity,
        completeness=completeness,
        v_measure=_harmonic(homogeneity, completeness),
        bcubed_precision=precision,
        bcubed_recall=recall,
        bcubed_f=_harmonic(precision, recall),
    )


def _adjusted_information(cluster: Tensor, label: Tensor) -> float:
    from sklearn.metrics import adjusted_mutual_info_score

    if (int(cluster.max()) + 1) * (int(label.max()) + 1) > MOST_CELLS:
        return math.nan
    return float(adjusted_mutual_info_score(label.numpy(), cluster.numpy()))


def _adjusted_rand(both: int, same_cluster: int, same_class: int, n: int) -> float:
    """(pairs - expected) / (largest - expected); 1 where clusters and classes are both trivial."""
    expected = same_cluster * same_class / (n * (n - 1) // 2) if n > 1 else 0.0
    largest = (same_cluster + same_class) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _conditional(joint: float, cluster: float, label: float) -> tuple[float, float]:
    """Homogeneity and completeness from entropies; 1 where there is nothing to know."""
    information = cluster + label - joint
    return tuple(
        1.0 if own == 0 else min(1.0, max(0.0, information / own)) for own in (label, cluster)
    )


def _entropy(counts: Tensor) -> float:
    p = counts.double() / counts.sum()
    return float(torch.special.entr(p).sum())


def _pairs(counts: Tensor) -> int:
    return int((counts * (counts - 1)).sum()) // 2


def _harmonic(x: float, y: float) -> float:
    return 2 * x * y / (x + y) if x + y else 0.0
