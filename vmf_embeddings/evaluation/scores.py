"""Scores of one embedding file: classification from logits, retrieval from embeddings."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from vmf_embeddings.evaluation.class_sizes import train_counts
from vmf_embeddings.evaluation.compact import COMPACT, compact_scores
from vmf_embeddings.evaluation.context import Classified, Context
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.exact_scores import exact_retrieval, recall_ks, sampled_retrieval
from vmf_embeddings.evaluation.indexed import IndexUse, indexed_retrieval, refuse_index
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.paired import Against
from vmf_embeddings.evaluation.query_sample import drawn_queries
from vmf_embeddings.evaluation.reranked import RERANKED, refuse_reranking, reranked_scores
from vmf_embeddings.evaluation.row_pairs import named_scores
from vmf_embeddings.evaluation.row_scores import RowScore, RowSources
from vmf_embeddings.evaluation.rows import RowCounts, count_rows
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.evaluation.sections import section, wanted
from vmf_embeddings.evaluation.significance import Intervals, intervals
from vmf_embeddings.evaluation.spaces import (
    is_main_process,
    retrieved_in_spaces,
    score_spaces,
)
from vmf_embeddings.metrics import (
    RetrievalScores,
    ShotScores,
    accuracy,
    brier_score,
    expected_calibration_error,
    macro_accuracy,
    macro_f1,
    negative_log_likelihood,
    risk_coverage,
    shot_scores,
    top_k_accuracy,
)
from vmf_embeddings.metrics.calibration_chance import expected_error_if_calibrated
from vmf_embeddings.metrics.class_predictions import ClassPredictions
from vmf_embeddings.metrics.clustering import check_faiss
from vmf_embeddings.metrics.embedding_scores import SPACES, EmbeddingScores
from vmf_embeddings.search import check_backend
from vmf_embeddings.search.ranks import ProcessGroup

# closed sets with more rows are scored by retrieval only if --recall is given
CHEAP_ROWS = 20_000
CHEAP_ROWS_SAMPLED = 3_000


@dataclass(frozen=True)
class Scores:
    """Scores of one file: fractions in [0, 1], NLL in nats, others as in `docs/metrics.md`.

    Args:
        sections: "classification", "shots", "retrieval", "sampled_retrieval", "as_output",
            "normalised" -> name -> value.
        confidence: [N] largest predicted probability, or None without logits.
        correct: [N] whether the prediction was right, or None without logits.
        n_without_positive: queries whose class has no other row; None without retrieval scores.
        shots: accuracy per class and group, as in section "shots"; None unless the training set
            was long-tailed.
        spaces: what sections "as_output" and "normalised" are taken from; None unless
            `options.metrics` names scores.
        rows: what is special about the file's rows.
        sampling: where only some queries were ranked: `QuerySample.about`; else None.
        index: where ranks are approximate: the index, its recall, what it changes; else None.
        tables: "compact" (prefixes and number formats), "reranked" and the sections of
            `options.sections` -> scores in rows and columns, where options ask for them.
        row_scores: `section/name` -> score as a function of weights of rows, where
            `options.against` or `options.keep_rows` needs them.
        intervals: `section/name` -> its 95 % intervals, where `options.resample` asks for draws.
        against: differences from `options.against`.
    """

    sections: dict[str, dict[str, float]]
    confidence: Tensor | None = field(default=None, repr=False)
    correct: Tensor | None = field(default=None, repr=False)
    n_without_positive: int | None = None
    shots: ShotScores | None = field(default=None, repr=False)
    spaces: EmbeddingScores | None = field(default=None, repr=False)
    rows: RowCounts = field(default_factory=RowCounts)
    sampling: dict[str, Any] | None = field(default=None, repr=False)
    tables: dict[str, ScoreTable] = field(default_factory=dict, repr=False)
    index: IndexUse | None = field(default=None, repr=False)
    row_scores: dict[str, RowScore] = field(default_factory=dict, repr=False)
    intervals: Intervals = field(default_factory=dict, repr=False)
    against: Against | None = field(default=None, repr=False)


def score(
    evaluated: EvaluatedFile, options: EvaluationOptions, process_group: ProcessGroup | None = None
) -> Scores:
    """Scores classification if the file has logits, and retrieval unless that would take long.

    Retrieval is always scored for open sets, and with `options.recall` or `options.index`. For
    closed sets it is scored up to `CHEAP_ROWS` rows (`CHEAP_ROWS_SAMPLED` for scores over draws),
    if any two rows share a class.

    Args:
        evaluated: the file.
        options: what to score.
        process_group: processes that divide the ranking. All get its scores, but only the one of
            rank 0 those of `options.metrics`.
    """
    check_backend(options.search, evaluated.geometry.faiss_metric)
    if "nmi" in options.metrics:
        check_faiss()
    refuse_reranking(evaluated, options)
    refuse_index(evaluated, options, process_group)
    context = Context(evaluated, options)
    sections: dict[str, dict[str, float]] = {}
    found = shots = spaces = compared = sampling = index = sampled = None
    in_spaces: dict[str, RetrievalScores] = {}
    classified = context.classified
    if classified is not None:
        sections["classification"] = _classification(classified)
        shots = _shots(evaluated, classified, options)
        if shots is not None:
            sections["shots"] = {name: group.accuracy for name, group in shots.groups.items()}
    if _wants_retrieval(evaluated, options, CHEAP_ROWS):
        compared, ks = context.rows, recall_ks(options)
        if options.index is None:
            found = exact_retrieval(compared, evaluated, options, process_group)
            context.retrieved = found
        else:
            found, index = indexed_retrieval(compared, evaluated, options, ks)
        sections["retrieval"] = named_scores(found, ks, of_all_ranks=index is None)
        sample = drawn_queries(evaluated, options)
        sampling = None if sample is None else sample.about(found, options.seed)
    # geometries of distributions can be sampled from, those of points cannot
    draw = None if options.index else getattr(evaluated.geometry, "sample", None)
    if draw is not None and _wants_retrieval(evaluated, options, CHEAP_ROWS_SAMPLED):
        sampled = sampled_retrieval(evaluated, options, process_group)
        sections["sampled_retrieval"] = named_scores(sampled, recall_ks(options))
    if options.metrics:
        in_spaces = retrieved_in_spaces(evaluated, options, process_group, found)
        spaces = score_spaces(evaluated, options, process_group, in_spaces)
        sections |= {name: spaces.space(name) for name in SPACES if spaces.space(name)}
    tables = _tables(context, found, process_group)
    sections |= {name: scores.flat() for name, scores in tables.items()}
    sources = RowSources(context, found, sampled, shots, tables, in_spaces)
    row_scores = sources.scores(sections if is_main_process(process_group) else {})
    drawn = intervals(row_scores, evaluated.file.ids, options.resample, options.seed)
    return Scores(
        sections,
        confidence=None if classified is None else classified.confidence,
        correct=None if classified is None else classified.correct,
        n_without_positive=None if found is None else found.n_without_positive,
        shots=shots,
        spaces=spaces,
        rows=count_rows(evaluated, compared, found, options.ties, options.ignore_labels),
        sampling=sampling,
        tables=tables,
        index=index,
        row_scores=row_scores if options.keep_rows or options.against else {},
        intervals=drawn,
    )


def _tables(
    context: Context, found: RetrievalScores | None, process_group: ProcessGroup | None
) -> dict[str, ScoreTable]:
    """Compact embeddings, re-ranking and sections, where asked for; in the main process alone."""
    evaluated, options = context.evaluated, context.options
    tables: dict[str, ScoreTable] = {}
    if not is_main_process(process_group):
        return tables
    ks = recall_ks(options)
    if options.dims or options.precision:
        classify = partial(_of_logits, context)
        tables[COMPACT] = compact_scores(evaluated, options, ks, found, classify)
    if options.rerank:
        tables[RERANKED] = reranked_scores(evaluated, options, ks, found)
    return tables | {word: section(word).score(context) for word in wanted(context)}


def _of_logits(context: Context, logits: Tensor) -> tuple[dict[str, float], Classified]:
    """Classification scores of other logits [N, C] than the file's."""
    rows = context.kept.nonzero()[0]
    ids = context.file.ids[rows]
    classified = Classified(rows, ids, ClassPredictions(logits.numpy(), ids, rows))
    return _classification(classified), classified


