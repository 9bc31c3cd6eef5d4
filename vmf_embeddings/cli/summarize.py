"""The whole command: find scored runs, print tables, write CSV, draw."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.evaluation import report
from vmf_embeddings.evaluation.summary.options import DEFAULT_OUT, SummaryOptions
from vmf_embeddings.evaluation.summary.runs import Run, find_runs, recipes
from vmf_embeddings.evaluation.summary.table import table, write_recipes, write_runs
from vmf_embeddings.untrusted.files import refuse_links

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST_PREFIX = 60  # characters; a name of a file has at most 255 bytes


def summarize(options: SummaryOptions) -> int:
    """Do what the command line asked for.

    Returns:
        Exit code: 0, or 2 where paths or scores cannot be used (said on stderr).
    """
    try:
        if options.out == DEFAULT_OUT:  # nobody typed it, so a folder received may hold such a link
            refuse_links(".", options.out)
        runs = find_runs(options)
    except (FileNotFoundError, ValueError) as error:
        report.progress(f"summarize: {error}")
        return 2
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    written = []
    for dataset in datasets:
        own = [run for run in runs if run.dataset == dataset]
        _print(own, dataset, options)
        if options.pictures:
            written += _draw(own, dataset, options, several=len(datasets) > 1)
    try:
        written += [
            write_runs(runs, options.out / "runs.csv"),
            write_recipes(runs, options.out / "recipes.csv"),
        ]
    except OSError as error:
        report.progress(f"summarize: not everything could be written: {error}")
        return 2
    report.print_written(written)
    return 0


def _print(runs: Sequence[Run], dataset: str, options: SummaryOptions) -> None:
    report.say("")
    report.say(f"{dataset} ({options.split}): {_count(runs)}, mean±standard error, shares in %")
    for line in table(runs):
        report.say(f"  {line}")
    lacking = [run for run in runs if "rho@1" not in run.scores or "nmi" not in run.scores]
    if lacking:
        report.say(
            f"Note: {len(lacking)} of these runs lack scores; add them: python -m "
            f"vmf_embeddings.evaluate {lacking[0].folder} metrics=all"
        )


def _count(runs: Sequence[Run]) -> str:
    n_recipes = len(recipes(runs))
    return f"{len(runs)} run{'s' * (len(runs) != 1)} of {n_recipes} recipe{'s' * (n_recipes != 1)}"


def _draw(runs: Sequence[Run], dataset: str, options: SummaryOptions, several: bool) -> list[Path]:
    """Write the pictures of one data set; say why one is missing."""
    from vmf_embeddings.evaluation.figures.style import save, styled
    from vmf_embeddings.evaluation.summary.figures import (
        draw_correlations,
        draw_ranking,
        draw_structure,
    )

    structure = options.structure_split or options.split
    lies = "" if structure == options.split else f", structure of {structure}"
    title = f"{dataset} ({options.split}{lies}): {_count(runs)}"
    prefix = re.sub(r"\W+", "_", dataset)[:_LONGEST_PREFIX] + "_" if several else ""
    written = []
    with styled():
        figures: dict[str, Figure | None] = {
            "ranking.png": draw_ranking(runs, f"Recall@1, {dataset} ({options.split})"),
            "structure.png": draw_structure(runs, f"Recall@1 and structure, {title}"),
            "correlations.png": draw_correlations(runs, f"Correlation over runs, {title}"),
        }
        for name, figure in figures.items():
            if figure is None:
                needs = (
                    "two recipes" if name == "ranking.png" else "three runs scored by metrics=all"
                )
                report.progress(f"No {name} of {dataset}: it needs {needs}")
                continue
            options.out.mkdir(parents=True, exist_ok=True)
            written.append(save(figure, options.out / f"{prefix}{name}"))
    return written
