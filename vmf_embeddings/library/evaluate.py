"""The scores of the command `evaluate`, of arrays instead of files."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.indexed import note_on_index
from vmf_embeddings.evaluation.options import (
    EXCLUDED,
    METRICS,
    PRECISIONS,
    RERANKINGS,
    SECTIONS,
    EvaluationOptions,
)
from vmf_embeddings.evaluation.rows import notes_on_rows
from vmf_embeddings.evaluation.scores import Scores, score
from vmf_embeddings.evaluation.significance import default_unit, describe
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.library.evaluate_arguments import (
    check_corrupted,
    check_draws,
    check_lists,
    check_names,
    check_whole,
    checked_queries,
    given_rows,
    label_text,
    labelled_file,
    named_rows,
    rerank_fields,
    with_roles,
)
from vmf_embeddings.library.search import geometry_of_meta
from vmf_embeddings.metrics.retrieval import check_ties

log = logging.getLogger(__name__)


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
    ties: str = "expected",
    queries: int | str | None = None,
    index: str | None = None,
    index_recall: float = 0.99,
    paths: ArrayLike | None = None,
    exclude_same: str | None = None,
    merge: Sequence[ArrayLike | EmbeddingFile] = (),
    ignore_labels: Sequence[object] = (),
    samples: int = 10,
    seed: int = 1234,
    dims: Sequence[int] = (),
    precision: Sequence[str] = (),
    rescore_multiplier: int = 4,
    train_embeddings: ArrayLike | EmbeddingFile | None = None,
    rerank: Sequence[str] = (),
    rerank_options: Mapping[str, float] | None = None,
    ood: Mapping[str, ArrayLike | EmbeddingFile] | None = None,
    fit_on: EmbeddingFile | None = None,
    corrupted: EmbeddingFile | None = None,
    resample: int = 0,
) -> dict[str, dict[str, Any]]:
    """Scores embeddings; the same numbers as the command `evaluate` on a file of them.

    Args:
        embeddings: [N, D], as a run's `embed` returns them; or a whole `EmbeddingFile`, whose
            logits are then scored too.
        labels: [N] classes of any type; None for an `EmbeddingFile` that has its own.
        metrics: groups of scores besides the usual ones, of "recall", "nmi", "map", "spectrum" and
            "spread"; "nmi" needs faiss.
        geometry: how rows are compared, by name or as a run's `geometry`; None = as an
            `EmbeddingFile` states, "cosine" for arrays.
        curvature: c > 0 of the Poincare ball, where `geometry` is its name.
        ks: the k of Recall@k; None = 1, 2, 4, 8.
        is_query: bool [N], rows that are searched for; None = all.
        is_gallery: bool [N], rows that are searched in; None = all.
        ties: "expected" for scores that are means over all orders of rows of equal score, "index"
            for the order of their row numbers.
        queries: how many queries are ranked, drawn at random and each against the whole gallery,
            or "all"; None = all where that takes an hour or less, else 10,000.
        index: "ivf", "ivfpq" or "hnsw", of faiss: neighbours are found approximately, and what that
            changes is measured on up to 2,000 queries. For cosine, Euclidean distance and "vmf",
            and classes of at most 1,024 rows. None = exactly.
        index_recall: fraction of the exact neighbours, 0.95 to 1, up to which the search widens.
        paths: [N] names of image files: a query is not compared with rows of the same name. None =
            those of an `EmbeddingFile`; arrays have none.
        exclude_same: "camera" or "sequence": a query is not compared with rows of its class that
            have the same one, as the `EmbeddingFile` says, instead of rows of its image.
        merge: `EmbeddingFile`s of other data, with labels, by the same network: galleries that are
            searched together with that of `embeddings`; "merged" among `metrics` is then implied.
        ignore_labels: labels that mean "no class": their rows stay in the gallery, as rows of no
            query's class, and are in no other score.
        samples: draws per item for the scores of von Mises-Fisher embeddings that need draws.
        seed: of these draws, of the queries drawn, of the index, and of the start of k-means.
        dims: lengths m: the first m coordinates are scored by themselves, and all of them.
        precision: number formats that are scored, of "float32", "int8", "uint8", "binary" and
            "ubinary"; with `dims`, of every length.
        rescore_multiplier: binary: candidates per neighbour that are compared once more.
        train_embeddings: [M, D] rows of training, which set the ranges of bytes and the principal
            components that prefixes are compared with, and which `ood` compares with; as an
            `EmbeddingFile` with labels for the detectors that need classes. None = the ranges are
            those of `embeddings`, and there are no principal components.
        rerank: ways to rank neighbours once more: "k_reciprocal", "alpha_qe", "dba".
        rerank_options: of `k1`, `k2`, `lambda` (k_reciprocal), `n` and `alpha` (the others).
        ood: name -> embeddings of other data by the same network, or an `EmbeddingFile` of them
            with logits: how well they are told from `embeddings`.
        fit_on: rows with logits and labels that are not among `embeddings`, on which "calibration"
            fits its scaling and "prior" the strength of the prior; None = neither is fitted.
        corrupted: `EmbeddingFile` of the same images at rising strengths of corruption, as
            `mode=corrupt` writes it; "corruption" among `metrics` is then implied.
        resample: draws with replacement for the 95 % interval of every score, over other rows and
            over other classes; 1000 to 2000 is usual, 0 for none.

    Returns:
        Section -> name -> value: "retrieval", "sampled_retrieval" (geometry "vmf"),
        "classification" and "shots" (of logits), "as_output" and "normalised" (of `metrics`),
        "compact" (of `dims` and `precision`; names such as "16/int8/recall@1") and "reranked" (of
        `rerank`; "k_reciprocal/map@r"), "index" (of `index`: "recall", "recall_low" and
        "recall_high" of its 95 % interval, "k", "queries", and for each score "map@r-exact", the
        mean difference to exact scores, and "map@r-exact/error"). With `index`, "retrieval" has no
        score that needs all ranks, and there is no "sampled_retrieval". Each further word of
        `metrics` is a section too, and so are "ood" and "corruption" (of `ood` and `corrupted`).
        "significance" (of `resample`): `section/name` of a score -> its interval by name, as in
        `metrics.json`: `unit`, `n`, `se`, `low`, `high` and others, those of the other unit in
        `also`.

    Raises:
        ValueError: an argument is of no use; its name and what came are in the message.
        ImportError: "nmi" or `index` without faiss.

    Example:
        >>> rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]
        >>> evaluate(rows, ["cat", "cat", "dog", "dog"], ks=[1])["retrieval"]["recall@1"]
        1.0
    """
    check_names(metrics=(metrics, (*METRICS, *SECTIONS)))
    file = with_roles(labelled_file(embeddings, labels), is_query, is_gallery, paths)
    check_ties(ties)
    if exclude_same not in (None, *EXCLUDED):
        raise ValueError(
            f"exclude_same: expected one of {', '.join(EXCLUDED)} or None, got {exclude_same!r}"
        )
    check_lists(ignore_labels=ignore_labels, ks=() if ks is None else ks, dims=dims, merge=merge)
    check_whole(ks=() if ks is None else ks, dims=dims)
    others = named_rows(ood)
    train = None if train_embeddings is None else given_rows(train_embeddings, "train_embeddings")
    train_rows = train.embeddings if isinstance(train, EmbeddingFile) else train
    check_draws(resample)
    given = {"ood": others, "merged": merge, "corruption": corrupted is not None}
    asked = {*metrics, *(section for section, value in given.items() if value)}
    if "corruption" in asked:
        check_corrupted(corrupted)
    check_names(precision=(precision, PRECISIONS), rerank=(rerank, RERANKINGS))
    options = EvaluationOptions(
        ties=ties,
        queries=checked_queries(queries),
        index=index,
        index_recall=index_recall,
        ignore_labels=tuple(label_text(label) for label in ignore_labels),
        paths=(),
        metrics=tuple(name for name in metrics if name in METRICS),
        sections=tuple(name for name in SECTIONS if name in asked),
        recall=None if ks is None else tuple(map(int, ks)),
        samples=samples,
        seed=seed,
        dims=tuple(map(int, dims)),
        precision=tuple(precision),
        rescore_multiplier=rescore_multiplier,
        calibrate_on=train_rows,
        pca_from=train_rows,
        rerank=tuple(rerank),
        merge=tuple(given_rows(rows, f"merge[{place}]") for place, rows in enumerate(merge)),
        ood=others,
        fit_on="valid" if fit_on is None else fit_on,
        train=train,
        corrupted=corrupted,
        resample=resample,
        **rerank_fields(rerank_options or {}),
    )
    name = Path("the embeddings given")
    space = geometry_of_meta(file.meta, geometry, curvature)
    evaluated = EvaluatedFile(name, name, file, space, exclude_same=exclude_same)
    scores = score(evaluated, options)
    for note in _notes(scores):
        log.warning("%s", note)
    return _sections(evaluated, scores, seed)


def _sections(evaluated: EvaluatedFile, scores: Scores, seed: int) -> dict[str, dict[str, Any]]:
    """Section -> name -> value, with intervals and what an index has changed."""
    found: dict[str, dict[str, Any]] = dict(scores.sections)
    if scores.index is not None:
        found["index"] = scores.index.numbers()
    if scores.intervals:
        unit, n_rows = default_unit(evaluated), len(evaluated.file.embeddings)
        found["significance"] = describe(scores.intervals, unit, n_rows, seed)
    return found


def _notes(scores: Scores) -> list[str]:
    """What restricts how scores may be read."""
    of_variants = [note for found in scores.tables.values() for note in found.notes]
    of_index = [] if scores.index is None else [note_on_index(scores.index)]
    return [*of_index, *notes_on_rows([scores.rows]), *of_variants]
