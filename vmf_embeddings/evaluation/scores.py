"""Scores one embedding file: classification from logits, retrieval from neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.evaluation.arguments import Options
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics import (
    accuracy,
    brier_score,
    expected_calibration_error,
    majority_recall,
    mean_map_at_r,
    negative_log_likelihood,
    probabilities,
    retrieval,
)

USUAL_KS = (1, 2, 4, 8)
# beyond these, a closed set's retrieval is scored only if it is asked for with --recall
CHEAP_ROWS = 20_000
CHEAP_ROWS_SAMPLED = 3_000


@dataclass(frozen=True)
class Scores:
    """The numbers of one file, as fractions, errors in nats or as named.

    Args:
        sections: "classification", "retrieval", "sampled_retrieval" -> name -> value.
        confidence: [N] largest predicted probability, or None without logits.
        correct: [N] whether the prediction was right, or None.
        n_without_positive: queries whose class has no other row; None where nothing was retrieved.
    """

    sections: dict[str, dict[str, float]]
    confidence: Tensor | None = field(default=None, repr=False)
    correct: Tensor | None = field(default=None, repr=False)
    n_without_positive: int | None = None


def score(subject: Subject, options: Options) -> Scores:
    """All scores that the file allows and that its size makes cheap; more with `options.recall`.

    A closed set with one row per class has no neighbours to score, unless they are asked for.
    """
    sections: dict[str, dict[str, float]] = {}
    confidence = correct = without = None
    file = subject.file
    if file.logits is not None and not file.open_set:
        predicted = probabilities(file.logits)
        confidence, guess = predicted.max(1)
        correct = guess == torch.from_numpy(file.ids)
        sections["classification"] = _classification(predicted, file.ids, confidence, correct)
    if _wants_retrieval(subject, options, CHEAP_ROWS):
        sections["retrieval"], without = _retrieval(subject, options)
    # a law can be drawn from, a point cannot
    draw = getattr(subject.geometry, "sample", None)
    if draw is not None and _wants_retrieval(subject, options, CHEAP_ROWS_SAMPLED):
        sections["sampled_retrieval"] = _sampled_retrieval(subject, options)
    return Scores(sections, confidence, correct, without)


def rows_to_compare(subject: Subject) -> Tensor:
    """The file's embeddings, projected in float64, on the fastest device that can do so."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = torch.from_numpy(subject.file.embeddings).to(device).double()
    return subject.geometry.project(rows)


def _classification(
    predicted: Tensor, labels: Any, confidence: Tensor, correct: Tensor
) -> dict[str, float]:
    def error(norm: int, binning: str) -> float:
        return expected_calibration_error(confidence, correct, norm=norm, binning=binning)

    return {
        "accuracy": accuracy(predicted, labels),
        "ece_l2_equal_mass": error(2, "equal_mass"),
        "ece_l1_equal_mass": error(1, "equal_mass"),
        "ece_l1_equal_width": error(1, "equal_width"),
        "nll": negative_log_likelihood(predicted, labels),
        "brier": brier_score(predicted, labels),
    }


def _wants_retrieval(subject: Subject, options: Options, cheap_rows: int) -> bool:
    is_main_score = subject.file.open_set or subject.file.logits is None
    cheap = len(subject.file.ids) <= cheap_rows
    has_pairs = len(set(subject.file.ids.tolist())) < len(subject.file.ids)
    return is_main_score or (cheap and has_pairs) or options.recall is not None


def _search_options(subject: Subject, options: Options) -> dict[str, Any]:
    return {
        "is_query": subject.file.is_query,
        "is_gallery": subject.file.is_gallery,
        "backend": options.search,
    }


def _retrieval(subject: Subject, options: Options) -> tuple[dict[str, float], int]:
    found = retrieval(
        rows_to_compare(subject),
        subject.file.ids,
        similarity=subject.geometry.similarity,
        metric=subject.geometry.faiss_metric,
        ks=options.recall or USUAL_KS,
        **_search_options(subject, options),
    )
    scores = {f"recall@{k}": value for k, value in found.recall.items()}
    if 1 not in found.recall:
        scores["recall@1"] = float((found.rows.first_hit == 1).double().mean())
    scores |= {"map@r": found.map_at_r, "r_precision": found.r_precision}
    return scores, found.n_without_positive


def _sampled_retrieval(subject: Subject, options: Options) -> dict[str, float]:
    """2021's vMF scores: Recall@k by majority over draws, MAP@R as a mean over fresh draws."""
    rest = _search_options(subject, options)
    generator = torch.Generator().manual_seed(options.seed)
    ks = sorted({1, *(options.recall or USUAL_KS)})
    draws = _draws(subject.geometry, subject.file.embeddings, options.samples, generator)
    recall = majority_recall(draws, subject.file.ids, ks=ks, metric="ip", **rest)
    draws = _draws(subject.geometry, subject.file.embeddings, options.samples, generator)
    map_at_r = mean_map_at_r(draws, subject.file.ids, metric="ip", **rest)
    return {**{f"recall@{k}": value for k, value in recall.items()}, "map@r": map_at_r}


def _draws(
    geometry: Geometry, embeddings: Any, n_samples: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """One draw [N, D] of every item at a time."""
    rows = torch.from_numpy(embeddings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for _ in range(n_samples):
        yield geometry.sample(rows, 1, generator)[0].to(device)
