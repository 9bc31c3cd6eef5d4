"""Scores one embedding file: classification from logits, retrieval from ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.progress import Progress
from vmf_embeddings.evaluation.spaces import is_follower, own_space, score_spaces, space_ks
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics import (
    MarginalScores,
    RetrievalScores,
    ShotScores,
    accuracy,
    brier_score,
    expected_calibration_error,
    macro_accuracy,
    macro_f1,
    marginal_retrieval,
    negative_log_likelihood,
    probabilities,
    retrieval,
    shot_scores,
    top_k_accuracy,
)
from vmf_embeddings.metrics.clustering import check_faiss
from vmf_embeddings.metrics.embedding_scores import CUTOFFS, SPACES, EmbeddingScores
from vmf_embeddings.search import check_backend
from vmf_embeddings.search.ranks import ProcessGroup

USUAL_KS = (1, 2, 4, 8)
# beyond these, a closed set's retrieval is scored only if it is asked for with --recall
CHEAP_ROWS = 20_000
CHEAP_ROWS_SAMPLED = 3_000
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Scores:
    """The numbers of one file, as fractions, errors in nats or as named.

    Args:
        sections: "classification", "shots", "retrieval", "sampled_retrieval", "as_output",
            "normalised" -> name -> value.
        confidence: [N] largest predicted probability, or None without logits.
        correct: [N] whether the prediction was right, or None.
        n_without_positive: queries whose class has no other row; None where nothing was retrieved.
        shots: what the section of that name comes from; None unless the run was long-tailed.
        spaces: what the last two sections come from; None unless metrics were named.
    """

    sections: dict[str, dict[str, float]]
    confidence: Tensor | None = field(default=None, repr=False)
    correct: Tensor | None = field(default=None, repr=False)
    n_without_positive: int | None = None
    shots: ShotScores | None = field(default=None, repr=False)
    spaces: EmbeddingScores | None = field(default=None, repr=False)


def score(
    subject: Subject, options: EvaluationOptions, process_group: ProcessGroup | None = None
) -> Scores:
    """All scores that the file allows and that its size makes cheap; more with `options.recall`.

    A closed set with one row per class has no neighbours to score, unless they are asked for.

    Args:
        subject: the file.
        options: of the command line.
        process_group: processes that divide the work; each gets all scores.
    """
    check_backend(options.search, subject.geometry.faiss_metric)
    if "nmi" in options.metrics:
        check_faiss()
    sections: dict[str, dict[str, float]] = {}
    confidence = correct = found = shots = spaces = None
    file = subject.file
    if file.logits is not None and not file.open_set:
        predicted = probabilities(file.logits)
        confidence, guess = predicted.max(1)
        correct = guess == torch.from_numpy(file.ids)
        sections["classification"] = _classification(predicted, file.ids, confidence, correct)
        if subject.long_tailed:
            shots = _shots(subject, predicted, options)
            sections["shots"] = {name: group.accuracy for name, group in shots.groups.items()}
    if _wants_retrieval(subject, options, CHEAP_ROWS):
        found = _retrieval(subject, options, process_group)
        sections["retrieval"] = _named(found, _usual_ks(options))
    # a law can be drawn from, a point cannot
    draw = getattr(subject.geometry, "sample", None)
    if draw is not None and _wants_retrieval(subject, options, CHEAP_ROWS_SAMPLED):
        sections["sampled_retrieval"] = _sampled_retrieval(subject, options, process_group)
    if options.metrics:
        spaces = score_spaces(subject, options, process_group, found)
        sections |= {name: spaces.space(name) for name in SPACES if spaces.space(name)}
    without = None if found is None else found.n_without_positive
    return Scores(sections, confidence, correct, without, shots, spaces)


def rows_to_compare(subject: Subject) -> Tensor:
    """The file's embeddings, projected in float64, on the fastest device that can do so.

    Rows that the geometry compares as they are stay in float32, which loses nothing of them.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = torch.from_numpy(subject.file.embeddings).to(device)
    project = subject.geometry.project
    if project(rows[:1]).data_ptr() == rows.data_ptr():
        return rows
    # by blocks: a copy in float64 of the rows before projection would double the memory
    projected = torch.empty(rows.shape, dtype=torch.float64, device=device)
    for target, part in zip(projected.split(_BLOCK_ROWS), rows.split(_BLOCK_ROWS), strict=True):
        target.copy_(project(part.double()))
    return projected


