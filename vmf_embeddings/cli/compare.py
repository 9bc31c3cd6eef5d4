"""The command `compare`: runs on the same rows against the first, or a run beside its recipe."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmf_embeddings import typed
from vmf_embeddings.cli.compare_arguments import CompareOptions
from vmf_embeddings.cli.evaluate import score_all
from vmf_embeddings.cli.failures import explained
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.evaluation import report
from vmf_embeddings.evaluation.comparison import Comparison, Side, compare_sides
from vmf_embeddings.evaluation.comparison_lines import (
    comparison_csv,
    comparison_lines,
    side_lines,
)
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.folders import find_embedding_files
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.paired import check_same_rows
from vmf_embeddings.evaluation.processes import process_group
from vmf_embeddings.evaluation.published_lines import describe_published, published_lines
from vmf_embeddings.evaluation.replications import group
from vmf_embeddings.evaluation.results import write_json, write_text
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.settings import described
from vmf_embeddings.evaluation.significance import default_unit, intervals
from vmf_embeddings.untrusted.text import printable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compare(options: CompareOptions) -> int:
    """Scores the files, compares every recipe with the first, prints, and writes what is asked for.

    Returns:
        Exit code: 0; 1 if not all results could be written; 2 if files cannot be compared.
        Messages go to standard error.
    """
    try:
        by_path = _load(options)
        with process_group() as processes:
            scores = {
                path: score_all(own, options.scored, processes) for path, own in by_path.items()
            }
        if processes.rank > 0:  # it helped to rank
            return 0
        sides = _sides(by_path, scores)
        unit, seed = options.unit or default_unit(sides[0].file), options.scored.seed
        found = [compare_sides(sides[0], side, unit, options.resample, seed) for side in sides[1:]]
    except (OSError, ValueError, ImportError) as error:
        report.print_message(f"compare: {error}")
        return 2
    if not found:
        sides = [_with_intervals(sides[0], options)]
    with reader_may_leave():
        _print(sides, found, options)
    return _write(sides, found, options)


def _load(options: CompareOptions) -> dict[Path, list[EvaluatedFile]]:
    """The files below every path, checked to be of one data set and of the same rows.

    Raises:
        FileNotFoundError: a path leads to none.
        ValueError: files cannot be compared; what differs, and what to type.
    """
    scored, seen = options.scored, set()
    by_path: dict[Path, list[EvaluatedFile]] = {}
    for path in scored.paths:
        files = find_embedding_files([path], scored.split)
        new = [file for file in files if file.resolve() not in seen]
        if not new:
            raise ValueError(f"{path} leads to nothing that a path before it does not lead to")
        seen |= {file.resolve() for file in new}
        by_path[path] = [load_evaluated_file(file, path, scored) for file in new]
    every = [one for own in by_path.values() for one in own]
    for one in every[1:]:
        if None not in (one.meta("dataset"), every[0].meta("dataset")) and (
            one.dataset != every[0].dataset
        ):
            raise ValueError(
                f"{every[0].path} is of {every[0].dataset}, {one.path} of {one.dataset}: name runs "
                f"of one data set, or their files: compare {typed.argument(every[0].path)} …"
            )
        check_same_rows(every[0], one)
    return by_path


def _sides(
    by_path: dict[Path, list[EvaluatedFile]], scores: dict[Path, list[Scores]]
) -> list[Side]:
    """The recipes: runs of one path that differ in their seed alone, in the order of the paths."""
    sides: list[Side] = []
    for path, own in by_path.items():
        groups = group(own, scores[path])
        for one in groups:
            settings = f" ({described(one.settings)})" if one.settings else ""
            name = f"{printable(str(path))}{settings}"
            if len(groups) > 1 and not settings:
                name = printable(str(one.files[0].path.parent))
            if len(sides) == len(LETTERS):
                raise ValueError(f"at most {len(LETTERS)} recipes can be compared at once")
            sides.append(Side(LETTERS[len(sides)], name, one))
    return sides


def _with_intervals(side: Side, options: CompareOptions) -> Side:
    """The recipe with the intervals of a single run; several have theirs over seeds."""
    if len(side.group.files) > 1:
        return side
    (own,), ids = side.group.scores, side.file.file.ids
    drawn = intervals(own.row_scores, ids, options.resample, options.scored.seed)
    return replace(side, group=replace(side.group, scores=(replace(own, intervals=drawn),)))


def _print(
    sides: Sequence[Side], comparisons: Sequence[Comparison], options: CompareOptions
) -> None:
    lines = side_lines(sides)
    for one in comparisons:
        lines += comparison_lines(one, report.score_text, options.classes)
    if not comparisons:
        lines += published_lines(sides[0], report.score_text)
    for line in lines:
        report.print_line(line)


def _write(
    sides: Sequence[Side], comparisons: Sequence[Comparison], options: CompareOptions
) -> int:
    written: list[Path] = []
    content: dict[str, Any] = {
        "schema": 1,
        "runs": {side.letter: side.describe() for side in sides},
        "comparisons": [one.describe() for one in comparisons],
    }
    if not comparisons:
        content["beside_published"] = describe_published(sides[0])
    try:
        if options.scored.json is not None:
            written.append(write_json(options.scored.json, content))
        if options.csv is not None:
            options.csv.parent.mkdir(parents=True, exist_ok=True)
            write_text(options.csv, comparison_csv(comparisons))
            written.append(options.csv)
    except OSError as error:
        why = explained(error) or error
        report.print_message(f"compare: not everything could be written: {why}")
        return 1
    finally:
        with reader_may_leave():
            report.print_written(written)
    return 0