def _classification(classified: Classified) -> dict[str, float]:
    predicted, labels = classified.probabilities, classified.ids
    confidence, correct = classified.confidence, classified.correct

    def error(norm: int, binning: str) -> float:
        return expected_calibration_error(confidence, correct, norm=norm, binning=binning)

    # with five classes or fewer, top-5 accuracy is always 1
    top_5 = predicted.shape[1] > 5
    return {
        "accuracy": accuracy(predicted, labels),
        **({"top_5_accuracy": top_k_accuracy(predicted, labels, 5)} if top_5 else {}),
        "macro_accuracy": macro_accuracy(predicted, labels),
        "macro_f1": macro_f1(predicted, labels),
        "ece_l2_equal_mass": error(2, "equal_mass"),
        "ece_l1_equal_mass": error(1, "equal_mass"),
        "ece_l1_equal_width": error(1, "equal_width"),
        "ece_if_calibrated": expected_error_if_calibrated(confidence),
        "nll": negative_log_likelihood(predicted, labels),
        "brier": brier_score(predicted, labels),
        "aurc": risk_coverage(confidence, ~correct).aurc,
    }


def _shots(
    evaluated: EvaluatedFile, classified: Classified, options: EvaluationOptions
) -> ShotScores | None:
    """Accuracy of many-, medium- and few-shot classes; None unless training was long-tailed."""
    predicted = classified.probabilities
    counts = train_counts(evaluated, predicted.shape[1]) if evaluated.long_tailed else None
    if counts is None:
        return None
    return shot_scores(predicted, classified.ids, counts, options.thresholds)


def _wants_retrieval(evaluated: EvaluatedFile, options: EvaluationOptions, cheap_rows: int) -> bool:
    is_main_score = evaluated.file.open_set or evaluated.file.logits is None
    is_asked_for = options.recall is not None or options.index is not None
    cheap = len(evaluated.file.ids) <= cheap_rows
    has_pairs = len(set(evaluated.file.ids.tolist())) < len(evaluated.file.ids)
    return is_main_score or (cheap and has_pairs) or is_asked_for
