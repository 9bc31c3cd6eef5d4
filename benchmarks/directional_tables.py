"""Tables of the study of directional methods: means over seeds, paired differences."""

import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from benchmarks.directional_runs import EXPECTED
from benchmarks.directional_tasks import Task
from benchmarks.study import cell
from vmf_embeddings.metrics import holm


def table(task: Task, found: dict[str, tuple[str, list[dict]]]) -> Iterator[str]:
    """Lines of Markdown: mean and standard error over seeds, paired differences from one method.

    A star says that p <= 0.05 of a paired t test, corrected for all of the table (Holm).
    """
    rows = dict(_rows(found))
    base = rows[task.baseline][1]
    differences = {
        (title, score): [
            100 * (run[score] - other[score]) for run, other in zip(runs, base, strict=True)
        ]
        for title, (_, runs) in rows.items()
        for score in task.compared
        if title != task.baseline
    }
    p_values = holm([_p_value(values) for values in differences.values()]).tolist()
    clear = {key for key, p in zip(differences, p_values, strict=True) if p <= 0.05}
    compared = (f"{score} less {task.baseline}'s (95 %)" for score in task.compared)
    head = ["", *task.columns, *compared, "rate"]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for title, (rate, runs) in rows.items():
        cells = [_mean(column, [run.get(column) for run in runs]) for column in task.columns]
        for key in ((title, score) for score in task.compared):
            known = key in differences
            cells.append(_difference(differences[key]) + "*" * (key in clear) if known else "–")
        yield f"| {' | '.join([title, *cells, rate])} |"


def _rows(
    found: dict[str, tuple[str, list[dict]]],
) -> Iterator[tuple[str, tuple[str, list[dict]]]]:
    """Title, rate, scores of the seeds; methods that draw samples twice, by draws and without."""
    for title, (rate, runs) in found.items():
        scores = [run["scores"] for run in runs]
        yield title, (rate, scores)
        if f"ECE{EXPECTED}" in scores[0]:
            own = [{name: s.get(f"{name}{EXPECTED}", s[name]) for name in s} for s in scores]
            yield title + EXPECTED, (rate, own)


def _p_value(differences: Sequence[float]) -> float:
    return float(ttest_1samp(differences, 0).pvalue) if any(differences) else 1.0


def _mean(column: str, values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None and not np.isnan(v)]
    if len(known) < len(values) or len(known) < 2:
        return "–"
    error = statistics.stdev(known) / len(known) ** 0.5
    if column.startswith("NLL"):
        return f"{statistics.fmean(known):.3f} ± {error:.3f}"
    return cell({"mean": 100 * statistics.fmean(known), "standard_error": 100 * error})


def _difference(differences: Sequence[float]) -> str:
    error = statistics.stdev(differences) / len(differences) ** 0.5
    half = float(student_t.ppf(0.975, len(differences) - 1)) * error
    return cell({"mean": statistics.fmean(differences), "half_width": half})
