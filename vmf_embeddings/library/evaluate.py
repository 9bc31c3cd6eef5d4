"""The scores of the command `evaluate`, of arrays instead of files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings import EmbeddingFile, integer_labels
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import METRICS, EvaluationOptions
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.geometry import Geometry, from_meta
from vmf_embeddings.library.search import geometry_of


def evaluate(
    embeddings: ArrayLike | EmbeddingFile,
    labels: ArrayLike | None = None,
    metrics: Sequence[str] = (),
    *,
    geometry: str | Geometry | None = None,
    curvature: float | None = None,
    ks: Sequence[int] | None = None,
    is_query: ArrayLike | None = None,
    is_gallery: ArrayLike | None = None,
    samples: int = 10,
    seed: int = 1234,
) -> dict[str, dict[str, float]]:
    """Scores embeddings; the same numbers as the command `evaluate` on a file of them.

    Args:
        embeddings: [N, D], as a run's `embed` returns them; or a whole `EmbeddingFile`, whose
            logits are then scored too.
        labels: [N] classes of any type; None for an `EmbeddingFile`, which has its own.
        metrics: groups of scores besides the usual ones, of "recall", "nmi", "map", "spectrum" and
            "spread"; "nmi" needs faiss.
        geometry: how rows are compared, by name or as a run's `geometry`; None = as an
            `EmbeddingFile` states, "cosine" for arrays.
        curvature: c > 0 of the Poincare ball, where `geometry` is its name.
        ks: the k of Recall@k; None = 1, 2, 4, 8.
        is_query: bool [N], rows that are searched for; None = all.
        is_gallery: bool [N], rows that are searched in; None = all.
        samples: draws per item for the scores of von Mises-Fisher embeddings that need draws.
        seed: of these draws, and of the start of k-means.

    Returns:
        Section -> name -> value: "retrieval", "sampled_retrieval" (geometry "vmf"),
        "classification" and "shots" (of logits), "as_output" and "normalised" (of `metrics`).

    Raises:
        ValueError: an argument is of no use; its name and what came are in the message.
        ImportError: "nmi" without faiss.

    Example:
        >>> rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]
        >>> evaluate(rows, ["cat", "cat", "dog", "dog"], ks=[1])["retrieval"]["recall@1"]
        1.0
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or isinstance(metrics, str):
        raise ValueError(f"metrics: expected some of {', '.join(METRICS)}, got {metrics!r}")
    file = _file(embeddings, labels)
    if is_query is not None:
        file = replace(file, is_query=_flag("is_query", is_query))
    if is_gallery is not None:
        file = replace(file, is_gallery=_flag("is_gallery", is_gallery))
    options = EvaluationOptions(
        paths=(),
        metrics=tuple(metrics),
        recall=None if ks is None else tuple(ks),
        samples=samples,
        seed=seed,
    )
    name = Path("the embeddings given")
    evaluated = EvaluatedFile(name, name, file, _geometry(file, geometry, curvature))
    return score(evaluated, options).sections


def _file(embeddings: ArrayLike | EmbeddingFile, labels: ArrayLike | None) -> EmbeddingFile:
    if isinstance(embeddings, EmbeddingFile):
        if labels is not None:
            raise ValueError("labels: an EmbeddingFile has its own; leave them out")
        return embeddings
    if labels is None:
        raise ValueError("labels: expected one class per embedding")
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
        raise ValueError(
            f"embeddings: expected finite numbers [N, D], got {list(rows.shape)} of {rows.dtype}"
        )
    return EmbeddingFile(embeddings=rows, ids=integer_labels(labels)[0])


def _flag(name: str, values: ArrayLike) -> np.ndarray:
    flags = np.asarray(values)
    if flags.dtype != np.bool_:
        raise ValueError(f"{name}: expected True or False per row, got {flags.dtype}")
    return flags


def _geometry(
    file: EmbeddingFile, geometry: str | Geometry | None, curvature: float | None
) -> Geometry:
    stated = (file.meta or {}).get("geometry")
    if geometry is not None or stated is None:
        return geometry_of("cosine" if geometry is None else geometry, curvature)
    return from_meta(stated)
