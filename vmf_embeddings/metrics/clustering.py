"""k-means, and how well clusters agree with classes: NMI and pairwise F1.

k-means by faiss (https://arxiv.org/abs/1702.08734). NMI: normalised by the mean of the entropies
(Vinh, Epps, Bailey 2010, https://jmlr.org/papers/v11/vinh10a.html, "NMI_sum"). F1 over pairs of
rows: Manning, Raghavan, Schuetze 2008, https://nlp.stanford.edu/IR-book, section 16.3.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes

# rows x classes above which k-means takes minutes (test split of SOP: 6.8e8)
MOST_PAIRS = 150_000_000


@dataclass(frozen=True)
class ClusterScores:
    """Agreement of clusters with classes.

    Args:
        nmi: mutual information of cluster and class divided by the mean of their entropies, in
            [0, 1]; 1 where there is one cluster and one class.
        f1: 2 TP / (pairs of rows of the same class + pairs in the same cluster), where TP counts
            pairs of both kinds; in [0, 1], NaN where no class and no cluster has two rows.
        precision: TP / pairs in the same cluster; NaN where there are none.
        recall: TP / pairs of the same class; NaN where there are none.
    """

    nmi: float
    f1: float
    precision: float
    recall: float


def cluster_scores(clusters: Array, labels: Array) -> ClusterScores:
    """Compare clusters with classes; labels of both are arbitrary.

    Args:
        clusters: [N] cluster of each row.
        labels: [N] class of each row.

    Returns:
        The scores, exact: pairs are counted from the contingency table, never listed.

    Raises:
        ValueError: there are no rows, or lengths differ.

    >>> cluster_scores([7, 7, 3, 3], ["a", "a", "b", "b"]).nmi
    1.0
    >>> scores = cluster_scores([0, 0, 0, 1], [0, 0, 1, 1])
    >>> round(scores.f1, 3), round(scores.precision, 3), scores.recall
    (0.4, 0.333, 0.5)
    """
    if len(clusters) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"{len(clusters)} clusters and {len(labels)} labels: need one of each for every row"
        )
    cluster, label = as_codes(clusters), as_codes(labels)
    n_labels = int(label.max()) + 1
    cells = torch.unique(cluster * n_labels + label, return_counts=True)[1]
    by_cluster, by_label = torch.bincount(cluster), torch.bincount(label)
    both, same_cluster, same_class = (_pairs(counts) for counts in (cells, by_cluster, by_label))
    return ClusterScores(
        nmi=_normalized_information(*(_entropy(c) for c in (cells, by_cluster, by_label))),
        f1=_ratio(2 * both, same_cluster + same_class),
        precision=_ratio(both, same_cluster),
        recall=_ratio(both, same_class),
    )


def kmeans(
    embeddings: Array,
    n_clusters: int,
    *,
    spherical: bool = False,
    n_iterations: int = 20,
    seed: int = 1234,
) -> tuple[Tensor, Tensor]:
    """k-means of all rows by faiss (Lloyd's algorithm), starting from random rows.

    Args:
        embeddings: [N, D]; faiss computes in float32. Of norm 1 where `spherical`.
        n_clusters: k, from 1 to N.
        spherical: normalise centroids and assign rows by cosine, instead of by Euclidean distance.
        n_iterations: >= 1; 20 in the code of the papers.
        seed: of the initial centroids.

    Returns:
        Cluster [N] int64 and centroids [k, D] float32. For the same seed, rows and version of
        faiss, the number of threads changes them by the rounding of sums only.

    Raises:
        ImportError: faiss is not installed.
        ValueError: k is not in 1..N, or a value is not finite.
    """
    rows = np.ascontiguousarray(torch.as_tensor(embeddings).detach().cpu().numpy(), np.float32)
    if rows.ndim != 2 or not 1 <= n_clusters <= len(rows):
        raise ValueError(f"k-means needs rows [N, D] and 1 <= k <= N, got {rows.shape} and k = "
                         f"{n_clusters}")  # fmt: skip
    if not np.isfinite(rows).all():
        raise ValueError("the embeddings hold NaN or infinite values, so they cannot be clustered")
    check_faiss()
    import faiss

    # squares of 1e30 leave float32, and faiss ends the process: a power of two changes no digit
    exponent = np.frexp(np.abs(rows).max(initial=0))[1]
    rows = np.ldexp(rows, -exponent)
    clustering = faiss.Clustering(rows.shape[1], n_clusters)
    clustering.niter, clustering.seed, clustering.spherical = n_iterations, seed, spherical
    # use every row, and do not warn of small clusters
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(rows)
    index = (faiss.IndexFlatIP if spherical else faiss.IndexFlatL2)(rows.shape[1])
    clustering.train(rows, index)
    centroids = faiss.vector_to_array(clustering.centroids).reshape(n_clusters, -1)
    clusters = index.search(rows, 1)[1][:, 0]
    return torch.from_numpy(clusters), torch.from_numpy(np.ldexp(centroids, exponent))


def check_faiss() -> None:
    """Raise ImportError, with the command to install it, where faiss is missing."""
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "k-means (NMI, F1) needs faiss: pip install faiss-cpu, or leave nmi out of metrics="
        ) from error


def some_classes(labels: Array, most_pairs: int | None = MOST_PAIRS, seed: int = 1234) -> Tensor:
    """A random sample of whole classes with at most `most_pairs` rows x classes.

    Whole classes, because scores depend on the size of the classes.

    Args:
        labels: [N].
        most_pairs: largest product of rows and classes (one class is always taken); None for all.
        seed: of the sample.

    Returns:
        Row numbers of the sample, ascending; all rows where they are few enough.

    >>> some_classes(["a", "a", "b", "b", "c", "c"], most_pairs=8).shape
    torch.Size([4])
    """
    codes = as_codes(labels)
    counts = torch.bincount(codes)
    n_classes = torch.arange(1, len(counts) + 1)
    if most_pairs is None or len(codes) * len(counts) <= most_pairs:
        return torch.arange(len(codes))
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed))
    n_taken = max(1, int((counts[order].cumsum(0) * n_classes <= most_pairs).sum()))
    return torch.isin(codes, order[:n_taken]).nonzero().squeeze(1)


def _pairs(counts: Tensor) -> int:
    """Number of pairs of rows within groups of these sizes."""
    return int((counts * (counts - 1)).sum()) // 2


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


def _entropy(counts: Tensor) -> float:
    """Entropy in nats of a distribution over groups in proportion to these sizes."""
    p = counts[counts > 0].double() / counts.sum()
    return float(-(p * p.log()).sum())


def _normalized_information(joint: float, cluster: float, label: float) -> float:
    """2 I / (H + H') with I = H + H' - H(joint); 1 where both entropies are 0."""
    if cluster + label == 0:
        return 1.0
    # rounding may give values slightly below 0 or above 1
    return min(1.0, max(0.0, 2 * (cluster + label - joint) / (cluster + label)))
