"""The command `evaluate`: finds files, scores them, prints, writes `metrics.json`, draws."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmf_embeddings.cli.against import compared, load_others
from vmf_embeddings.cli.failures import explained
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.evaluation import report
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.folders import find_embedding_files, refuse_planted
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.processes import process_group
from vmf_embeddings.evaluation.replications import Group, group, refuse_unlike
from vmf_embeddings.evaluation.results import (
    summarize,
    write_beside,
    write_curves,
    write_json,
    write_per_class,
)
from vmf_embeddings.evaluation.scores import Scores, score
from vmf_embeddings.search.ranks import ProcessGroup
from vmf_embeddings.untrusted.parquet import require_pyarrow

REPORT_SCORING_FROM_ROWS = 5_000
REPORT_DRAWING_FROM_ROWS = 1_000
MOST_FILES_DRAWN = 8


def evaluate(options: EvaluationOptions) -> int:
    """Scores, prints, writes and draws what the options ask for.

    Returns:
        Exit code: 0; 1 if not all results could be written; 2 if arguments or files cannot be used.
        Messages go to standard error.
    """
    with process_group() as processes:
        is_main = processes.rank == 0
        try:
            files = find_embedding_files(options.paths, options.split)
            evaluated = [load_evaluated_file(file, root, options) for file, root in files.items()]
            for one in evaluated:
                refuse_planted(one.path.parent, one.output_names)
            if options.table is not None:
                _check_table(options.table, evaluated)
            if not options.apart:
                refuse_unlike(evaluated)
            others = load_others(evaluated, options)
            scores = score_all(evaluated, options, processes)
            if others:
                other_scores = score_all(others, options, processes)
                scores = compared(evaluated, scores, others, other_scores, options)
        except (OSError, ValueError, ImportError) as error:
            if is_main:
                report.print_message(f"evaluate: {error}")
            return 2
    return _present(group(evaluated, scores), options) if is_main else 0


def _check_table(path: Path, evaluated: Sequence[EvaluatedFile]) -> None:
    """Raises ValueError, or ImportError without pyarrow, where `--table` cannot be written."""
    if len(evaluated) != 1:
        names = ", ".join(str(one.path) for one in evaluated[:3])
        raise ValueError(
            f"--table {path} takes the rows of one file, and {len(evaluated)} are scored "
            f"({names}, …): name one of them"
        )
    if path.exists() and any(path.samefile(one.path) for one in evaluated):
        raise ValueError(f"--table {path} is the file that is scored: name another one")
    if path.is_dir():
        raise ValueError(f"--table {path} is a folder: name a file that ends in .parquet")
    require_pyarrow(path)


def _present(groups: Sequence[Group], options: EvaluationOptions) -> int:
    """Prints the scores, writes them, draws; returns the exit code."""
    with reader_may_leave():
        if options.script_of_2021 is None:
            report.print_headline(groups)
        for one in groups:
            report.print_group(one, options)
        report.print_differences(groups)
    output = _Output()
    _write(groups, options, output)
    try:
        if options.figures:
            _draw(groups, options, output)
    except ValueError as error:
        report.print_message(f"evaluate: not every figure could be drawn: {error}")
        return 2
    finally:
        with reader_may_leave():
            report.print_written(output.written)
    return 1 if output.failed else 0


class _Output:
    """What was written, and whether something could not be: the rest is written all the same."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self.failed = False

    def write(self, write: Callable[..., Path], *arguments: object) -> None:
        """Writes one file and remembers its path."""
        with self.errors():
            self.written.append(write(*arguments))

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Prints an `OSError` and remembers that there was one."""
        try:
            yield
        except OSError as error:
            self.failed = True
            why = explained(error) or error
            report.print_message(f"evaluate: not everything could be written: {why}")


def score_all(
    evaluated: Sequence[EvaluatedFile], options: EvaluationOptions, processes: ProcessGroup
) -> list[Scores]:
    """Scores files one after the other, and says on standard error which one where it takes long.

    Raises:
        ValueError: a file cannot be scored; its name comes first.
    """
    scores = []
    is_main = processes.rank == 0
    for number, one in enumerate(evaluated, 1):
        with reader_may_leave():
            for note in one.notes if is_main else ():
                report.print_line(note)
        n_rows = len(one.file.ids)
        if is_main and (len(evaluated) > 1 or n_rows > REPORT_SCORING_FROM_ROWS):
            count = f"{number} of {len(evaluated)}"
            report.print_message(f"Scoring {count}: {one.path} ({n_rows} rows)")
        try:
            scores.append(score(one, options, processes))
        except ValueError as error:
            raise ValueError(f"{one.path}: {error}") from error
    return scores


def _write(groups: Sequence[Group], options: EvaluationOptions, output: _Output) -> None:
    """Writes the scores of every file beside it, of all to `--json`, and rows to `--table`."""
    path = options.json
    if path is not None:
        output.write(write_json, path, summarize(groups, options))
    if options.table is not None:
        from vmf_embeddings.evaluation.row_table import write_row_table

        output.write(write_row_table, groups[0].files[0], options.table, options)
    for one in groups:
        for evaluated, scores in zip(one.files, one.scores, strict=True):
            output.write(write_beside, evaluated, scores, options)
            if scores.shots is not None:
                output.write(write_per_class, evaluated, scores.shots)
            if any(table.curves for table in scores.tables.values()):
                output.write(write_curves, evaluated, scores)


def _draw(groups: Sequence[Group], options: EvaluationOptions, output: _Output) -> None:
    """Draws the figures of every file, or where there are many files of one in each group."""
    from vmf_embeddings.evaluation.figures import draw_all

    pairs = [pair for one in groups for pair in zip(one.files, one.scores, strict=True)]
    if len(pairs) > MOST_FILES_DRAWN:
        pairs = [(one.files[0], one.scores[0]) for one in groups]
        report.print_message(f"Drawing the first run of each group only ({len(pairs)})")
    for evaluated, scores in pairs:
        if len(evaluated.file.ids) > REPORT_DRAWING_FROM_ROWS:
            report.print_message(f"Drawing {evaluated.path.parent}")
        with output.errors():
            figures, notes = draw_all(evaluated, scores, options)
            output.written += figures
            for note in notes:
                report.print_message(note)
