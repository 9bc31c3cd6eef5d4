"""Which scores a table over runs has: those of the task, named ones, or all."""

import difflib
from collections.abc import Sequence

from vmf_embeddings.evaluation.report import score_words
from vmf_embeddings.evaluation.summary.runs import Run
from vmf_embeddings.evaluation.summary.table import Score, own_score, shown_scores

_PREFIXES = ("", "classification.", "shots.")


def chosen_scores(
    runs: Sequence[Run], names: Sequence[str], every: bool, rank_by: str | None = None
) -> list[Score]:
    """The columns of a table, the score that runs are ranked by first.

    Args:
        runs: of one data set.
        names: of scores, as in `runs.csv`, or without "classification." and "shots."; () = the
            usual ones.
        every: whether all scores that a run has follow the usual ones.
        rank_by: key of the score to rank by; None = that of the task.

    Raises:
        ValueError: no run has a score of such a name; the nearest names are listed.
    """
    usual = shown_scores(runs, rank_by)
    known = {name for run in runs for name in run.scores}
    if every:
        rest = sorted(known - {score.name for score in usual})
        return [*usual, *map(_score, rest)]
    if not names:
        return usual
    by_name = {score.name: score for score in usual}
    keys = dict.fromkeys([own_score(runs, rank_by).name, *(_key(name, known) for name in names)])
    return [by_name.get(key) or _score(key) for key in keys if key in known]


def _key(name: str, known: set[str]) -> str:
    found = [prefix + name for prefix in _PREFIXES if prefix + name in known]
    if found:
        return found[0]
    short = {key.removeprefix("classification.").removeprefix("shots.") for key in known}
    near = difflib.get_close_matches(name, short, n=5, cutoff=0.3) or sorted(short)[:8]
    raise ValueError(
        f"no run has the score {name}; there are {', '.join(near)} and others: --all shows all"
    )


def _score(key: str) -> Score:
    """How a score is shown that is none of the usual columns."""
    section, _, name = key.partition(".") if key.startswith(_PREFIXES[1:]) else ("", "", key)
    label, scale, digits, _ = score_words(section, name)
    return Score(key, label.removesuffix(" %"), scale, digits)
