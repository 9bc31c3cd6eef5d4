"""Writes scores: `metrics.json` and `per_class.csv` beside the embeddings, and one JSON of all."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.rows import RowCounts
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.significance import default_unit
from vmf_embeddings.evaluation.significance import describe as describe_intervals
from vmf_embeddings.metrics import ShotScores
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.json_text import read_json
from vmf_embeddings.untrusted.text import csv_cell

SCHEMA = 1


def write_beside(evaluated: EvaluatedFile, scores: Scores, options: EvaluationOptions) -> Path:
    """Updates the file's entry in the `metrics.json` of its folder; other entries stay."""
    path = evaluated.path.parent / "metrics.json"
    content = _existing(path)
    content[evaluated.path.name] = describe(evaluated, scores, options)
    write_json(path, content)
    return path


def describe(
    evaluated: EvaluatedFile, scores: Scores, options: EvaluationOptions
) -> dict[str, Any]:
    """The entry of one file in `metrics.json`: its scores, and what was scored."""
    sections: dict[str, dict[str, Any]] = {
        name: dict(section) for name, section in scores.sections.items()
    }
    if "sampled_retrieval" in sections:
        sections["sampled_retrieval"] |= {"n_samples": options.samples, "seed": options.seed}
    if "retrieval" in sections:
        how = "exact" if scores.index is None else "approximate, by an index"
        drawn = "" if scores.sampling is None else ", of queries drawn at random"
        about = {} if scores.index is None else scores.index.about()
        sections["retrieval_about"] = {"ranks": how + drawn, **(scores.sampling or {}), **about}
    if scores.shots is not None:
        sections["shots"] |= _describe_shots(scores.shots)
    if scores.spaces is not None and scores.spaces.clustering is not None:
        sections["clustering"] = vars(scores.spaces.clustering)
    if scores.spaces is not None and scores.spaces.log_spectra:
        sections["log_spectra"] = scores.spaces.log_spectra
    for name, found in scores.tables.items():
        sections[f"{name}_about"] = found.about
    sections |= _describe_significance(evaluated, scores, options)
    return {
        "dataset": evaluated.dataset,
        "split": evaluated.split,
        "split_hash": evaluated.meta("split_hash"),
        "train_identity": evaluated.meta("train_identity"),
        "open_set": evaluated.file.open_set,
        "method": evaluated.meta("method"),
        "objective": evaluated.meta("objective"),
        "geometry": evaluated.geometry.to_meta(),
        "seed": evaluated.meta("seed"),
        "epoch": evaluated.meta("epoch"),
        "selected_on": evaluated.meta("selected_on"),
        "n_rows": len(evaluated.file.ids),
        "n_classes": len(set(evaluated.file.ids.tolist())),
        "n_queries_without_positive": scores.n_without_positive,
        **_describe_rows(scores.rows),
        "embedding_dim": evaluated.file.embeddings.shape[1],
        "temperature": evaluated.file.temperature,
        **sections,
    }


def _describe_significance(
    evaluated: EvaluatedFile, scores: Scores, options: EvaluationOptions
) -> dict[str, dict[str, Any]]:
    """Intervals of the scores, and their differences from another run, where asked for."""
    found: dict[str, dict[str, Any]] = {}
    if scores.intervals:
        unit, n_rows = default_unit(evaluated), len(evaluated.file.ids)
        found["significance"] = describe_intervals(scores.intervals, unit, n_rows, options.seed)
    if scores.against is not None:
        found["against"] = scores.against.describe()
    return found


def _describe_rows(rows: RowCounts) -> dict[str, Any]:
    """How tied rows were ranked, and what is special about the rows."""
    return {
        "ties": rows.ties,
        "n_queries_with_ties": rows.n_tied_queries,
        "n_rows_coinciding": rows.n_coinciding,
        "n_rows_of_length_0": rows.n_zero,
        "n_queries_with_rows_of_same_image": rows.n_same_image,
        "ignored_labels": list(rows.ignored_labels),
        "n_rows_ignored": rows.n_ignored,
    }


def _describe_shots(shots: ShotScores) -> dict[str, Any]:
    """Sampling errors, numbers of classes and class sizes of many-, medium- and few-shot groups."""
    groups = shots.groups.items()
    return {
        "standard_error": {name: group.standard_error for name, group in groups},
        "n_classes": {name: group.n_classes for name, group in groups},
        "train_pictures": shots.thresholds.ranges(),
    }


def write_per_class(evaluated: EvaluatedFile, shots: ShotScores) -> Path:
    """Writes one line per class into `per_class.csv`; of other splits than test, with a prefix."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["class", "name", "train_count", "test_count", "accuracy", "group"])
    names = evaluated.class_names or {}
    columns = shots.train_counts, shots.test_counts, shots.accuracy
    rows = zip(*(column.tolist() for column in columns), shots.group_names, strict=True)
    for number, (train, test, accuracy, group) in enumerate(rows):
        name = csv_cell(names.get(number, ""))
        fraction = "" if math.isnan(accuracy) else f"{accuracy:.6f}"
        table.writerow([number, name, train, test, fraction, group])
    path = evaluated.path.parent / f"{evaluated.prefix}per_class.csv"
    write_text(path, stream.getvalue())
    return path


def write_curves(evaluated: EvaluatedFile, scores: Scores) -> Path:
    """Writes the curves of all tables into `<dataset>_<split>_curves.npz`, as `section/name`."""
    curves = {
        f"{section}/{name}": values
        for section, table in scores.tables.items()
        for name, values in table.curves.items()
    }
    path = evaluated.path.parent / evaluated.curves_name
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **curves)  # type: ignore[arg-type]
    return path


def summarize(groups: Sequence[Group], options: EvaluationOptions) -> dict[str, Any]:
    """Content of the JSON of all results: means of every group, and the scores of its files.

    The standard error of a mean over one run (`n` is 1) is NaN, which is written as null.
    """
    return {
        "schema": SCHEMA,
        "groups": [
            {
                "dataset": group.files[0].dataset,
                "split": group.files[0].split,
                "method": group.files[0].meta("method"),
                "objective": group.files[0].meta("objective"),
                "settings": group.settings,
                "n_replications": len(group.files),
                "means": {
                    section: {name: vars(group.mean(section, name)) for name in names}
                    for section, names in group.sections().items()
                },
                "files": {
                    str(evaluated.path): describe(evaluated, scores, options)
                    for evaluated, scores in zip(group.files, group.scores, strict=True)
                },
            }
            for group in groups
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Writes under a temporary name and renames; NaN and infinity become null; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n")
    return path


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it; a link of that name is replaced."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _existing(path: Path) -> dict[str, Any]:
    """Content of an earlier `metrics.json`; a new one if it is missing or no JSON object."""
    try:
        content = read_json(path)
    except (FileNotFoundError, ValueError):
        return {"schema": SCHEMA}
    return content if isinstance(content, dict) else {"schema": SCHEMA}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
