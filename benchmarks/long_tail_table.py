"""From the scores of several seeds to means with standard errors, and a table in Markdown."""

import statistics
from collections.abc import Sequence

COLUMNS = {
    "all": ("classification", "accuracy"),
    "many": ("shots", "many"),
    "medium": ("shots", "medium"),
    "few": ("shots", "few"),
}


def summary(scores: Sequence[dict]) -> dict[str, dict[str, float | int | None]]:
    """Mean and standard error in percent of each column over seeds.

    The standard error is that of the seeds, sqrt(sum (x - mean)^2 / (n - 1)) / sqrt(n); it says
    nothing about the choice of training or test images, which all seeds share.
    """
    found = {}
    for column, (section, name) in COLUMNS.items():
        values = [
            100 * entry[section][name] for entry in scores if name in (entry.get(section) or {})
        ]
        if values:
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            found[column] = {
                "mean": statistics.fmean(values),
                "standard_error": error,
                "n": len(values),
            }
    return found


def markdown(dataset: str, rows: Sequence[tuple[str, dict]], commands: str) -> str:
    """One data set's table and the commands behind it."""
    lines = [
        f"### {dataset}",
        "",
        "| |" + "".join(f" {c} |" for c in COLUMNS),
        "|---|" + "---|" * len(COLUMNS),
    ]
    for title, columns in rows:
        cells = [cell(columns.get(column)) for column in COLUMNS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "```", commands, "```", ""])


def cell(figure: dict | None) -> str:
    """`mean ± standard error`, one decimal each."""
    if figure is None:
        return "–"
    error = figure["standard_error"]
    return f"{figure['mean']:.1f}" + ("" if error is None else f" ± {error:.1f}")
