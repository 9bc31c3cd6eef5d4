"""What several runs differ in, and by how much, with intervals where they are of the same rows."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vmf_embeddings.evaluation.settings import varying
from vmf_embeddings.metrics.standard_errors import error_over_classes, interval_95, wilson_95
from vmf_embeddings.report.rows import ShownRows
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.text import printable

_MOST_SETTINGS = 12
_SAME = 1e-9  # of two ways to compute one fraction
_REACH = 1.96  # standard errors on both sides of a 95 % interval


def compared(
    runs: Sequence[ReportedRun], first: ShownRows, every: Sequence[ShownRows]
) -> list[str]:
    """Sentences on the differences of runs; [] for one run."""
    if len(runs) < 2:
        return []
    return [*_settings(runs), *_data(runs), *_scores(runs, first, every)]


def intervals(shown: ShownRows) -> dict[str, tuple[float, float]]:
    """95 % intervals of accuracy and Recall@1: over rows, over classes where these are new.

    Those of Recall@1 need all queries among the rows that are shown.
    """
    run, found = shown.run, {}
    classified, ids = run.context.classified, run.evaluated.file.ids
    if classified is not None:
        right = classified.correct.double().numpy()
        found["classification/accuracy"] = wilson_95(right.sum(), len(right))
    retrieval = run.entry.get("retrieval") or {}
    value = retrieval.get("recall@1")
    asked = shown.answerable
    if len(shown.numbers) == len(ids) and asked.any() and isinstance(value, int | float):
        hit = shown.hit[asked].astype(float)
        if abs(float(hit.mean()) - value) < _SAME:  # no ties, no queries without a positive
            new = run.evaluated.file.open_set
            error = error_over_classes(hit, ids[shown.numbers[asked]])
            ends = interval_95(value, error) if new else wilson_95(hit.sum(), len(hit))
            found["retrieval/recall@1"] = ends
    return found


def _settings(runs: Sequence[ReportedRun]) -> Iterator[str]:
    keys = varying([run.evaluated.settings for run in runs])
    keys = [key for key in keys if not key.endswith("_target_")]  # follows from the name
    shown = [printable(key) for key in keys[:_MOST_SETTINGS]]
    more = f" and {len(keys) - len(shown)} more" if len(keys) > len(shown) else ""
    if keys:
        yield f"The configurations differ in {', '.join(shown)}{more} (see the table below)."
    elif all(run.evaluated.settings for run in runs):
        yield "The configurations differ in nothing but name, seed and machine."


def _data(runs: Sequence[ReportedRun]) -> Iterator[str]:
    end = ": their scores cannot be compared"
    for words, key, so in (("trained on", "train_identity", ""), ("scored on", "split_hash", end)):
        hashes = {run.evaluated.meta(key) for run in runs}
        if None in hashes:
            yield f"Whether all were {words} the same images is unknown: a file states no hash."
        elif len(hashes) > 1:
            yield f"They were {words} different images{so}."
        else:
            yield f"All were {words} the same images."


def _scores(
    runs: Sequence[ReportedRun], first: ShownRows, every: Sequence[ShownRows]
) -> Iterator[str]:
    for run, shown in zip(runs[1:], every[1:], strict=True):
        if not runs[0].same_rows(run):
            continue
        one, other = runs[0].context.classified, run.context.classified
        if one is not None and other is not None and np.array_equal(one.rows, other.rows):
            yield _sentence(
                "accuracy", runs[0], run, one.correct.numpy(), other.correct.numpy(), one.ids
            )
        if np.array_equal(first.numbers, shown.numbers):
            asked = first.answerable
            ids = run.evaluated.file.ids[first.numbers[asked]]
            yield _sentence("Recall@1", runs[0], run, first.hit[asked], shown.hit[asked], ids)


def _sentence(
    score: str,
    one: ReportedRun,
    other: ReportedRun,
    right: np.ndarray,
    its: np.ndarray,
    ids: np.ndarray,
) -> str:
    """The mean difference of paired rows, with its interval if other classes were drawn."""
    differences = its.astype(float) - right.astype(float)
    mean, error = float(differences.mean()), error_over_classes(differences, ids)
    text = (
        f"{score.capitalize() if score[0].islower() else score}: {other.name} minus {one.name} is "
        f"{100 * mean:+.2f} points on {len(ids):,} rows"
    )
    if math.isnan(error):
        return f"{text}."
    low, high = 100 * (mean - _REACH * error), 100 * (mean + _REACH * error)
    verdict = "more than chance" if low > 0 or high < 0 else "which may be chance"
    return f"{text} (95 % interval over classes {low:+.2f} to {high:+.2f}), {verdict}."
