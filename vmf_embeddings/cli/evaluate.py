"""The whole command: find files, score them, print, write `metrics.json`, draw."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vmf_embeddings.evaluation import report
from vmf_embeddings.evaluation.folders import find_embedding_files, refuse_planted
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.processes import process_group
from vmf_embeddings.evaluation.replications import Group, group, refuse_unlike
from vmf_embeddings.evaluation.results import (
    summarize,
    write_beside,
    write_json,
    write_per_class,
)
from vmf_embeddings.evaluation.scores import Scores, score
from vmf_embeddings.evaluation.subject import Subject, load_subject
from vmf_embeddings.search.ranks import ProcessGroup

LONG_ROWS = 5_000
SLOW_TO_DRAW = 1_000
MOST_FILES_DRAWN = 8


def evaluate(options: EvaluationOptions) -> int:
    """Do what the command line asked for.

    Returns:
        Exit code: 0, or 2 where the arguments or files cannot be used (said on stderr).
    """
    with process_group() as processes:
        speaks = processes.rank == 0
        try:
            files = find_embedding_files(options.paths, options.split)
            subjects = [load_subject(file, root, options) for file, root in files.items()]
            for subject in subjects:
                refuse_planted(subject.path.parent, subject.writes)
            if not options.apart:
                refuse_unlike(subjects)
            scores = _score_all(subjects, options, processes)
        except (FileNotFoundError, ValueError, ImportError) as error:
            if speaks:
                report.progress(f"evaluate: {error}")
            return 2
    if not speaks:
        return 0
    try:
        return _present(subjects, scores, options)
    except ValueError as error:
        report.progress(f"evaluate: not everything could be drawn: {error}")
        return 2
    except BrokenPipeError:
        # whoever read has gone; the interpreter must not try to flush what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _present(
    subjects: Sequence[Subject], scores: Sequence[Scores], options: EvaluationOptions
) -> int:
    """Print, write and draw; 0."""
    groups = group(subjects, scores)
    for one in groups:
        report.print_group(one, options.samples)
    report.print_differences(groups)
    report.print_written(_write(groups, options))
    return 0


def _score_all(
    subjects: Sequence[Subject], options: EvaluationOptions, processes: ProcessGroup
) -> list[Scores]:
    scores = []
    speaks = processes.rank == 0
    for number, subject in enumerate(subjects, 1):
        for note in subject.notes if speaks else ():
            report.say(note)
        n_rows = len(subject.file.ids)
        if speaks and (len(subjects) > 1 or n_rows > LONG_ROWS):
            report.progress(f"Scoring {number} of {len(subjects)}: {subject.path} ({n_rows} rows)")
        try:
            scores.append(score(subject, options, processes))
        except ValueError as error:
            raise ValueError(f"{subject.path}: {error}") from error
    return scores


def _write(groups: Sequence[Group], options: EvaluationOptions) -> list[Path]:
    """Write scores and pictures; a folder that cannot be written to is named, not fatal."""
    written: list[Path] = []
    try:
        if options.json is not None:
            write_json(options.json, summarize(groups, options))
            written.append(options.json)
        for one in groups:
            for subject, scores in zip(one.subjects, one.scores, strict=True):
                written.append(write_beside(subject, scores, options))
                if scores.shots is not None:
                    written.append(write_per_class(subject, scores.shots))
        if options.pictures:
            written.extend(_draw(groups, options))
    except OSError as error:
        report.progress(f"evaluate: not everything could be written: {error}")
    return written


def _draw(groups: Sequence[Group], options: EvaluationOptions) -> list[Path]:
    from vmf_embeddings.evaluation.figures import draw_all

    pairs = [pair for one in groups for pair in zip(one.subjects, one.scores, strict=True)]
    if len(pairs) > MOST_FILES_DRAWN:
        pairs = [(one.subjects[0], one.scores[0]) for one in groups]
        report.progress(f"Drawing the first run of each group only ({len(pairs)})")
    written = []
    for subject, scores in pairs:
        if len(subject.file.ids) > SLOW_TO_DRAW:
            report.progress(f"Drawing {subject.path.parent}")
        pictures, notes = draw_all(subject, scores, options)
        written.extend(pictures)
        for note in notes:
            report.progress(note)
    return written
