"""Writes scores: `metrics.json` and `per_class.csv` beside the embeddings; all where asked for."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.metrics import ShotScores
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.json_text import read_json
from vmf_embeddings.untrusted.text import csv_cell

SCHEMA = 1


def write_beside(subject: Subject, scores: Scores, options: EvaluationOptions) -> Path:
    """Put the file's scores into `metrics.json` of its folder; other files' scores there stay."""
    path = subject.path.parent / "metrics.json"
    content = _existing(path)
    content[subject.path.name] = describe(subject, scores, options)
    write_json(path, content)
    return path


def describe(subject: Subject, scores: Scores, options: EvaluationOptions) -> dict[str, Any]:
    """The scores of one file with what they are scores of."""
    sections: dict[str, dict[str, Any]] = {
        name: dict(section) for name, section in scores.sections.items()
    }
    if "sampled_retrieval" in sections:
        sections["sampled_retrieval"] |= {"n_samples": options.samples, "seed": options.seed}
    if scores.shots is not None:
        sections["shots"] |= _describe_shots(scores.shots)
    if scores.spaces is not None and scores.spaces.clustering is not None:
        sections["clustering"] = vars(scores.spaces.clustering)
    if scores.spaces is not None and scores.spaces.log_spectra:
        sections["log_spectra"] = scores.spaces.log_spectra
    return {
        "dataset": subject.dataset,
        "split": subject.split,
        "split_hash": subject.meta("split_hash"),
        "train_identity": subject.meta("train_identity"),
        "open_set": subject.file.open_set,
        "method": subject.meta("method"),
        "objective": subject.meta("objective"),
        "geometry": subject.geometry.to_meta(),
        "seed": subject.meta("seed"),
        "epoch": subject.meta("epoch"),
        "selected_on": subject.meta("selected_on"),
        "n_rows": len(subject.file.ids),
        "n_classes": len(set(subject.file.ids.tolist())),
        "n_queries_without_positive": scores.n_without_positive,
        "embedding_dim": subject.file.embeddings.shape[1],
        "temperature": subject.file.temperature,
        **sections,
    }


def _describe_shots(shots: ShotScores) -> dict[str, Any]:
    """What the accuracies of the groups are accuracies of."""
    groups = shots.groups.items()
    return {
        "standard_error": {name: group.standard_error for name, group in groups},
        "n_classes": {name: group.n_classes for name, group in groups},
        "train_pictures": shots.thresholds.ranges(),
    }


def write_per_class(subject: Subject, shots: ShotScores) -> Path:
    """Write one line per class into `per_class.csv`, for other splits than test with a prefix."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["class", "name", "train_count", "test_count", "accuracy", "group"])
    names = subject.class_names or {}
    columns = shots.train_counts, shots.test_counts, shots.accuracy
    rows = zip(*(column.tolist() for column in columns), shots.group_names, strict=True)
    for number, (train, test, accuracy, group) in enumerate(rows):
        name = csv_cell(names.get(number, ""))
        share = "" if math.isnan(accuracy) else f"{accuracy:.6f}"
        table.writerow([number, name, train, test, share, group])
    path = subject.path.parent / f"{subject.prefix}per_class.csv"
    write_text(path, stream.getvalue())
    return path


def summarize(groups: Sequence[Group], options: EvaluationOptions) -> dict[str, Any]:
    """Every group's means and standard errors, and the scores of its files."""
    return {
        "schema": SCHEMA,
        "groups": [
            {
                "dataset": group.subjects[0].dataset,
                "split": group.subjects[0].split,
                "method": group.subjects[0].meta("method"),
                "objective": group.subjects[0].meta("objective"),
                "n_replications": len(group.subjects),
                "means": {
                    section: {name: vars(group.mean(section, name)) for name in names}
                    for section, names in group.sections().items()
                },
                "files": {
                    str(subject.path): describe(subject, scores, options)
                    for subject, scores in zip(group.subjects, group.scores, strict=True)
                },
            }
            for group in groups
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write under a temporary name and rename; NaN and infinity become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it, which replaces a link of that name."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _existing(path: Path) -> dict[str, Any]:
    """What an earlier evaluation wrote; a file that cannot be read is replaced."""
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
