"""All metric-learning scores of one set of embeddings, unnormalised and normalised: `evaluate`.

Following Roth et al. 2020 (https://arxiv.org/abs/2002.08473), embeddings are scored as the network
outputs them, by Euclidean distance, and normalised to length 1, by cosine. If the network
normalises its embeddings, the two agree.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_unit_rows
from vmf_embeddings.metrics.clustering import MOST_PAIRS, cluster_scores, kmeans, some_classes
from vmf_embeddings.metrics.retrieval import Ties, ignored_rows, retrieval
from vmf_embeddings.metrics.retrieval_scores import Cutoff, RetrievalScores
from vmf_embeddings.metrics.spectrum import log_spectrum, rho_spectrum, singular_values
from vmf_embeddings.metrics.spread import alignment, class_distances, concentration, uniformity

METRICS = ("recall", "nmi", "map", "spectrum", "spread")
SPACES = ("as_output", "normalised")
SPACE_NAMES = {"as_output": "as output", "normalised": "normalised"}
KS = (1, 2, 4, 8, 10)
CUTOFFS: tuple[Cutoff, ...] = (1000, "class_size")
OnStep = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True)
class Clustering:
    """The rows that NMI and F1 were computed from.

    Args:
        n_rows: rows that were clustered.
        n_clusters: k of k-means, the number of their classes.
        n_rows_in_all: rows of the whole file.
        n_classes_in_all: classes of the whole file.
        seed: of the initial centroids, and of the sample of classes where not all rows were
            clustered.
    """

    n_rows: int
    n_clusters: int
    n_rows_in_all: int
    n_classes_in_all: int
    seed: int


@dataclass(frozen=True)
class EmbeddingScores:
    """Scores by space and name; `docs/metrics.md` defines each.

    Args:
        as_output: of the embeddings as the network outputs them, by Euclidean distance.
        normalised: of the normalised embeddings, by cosine; the scores of "spread" are only here.
        clustering: what NMI and F1 were computed from; None where they were not requested.
        log_spectra: space -> log of each singular value divided by their sum, largest first; empty
            where the spectrum was not requested.
    """

    as_output: dict[str, float]
    normalised: dict[str, float]
    clustering: Clustering | None = None
    log_spectra: dict[str, list[float]] = field(default_factory=dict)

    def space(self, name: str) -> dict[str, float]:
        """Scores in one space: "as_output" or "normalised"."""
        return getattr(self, name)


def evaluate(
    features: Array,
    labels: Array,
    *,
    metrics: Sequence[str] = METRICS,
    ks: Sequence[int] = KS,
    is_query: Array | None = None,
    is_gallery: Array | None = None,
    most_pairs: int | None = MOST_PAIRS,
    seed: int = 1234,
    ties: Ties = "expected",
    paths: Array | None = None,
    images: Array | None = None,
    ignore_labels: Sequence[object] = (),
    retrieved: Mapping[str, RetrievalScores] | None = None,
    on_step: OnStep = nullcontext,
) -> EmbeddingScores:
    """Compute the scores that papers on metric learning report.

    Args:
        features: [N, D] embeddings as the network outputs them.
        labels: [N] classes of any sortable type.
        metrics: which of METRICS: "recall" (Recall@k), "map" (MAP@R, mAP, mAP@1000 in both
            normalisations, mAP_c), "nmi" (NMI and pairwise F1 of k-means, as many clusters as
            classes), "spectrum" (rho), "spread" (distances in and between classes, concentration,
            uniformity, alignment).
        ks: the k of Recall@k.
        is_query: [N] bool, query rows; None = all. For "recall" and "map" only.
        is_gallery: [N] bool, gallery rows; None = all. For "recall" and "map" only.
        most_pairs: NMI and F1 are computed from a random sample of whole classes with at most this
            many rows x classes; None takes all rows.
        seed: of that sample and of the initial centroids of k-means.
        ties: rule for rows of equal score, see `retrieval`.
        paths: [N] names of image files: a query is not compared with rows of its own image.
        images: [N] integers instead of `paths`.
        ignore_labels: labels that mean "no class": their rows count as gallery rows for "recall"
            and "map", and are left out of all other scores.
        retrieved: space -> result of `retrieve`, where it has been computed before.
        on_step: called with the name and size of every step but the ranking; the step is done
            within the context manager that it returns, which may show that it goes on.

    Returns:
        The scores, as fractions, nats or as `docs/metrics.md` says.

    Raises:
        ValueError: an unknown name of a metric, or arguments that `retrieval` or `kmeans` rejects.
        ImportError: "nmi" without faiss.

    >>> rows = [[3.0, 0.1], [1.0, 0.0], [0.0, 1.0], [0.1, 2.0]]
    >>> scores = evaluate(rows, ["cat", "cat", "dog", "dog"], metrics=["recall", "spread"], ks=[1])
    >>> scores.as_output, scores.normalised["recall@1"], round(scores.normalised["intra"], 4)
    ({'recall@1': 0.75}, 1.0, 0.0009)
    """
    check_metrics(metrics)
    rows = spaces(features)
    found: dict[str, dict[str, float]] = {name: {} for name in SPACES}
    for name in SPACES if {"recall", "map"} & set(metrics) else ():
        hits = (retrieved or {}).get(name) or retrieve(
            rows[name], labels, name, ks=ks, is_query=is_query, is_gallery=is_gallery, ties=ties,
            paths=paths, images=images, ignore_labels=ignore_labels,
        )  # fmt: skip
        found[name] |= {f"recall@{k}": hits.recall[k] for k in ks} if "recall" in metrics else {}
        found[name] |= _precision(hits) if "map" in metrics else {}
    rows, labels = _of_classes(rows, labels, ignore_labels)
    clustering, spectra = None, {}
    if "nmi" in metrics:
        clustering = _add_clusters(found, rows, labels, most_pairs, seed, on_step)
    if "spectrum" in metrics:
        spectra = _add_spectra(found, rows, on_step)
    if "spread" in metrics:
        with on_step(f"Distances in and between the classes of {len(labels):,} rows"):
            found["normalised"] |= _spread(rows["normalised"], labels)
    return EmbeddingScores(**found, clustering=clustering, log_spectra=spectra)


def _of_classes(
    rows: dict[str, Tensor], labels: Array, ignore_labels: Sequence[object]
) -> tuple[dict[str, Tensor], Array]:
    """Rows and labels without those that have no class."""
    if not ignore_labels:
        return rows, labels
    kept = ~ignored_rows(labels, ignore_labels)
    kept_rows = {name: values[kept.to(values.device)] for name, values in rows.items()}
    return kept_rows, as_codes(labels)[kept]


def check_metrics(names: Sequence[str]) -> None:
    """Check names of metrics.

    Raises:
        ValueError: for unknown names; the message lists the known ones.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"metrics {', '.join(unknown)} unknown; known: {', '.join(METRICS)}")