def _classification(
    predicted: Tensor, labels: Any, confidence: Tensor, correct: Tensor
) -> dict[str, float]:
    def error(norm: int, binning: str) -> float:
        return expected_calibration_error(confidence, correct, norm=norm, binning=binning)

    # with five classes or fewer the five best are all
    top_5 = predicted.shape[1] > 5
    return {
        "accuracy": accuracy(predicted, labels),
        **({"top_5_accuracy": top_k_accuracy(predicted, labels, 5)} if top_5 else {}),
        "macro_accuracy": macro_accuracy(predicted, labels),
        "macro_f1": macro_f1(predicted, labels),
        "ece_l2_equal_mass": error(2, "equal_mass"),
        "ece_l1_equal_mass": error(1, "equal_mass"),
        "ece_l1_equal_width": error(1, "equal_width"),
        "nll": negative_log_likelihood(predicted, labels),
        "brier": brier_score(predicted, labels),
    }


def _shots(subject: Subject, predicted: Tensor, options: EvaluationOptions) -> ShotScores:
    """Scores of the classes with many, some and few training pictures.

    A network may tell apart more classes than it was shown: those had no picture.
    """
    counts = torch.zeros(predicted.shape[1], dtype=torch.int64)
    known = torch.tensor(subject.train_counts)
    if len(known) > len(counts):
        raise ValueError(
            f"train_class_counts has {len(known)} classes, the logits {len(counts)}: write the "
            "file again with mode=get_embeddings"
        )
    counts[: len(known)] = known
    return shot_scores(predicted, subject.file.ids, counts, options.thresholds)


def _wants_retrieval(subject: Subject, options: EvaluationOptions, cheap_rows: int) -> bool:
    is_main_score = subject.file.open_set or subject.file.logits is None
    cheap = len(subject.file.ids) <= cheap_rows
    has_pairs = len(set(subject.file.ids.tolist())) < len(subject.file.ids)
    return is_main_score or (cheap and has_pairs) or options.recall is not None


def _usual_ks(options: EvaluationOptions) -> list[int]:
    return sorted({1, *(options.recall or USUAL_KS)})


def _retrieval(
    subject: Subject, options: EvaluationOptions, process_group: ProcessGroup | None
) -> RetrievalScores:
    watch = Progress(f"Ranking {len(subject.file.ids)} rows", quiet=is_follower(process_group))
    # ranks that a space of metrics= needs too are taken once
    shared = own_space(subject) is not None and {"recall", "map"} & set(options.metrics)
    found = retrieval(
        rows_to_compare(subject),
        subject.file.ids,
        similarity=subject.geometry.similarity,
        metric=subject.geometry.faiss_metric,
        ks=sorted({*_usual_ks(options), *space_ks(options)}),
        is_query=subject.file.is_query,
        is_gallery=subject.file.is_gallery,
        cutoffs=CUTOFFS if shared else (),
        process_group=process_group,
        progress=watch,
    )
    watch.close()
    return found


def _sampled_retrieval(
    subject: Subject, options: EvaluationOptions, process_group: ProcessGroup | None
) -> dict[str, float]:
    """2021's vMF scores: Recall@k by majority over draws, MAP@R as a mean over the same draws."""
    watch = Progress(
        f"Ranking {options.samples} draws", options.samples, quiet=is_follower(process_group)
    )
    generator = torch.Generator().manual_seed(options.seed)
    draws = _draws(subject.geometry, subject.file.embeddings, options.samples, generator)
    found = marginal_retrieval(
        draws,
        subject.file.ids,
        metric="ip",
        ks=_usual_ks(options),
        is_query=subject.file.is_query,
        is_gallery=subject.file.is_gallery,
        process_group=process_group,
        progress=watch,
    )
    watch.close()
    return _named(found, _usual_ks(options))


def _named(found: RetrievalScores | MarginalScores, ks: Sequence[int]) -> dict[str, float]:
    """Scores by their names in metrics.json."""
    return {
        **{f"recall@{k}": found.recall[k] for k in ks},
        "map@r": found.map_at_r,
        "r_precision": found.r_precision,
        "mean_average_precision": found.mean_average_precision,
        "mean_reciprocal_rank": found.mean_reciprocal_rank,
    }


def _draws(
    geometry: Geometry, embeddings: Any, n_samples: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """One draw [N, D] of every item at a time."""
    rows = torch.from_numpy(embeddings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for _ in range(n_samples):
        yield geometry.sample(rows, 1, generator)[0].to(device)
