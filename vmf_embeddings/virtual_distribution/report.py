"""A virtual-example distribution as a table of text, as JSON and as CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vmf_embeddings.evaluation.results import write_json
from vmf_embeddings.metrics.shots import GROUPS
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import csv_cell
from vmf_embeddings.virtual_distribution.distribution import Groups, Series, Softening
from vmf_embeddings.virtual_distribution.suggestion import Suggestion

SCHEMA = 1


def table(groups: Groups, series: Sequence[Series]) -> list[str]:
    """Lines of a table: the mean over each group of classes, and the ratio largest / smallest."""
    sizes, ranges = groups.sizes(), groups.thresholds.ranges()
    heads = [f"{name} {ranges[name]}" for name in sizes] + ["largest/smallest"]
    rows = [("classes", [str(size) for size in sizes.values()] + [""])]
    rows += [
        (
            each.label,
            [f"{mean:.1f}" for mean in groups.means(each.counts).values()] + [_ratio(each.counts)],
        )
        for each in [Series("training images", groups.train_counts), *series]
    ]
    first = max(len(label) for label, _ in rows)
    widths = [max(len(head), 9) for head in heads]

    def line(label: str, cells: Sequence[str]) -> str:
        columns = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        return f"  {label:<{first}}   {'   '.join(columns)}".rstrip()

    return [line("mean per class", heads)] + [line(label, cells) for label, cells in rows]


def _ratio(counts: Tensor) -> str:
    """Ratio of the largest to the smallest count; "-" if the smallest is 0."""
    smallest = float(counts.min())
    return f"{float(counts.max()) / smallest:.4g}" if smallest > 0 else "-"


def write_table(
    path: Path, groups: Groups, series: Sequence[Series], class_names: Sequence[str] | None
) -> Path:
    """Writes one line per class: its training images and the counts of every series."""
    stream = io.StringIO()
    sheet = csv.writer(stream, lineterminator="\n")
    sheet.writerow(["class", "name", "group", "train_count", *(each.label for each in series)])
    group = groups.thresholds.group(groups.train_counts).tolist()
    for number, count in enumerate(groups.train_counts.tolist()):
        name = csv_cell(class_names[number]) if class_names else ""
        values = [f"{float(each.counts[number]):.6g}" for each in series]
        sheet.writerow([number, name, GROUPS[group[number]], count, *values])
    with replacing(path) as part:
        part.write_text(stream.getvalue())
    return path


def write_numbers(
    path: Path,
    about: dict[str, Any],
    groups: Groups,
    measured: dict[Softening, Tensor],
    suggestion: Suggestion,
    compared: Sequence[Series],
) -> Path:
    """Writes all numbers as JSON.

    Args:
        path: file to write.
        about: further keys: run, data set, identity of the training images.
        groups: groups of classes.
        measured: virtual examples per class [C], by softening.
        suggestion: the suggested temperature.
        compared: virtual examples of other runs, at temperature 1.
    """
    ranges = groups.thresholds.ranges()
    content = {
        "schema": SCHEMA,
        **about,
        "n_images": int(groups.train_counts.sum()),
        "n_classes": len(groups.train_counts),
        "groups": {
            name: {"train_images": ranges[name], "n_classes": size}
            for name, size in groups.sizes().items()
        },
        "training_images": _numbers(groups, groups.train_counts),
        "virtual_examples": [
            {"temperature": each.temperature, "power": each.power, **_numbers(groups, counts)}
            for each, counts in measured.items()
        ],
        "suggested_temperature": suggestion.temperature,
        "compared": [{"run": each.label, **_numbers(groups, each.counts)} for each in compared],
    }
    write_json(path, content)
    return path


def _numbers(groups: Groups, counts: Tensor) -> dict[str, Any]:
    return {"means": groups.means(counts), "per_class": counts.tolist()}