def spaces(features: Array) -> dict[str, Tensor]:
    """The embeddings [N, D] in each space of SPACES; normalised ones are float64.

    Raises:
        ValueError: they are not a matrix, or hold NaN or infinity.
    """
    rows = torch.as_tensor(features).detach()
    rows = rows if rows.is_floating_point() else rows.double()
    if rows.ndim != 2 or not torch.isfinite(rows).all():
        raise ValueError(
            f"embeddings must be finite numbers [N, D], got {list(rows.shape)}"
            + (" with NaN or infinite values" if rows.ndim == 2 else "")
        )
    return {"as_output": rows, "normalised": as_unit_rows(rows)}


def retrieve(rows: Tensor, labels: Array, space: str, **options: object) -> RetrievalScores:
    """`retrieval` in one space of SPACES with the cutoffs CUTOFFS; `options` go to `retrieval`."""
    metric = "l2" if space == "as_output" else "ip"
    return retrieval(rows, labels, metric=metric, cutoffs=CUTOFFS, **options)


def _precision(found: RetrievalScores) -> dict[str, float]:
    """Scores that need the ranks of all positives."""
    return {
        "map@r": found.map_at_r,
        "mean_average_precision": found.mean_average_precision,
        "map_at_1000": found.map_within(1000),
        "map_at_1000_reference": found.map_within_reference(1000),
        "map_c_reference": found.map_within_reference("class_size"),
    }


def _add_clusters(
    found: dict[str, dict[str, float]],
    rows: Mapping[str, Tensor],
    labels: Array,
    most_pairs: int | None,
    seed: int,
    on_step: OnStep,
) -> Clustering:
    """Add NMI and F1 to each space; k-means is spherical for normalised embeddings."""
    codes = as_codes(labels)
    chosen = some_classes(codes, most_pairs, seed)
    n_clusters = len(codes[chosen].unique())
    for name in SPACES:
        sample = rows[name][chosen.to(rows[name].device)]
        size = f"{len(chosen):,} rows into {n_clusters:,} clusters"
        with on_step(f"k-means of {size}, {SPACE_NAMES[name]}"):
            clusters, _ = kmeans(sample, n_clusters, spherical=name == "normalised", seed=seed)
        scores = cluster_scores(clusters, codes[chosen])
        found[name] |= {"nmi": scores.nmi, "f1": scores.f1}
    return Clustering(len(chosen), n_clusters, len(codes), int(codes.max()) + 1, seed)


def _add_spectra(
    found: dict[str, dict[str, float]], rows: Mapping[str, Tensor], on_step: OnStep
) -> dict[str, list[float]]:
    """Add rho to each space, for the modes that papers report."""
    spectra = {}
    for name in SPACES:
        with on_step(f"Singular values of {len(rows[name]):,} rows, {SPACE_NAMES[name]}"):
            values = singular_values(rows[name])
        spectra[name] = log_spectrum(values).tolist()
        found[name]["rho@1"] = rho_spectrum(values)
        if len(values) > 1:
            found[name]["rho@2"] = rho_spectrum(values, 2)
        found[name]["rho_rev@-1"] = rho_spectrum(values, -1, reading="REV")
    return spectra


def _spread(unit_rows: Tensor, labels: Array) -> dict[str, float]:
    """Scores that are defined for normalised embeddings only."""
    distances, kappa = class_distances(unit_rows, labels), concentration(unit_rows, labels)
    return {
        "intra": distances.intra,
        "inter": distances.inter,
        "pi_ratio": distances.ratio,
        "concentration_mean": kappa.mean,
        "concentration_variance": kappa.variance,
        "concentration_relative_variance": kappa.relative_variance,
        "uniformity_g2": uniformity(unit_rows),
        "alignment": alignment(unit_rows, labels),
    }
