"""The command `summarize`: finds scored runs, prints tables, writes CSV, draws figures."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings import typed
from vmf_embeddings.cli.failures import explained
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.evaluation import report
from vmf_embeddings.evaluation.results import write_text
from vmf_embeddings.evaluation.summary.columns import chosen_scores
from vmf_embeddings.evaluation.summary.formats import WRITERS
from vmf_embeddings.evaluation.summary.options import DEFAULT_OUT, RANKINGS, SummaryOptions
from vmf_embeddings.evaluation.summary.runs import Run, find_runs, recipes
from vmf_embeddings.evaluation.summary.table import (
    Score,
    cells,
    own_score,
    table,
    write_recipes,
    write_runs,
)
from vmf_embeddings.progress import Progress
from vmf_embeddings.untrusted.files import refuse_links

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ERROR_WORDS = {"t": "half of the 95 % interval over runs (Student)", "se": "standard error"}
_LONGEST_PREFIX = 60  # characters; file names have at most 255 bytes


def summarize(options: SummaryOptions) -> int:
    """Prints one table per data set, draws figures, writes `runs.csv` and `recipes.csv`.

    Returns:
        Exit code: 0; 1 if not everything could be written; 2 if paths or scores cannot be used.
        Messages go to standard error.
    """
    try:
        if options.out == DEFAULT_OUT:  # not typed: in a received folder it may be a planted link
            refuse_links(".", options.out)
        with Progress("Reading the scores of runs"):
            runs = find_runs(options)
        _refuse_unknown_ranking(runs, options)
        for own in _by_dataset(runs).values():
            _columns(own, options)
    except (OSError, ValueError) as error:
        report.print_message(f"summarize: {error}")
        return 2
    with reader_may_leave():
        for dataset, own in _by_dataset(runs).items():
            _print(own, dataset, options)
    written: list[Path] = []
    try:
        for path in _write(runs, options):
            written.append(path)
    except OSError as error:
        why = explained(error) or error
        report.print_message(f"summarize: not everything could be written: {why}")
        return 1
    finally:
        with reader_may_leave():
            report.print_written(written)
    return 0


def _refuse_unknown_ranking(runs: Sequence[Run], options: SummaryOptions) -> None:
    """Refuses to rank by a score that no run of a data set has."""
    for dataset, own in _by_dataset(runs).items() if options.rank_by else ():
        if not any(RANKINGS[options.rank_by or ""] in run.scores for run in own):
            known = [name for name, key in RANKINGS.items() if any(key in r.scores for r in own)]
            add = typed.command("evaluate", typed.argument(own[0].folder), "metrics=all")
            raise ValueError(
                f"no run of {dataset} has the score {options.rank_by}; rank by one of "
                f"{', '.join(known)}, or add scores: {add}"
            )


def _by_dataset(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by data set, in the order of their first run."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


def _write(runs: Sequence[Run], options: SummaryOptions) -> Iterator[Path]:
    """Writes tables and figures, and yields each path once its file is there."""
    yield write_runs(runs, options.out / "runs.csv")
    yield write_recipes(runs, options.out / "recipes.csv")
    by_dataset = _by_dataset(runs)
    prefixes = _prefixes(list(by_dataset))
    for dataset, own in by_dataset.items():
        prefix = prefixes.get(dataset, "")
        for name in options.formats:
            yield _write_table(own, dataset, options, name, prefix)
        if options.figures:
            yield from _draw(own, dataset, options, prefix)


def _write_table(
    runs: Sequence[Run], dataset: str, options: SummaryOptions, format_: str, prefix: str
) -> Path:
    """Writes the printed table in another format; returns the path."""
    ending, text_of = WRITERS[format_]
    path = options.out / f"{prefix}table.{ending}"
    known = cells(runs, _ranking(options), scores=_columns(runs, options), error=options.error)
    write_text(path, text_of(known, _title(runs, dataset, options)))
    return path


def _columns(runs: Sequence[Run], options: SummaryOptions) -> list[Score]:
    return chosen_scores(runs, options.scores, options.every, _ranking(options))


def _title(runs: Sequence[Run], dataset: str, options: SummaryOptions) -> str:
    error = _ERROR_WORDS[options.error]
    return f"{dataset} ({options.split}): {_count(runs)}; mean±{error}, without it n = 1; " + (
        "fractions in %"
    )


def _print(runs: Sequence[Run], dataset: str, options: SummaryOptions) -> None:
    report.print_line("")
    report.print_line(_title(runs, dataset, options))
    columns = _columns(runs, options)
    for line in table(runs, _ranking(options), scores=columns, error=options.error):
        report.print_line(f"  {line}")
    lacking = [run for run in runs if "rho@1" not in run.scores or "nmi" not in run.scores]
    if lacking:
        report.print_line(
            f"Note: {len(lacking)} of these runs lack scores; add them: "
            + typed.command("evaluate", typed.argument(lacking[0].folder), "metrics=all")
        )


def _count(runs: Sequence[Run]) -> str:
    n_recipes = len(recipes(runs))
    return f"{len(runs)} run{'s' * (len(runs) != 1)} of {n_recipes} recipe{'s' * (n_recipes != 1)}"


def _ranking(options: SummaryOptions) -> str | None:
    return None if options.rank_by is None else RANKINGS[options.rank_by]


def _prefixes(datasets: Sequence[str]) -> dict[str, str]:
    """What names of figures begin with, different for every data set; empty for the only one.

    >>> _prefixes(["a-b", "a b", "c"])
    {'a-b': 'a_b_', 'a b': 'a_b_2_', 'c': 'c_'}
    """
    found: dict[str, str] = {}
    for dataset in datasets if len(datasets) > 1 else ():
        stem = re.sub(r"\W+", "_", dataset)[:_LONGEST_PREFIX]
        taken = {prefix.casefold() for prefix in found.values()}  # some file systems ignore case
        numbers = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        names = (f"{stem}{number}_" for number in numbers)
        found[dataset] = next(name for name in names if name.casefold() not in taken)
    return found


def _draw(
    runs: Sequence[Run], dataset: str, options: SummaryOptions, prefix: str
) -> Iterator[Path]:
    """Draws the figures of one data set; prints why one is missing."""
    from vmf_embeddings.evaluation.figures.style import save, styled
    from vmf_embeddings.evaluation.summary.figures import (
        draw_correlations,
        draw_ranking,
        draw_structure,
    )

    structure = options.structure_split or options.split
    other = "" if structure == options.split else f", structure of {structure}"
    title = f"{dataset} ({options.split}{other}): {_count(runs)}"
    score = own_score(runs, _ranking(options))
    with styled():
        figures: dict[str, Figure | None] = {
            "ranking.png": draw_ranking(
                runs, f"{score.title} %, {dataset} ({options.split})", _ranking(options)
            ),
            "structure.png": draw_structure(runs, f"Recall@1 and structure, {title}"),
            "correlations.png": draw_correlations(runs, f"Correlation over runs, {title}"),
        }
        for name, figure in figures.items():
            if figure is None:
                needs = (
                    "two recipes" if name == "ranking.png" else "three runs scored by metrics=all"
                )
                report.print_message(f"No {name} of {dataset}: it needs {needs}")
                continue
            options.out.mkdir(parents=True, exist_ok=True)
            yield save(figure, options.out / f"{prefix}{name}")
