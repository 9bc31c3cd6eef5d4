"""Puts a report together: reads runs, makes tables, charts, grids and maps, and fits its size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings.report import record
from vmf_embeddings.report.calibration import reliability_charts
from vmf_embeddings.report.classes import (
    ClassScores,
    class_scores,
    class_table,
    same_classes,
    shots_chart,
)
from vmf_embeddings.report.comparison import compared, intervals
from vmf_embeddings.report.curves import curve_charts
from vmf_embeddings.report.grids import Grid, grid, queries_of
from vmf_embeddings.report.maps import Places, map_data, most_points, places, summary
from vmf_embeddings.report.options import MOST_BYTES, ReportOptions
from vmf_embeddings.report.page import Page, plotly_script, rendered
from vmf_embeddings.report.pictures import Pictures, Sheet
from vmf_embeddings.report.rows import ShownRows, shown_rows
from vmf_embeddings.report.run import ReportedRun, load_runs
from vmf_embeddings.report.score_tables import headline, score_tables
from vmf_embeddings.report.tables import Table
from vmf_embeddings.report.training import training_charts
from vmf_embeddings.untrusted.refused import Refused

_ROOM = 50_000  # bytes that a page keeps for what is written last


@dataclass
class Part:
    """What a run shows besides tables and charts.

    Args:
        run: the run.
        shown: its rows on the map.
        at: where they are.
        pictures: its images.
        sheet: those on the map.
        grid: queries and neighbours.
        map: data of the map.
        summary: of the map.
    """

    run: ReportedRun
    shown: ShownRows
    at: Places
    pictures: Pictures
    sheet: Sheet | None = None
    grid: Grid | None = None
    map: Mapping[str, Any] | None = None
    summary: str = ""


def report(options: ReportOptions, recorded: Callable[[Path], Mapping[str, str]]) -> str:
    """The page of the runs that the options name.

    Args:
        options: what to show.
        recorded: from the folder of a run, what its checkpoint records.

    Raises:
        ValueError: a file cannot be used, or the page would be larger than it may be.
        FileNotFoundError: a path leads to no file.
        ImportError: plotly is not installed.
    """
    script = plotly_script()
    runs = load_runs(options)
    for run in runs:
        run.checkpoint = {} if run.evaluated.foreign else recorded(run.folder)
    parts = [_part(run, len(runs)) for run in runs]
    for part in parts:
        part.run.intervals = intervals(part.shown)
    scores = [class_scores(part.shown) for part in parts]
    page = Page(
        title=options.title or _title(runs),
        runs=[{"name": run.name, "title": run.evaluated.title} for run in runs],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        compared=compared(runs, parts[0].shown, [part.shown for part in parts]),
        headline=headline(runs),
        facts=record.facts(runs),
        differing=record.differing(record.configuration(runs), "differing"),
        configuration=record.configuration(runs),
        logs=[(run.name, log) for run in runs if (log := record.log_of(run))],
        training=training_charts(runs),
        scores=score_tables(runs),
        curves=[*reliability_charts(runs), *curve_charts(runs)],
        classes=_class_tables(scores),
        shots=shots_chart(scores),
        notes=[],
    )
    return _fitted(page, parts, script)


def _title(runs: Sequence[ReportedRun]) -> str:
    if len(runs) == 1:
        return runs[0].evaluated.title
    sets = dict.fromkeys(f"{run.evaluated.dataset} ({run.evaluated.split})" for run in runs)
    return f"{len(runs)} runs on {', '.join(sets)}"


def _part(run: ReportedRun, n_runs: int) -> Part:
    shown = shown_rows(run, most_points(run, n_runs))
    return Part(run, shown, places(shown), Pictures(run))


def _class_tables(scores: Sequence[ClassScores]) -> list[Table]:
    """One table for runs of the same classes, else one for each."""
    if all(same_classes(scores[0], one) for one in scores[1:]):
        return [class_table(scores, "classes")]
    tables = [class_table([one], f"classes-{n}") for n, one in enumerate(scores)]
    return [
        replace(table, caption=f"{one.run.name}: {table.caption}")
        for table, one in zip(tables, scores, strict=True)
    ]


def _fitted(page: Page, parts: Sequence[Part], script: str) -> str:
    """The page with grids and maps, and as many images on the maps as its size allows."""
    _add_grids(parts)
    for part in parts:
        part.map = map_data(part.shown, part.at, 0)
    bare = len(_written(page, parts, script).encode())
    left = MOST_BYTES - bare - _ROOM
    if left < 0:
        size = f"{(bare + _ROOM) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB"
        raise Refused(
            f"the report would have {size}: show fewer rows (--points 2000), or fewer runs"
        )
    _add_sheets(parts, left)
    return _written(page, parts, script)


def _add_grids(parts: Sequence[Part]) -> None:
    """Grids; those of runs on the same rows show the queries of the first one."""
    for part in parts:
        first = next(p for p in parts if p is part or p.run.same_rows(part.run))
        part.grid = grid(part.shown, queries_of(first.shown), part.pictures)


def _add_sheets(parts: Sequence[Part], most_bytes: int) -> None:
    """Images of the points; maps of the same rows share those of the first one."""
    firsts = [_first_of_same_rows(parts, part) for part in parts]
    each = int(most_bytes / len(set(firsts)) * 3 / 4)  # base64 takes 4 bytes for 3
    for n in sorted(set(firsts)):
        parts[n].sheet = parts[n].pictures.sheet(parts[n].shown.numbers.tolist(), each)
    for part, first in zip(parts, firsts, strict=True):
        part.sheet = parts[first].sheet
        n_pictures = 0 if part.sheet is None else part.sheet.n
        part.map = {**map_data(part.shown, part.at, n_pictures), "sheet": first}
        part.summary = summary(part.shown, part.at, n_pictures)


def _first_of_same_rows(parts: Sequence[Part], part: Part) -> int:
    """Number of the first part whose map shows the same rows, in the same order."""
    return next(
        n
        for n, other in enumerate(parts)
        if other is part
        or (
            other.run.same_rows(part.run)
            and np.array_equal(other.shown.numbers, part.shown.numbers)
        )
    )


def _written(page: Page, parts: Sequence[Part], script: str) -> str:
    for part in parts:
        part.summary = part.summary or summary(part.shown, part.at, 0)
    notes = []
    for part in parts:
        said = [*part.run.notes, *([note] if (note := part.pictures.note()) else [])]
        notes += [(part.run.name, text) for text in dict.fromkeys(said)]
    sheets = {
        n: part.sheet
        for n, part in enumerate(parts)
        if part.sheet is not None and (part.map or {}).get("sheet") == n
    }
    return rendered(replace(page, notes=notes), parts, sheets, script)
