"""Differences of two runs on the same rows, in words."""

import math
from collections.abc import Sequence

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.paired import LEVEL, PairedScore, rows_are_assumed
from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.significance import FEW_CLASSES
from vmf_embeddings.evaluation.significance_lines import ScoreText, number, span

ASSUMED = (
    "not every file records a hash of its rows: they are taken to be the same by their classes"
)


def against_lines(group: Group, score_text: ScoreText) -> list[str]:
    """For every file that was compared with others: a sentence per score, and what follows."""
    lines: list[str] = []
    for evaluated, scores in zip(group.files, group.scores, strict=True):
        if scores.against is None:
            continue
        found = scores.against
        runs = f" (mean of {len(found.others)} runs)" if len(found.others) > 1 else ""
        other = found.others[0].root
        lines += ["", f"  {evaluated.path.parent} against {other}{runs}, row by row"]
        for one in found.scores:
            interval = scores.intervals.get(one.key, {}).get(one.unit)
            own = None if interval is None else (interval.low, interval.high)
            lines.append(f"    {sentence(one, score_text, found.name, own)}")
        judged = [(one, one.verdict) for one in found.scores]
        lines += [f"    {line}" for line in verdict_lines(judged, score_text, found.chosen)]
        lines += [f"    {line}" for line in notes_on(found.scores)]
        if rows_are_assumed([evaluated, *found.others]):
            lines.append(f"    ({ASSUMED})")
    return lines


def sentence(
    score: PairedScore,
    score_text: ScoreText,
    other: str,
    own: tuple[float, float] | None = None,
) -> str:
    """One score and its difference, with intervals and tests.

    Args:
        score: the difference.
        score_text: words of scores.
        other: name of the first run.
        own: the interval of the second run's score.
    """
    label, scale, digits = words(score.key, score_text)
    value = f"{label} {number(score.b, scale, digits)}"
    if own is not None and not math.isnan(own[0]):
        value += f" (other {score.unit}: {span(own, scale, digits)})"
    if math.isnan(score.difference):
        return f"{value}; there is no difference"
    inside = [f"other {score.unit}: {span(score.ends[score.unit], scale, digits, '+')}"]
    if score.signs is not None:
        better, worse = score.n_better_worse
        inside.insert(
            0, f"rows better {better:,}, worse {worse:,}, sign test p {p_text(score.signs.p)}"
        )
    change = f"{scale * score.difference:+z.{digits}f}"
    verdict = f"{score.verdict} (p {p_text(score.p_holm)})"
    return f"{value}; against {other} {change} ({'; '.join(inside)}): {verdict}"


def verdict_lines(
    scores: Sequence[tuple[PairedScore, str]],
    score_text: ScoreText,
    chosen: Sequence[EvaluatedFile],
) -> list[str]:
    """What follows from all scores, each with its verdict, together."""
    by_verdict: dict[str, list[str]] = {}
    for one, verdict in scores:
        by_verdict.setdefault(verdict, []).append(words(one.key, score_text)[0])
    parts = [
        f"{verdict} in {', '.join(by_verdict[verdict])}"
        for verdict in ("better", "worse", "not told apart")
        if verdict in by_verdict
    ]
    if len(by_verdict) == 1 and "not told apart" in by_verdict:
        parts = ["not told apart in any score"]
    n_tests = sum(not math.isnan(one.p) for one, _ in scores)
    sentences = (
        [f"At 5 %, corrected for {n_tests} scores (Holm): {'; '.join(parts)}."] if parts else []
    )
    if chosen:
        names = ", ".join(str(one.path.parent) for one in chosen)
        sentences.append(
            f"Chosen here: the epoch of {names} was chosen by the rows scored, so that no test of "
            "them is valid."
        )
    return sentences


def notes_on(scores: Sequence[PairedScore]) -> list[str]:
    """What limits the tests."""
    counts = {one.n_units for one in scores if one.unit == "classes"}
    if not counts or min(counts) >= FEW_CLASSES:
        return []
    sentences = [f"(of {min(counts)} classes only: intervals over so few are too narrow)"]
    n_tests = sum(not math.isnan(one.p) for one in scores)
    least = n_tests * 2.0 ** (1 - min(counts))  # all differences of one sign
    if least > LEVEL:
        sentences.append(
            f"(over so few classes {n_tests} scores cannot be told apart: flips of signs give p >= "
            f"{p_text(min(1.0, least))}; compare --unit rows asks for other rows of these classes)"
        )
    return sentences


def words(key: str, score_text: ScoreText) -> tuple[str, float, int]:
    """Words without the sign for percent, factor, digits of a score `section/name`."""
    section, _, name = key.partition("/")
    label, scale, digits = score_text(section, name)
    label = label.replace(" %", "")
    return (f"{label} over draws" if section == "sampled_retrieval" else label), scale, digits


def p_text(p: float) -> str:
    """A probability as it is printed.

    >>> p_text(0.0412), p_text(0.00002), p_text(1.0)
    ('0.041', '< 0.001', '1')
    """
    if math.isnan(p):
        return "unknown"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
