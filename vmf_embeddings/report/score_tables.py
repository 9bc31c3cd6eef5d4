"""Tables of scores: every section of `metrics.json`, those of later versions too."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmf_embeddings.evaluation import sections
from vmf_embeddings.evaluation.compact_tables import TABLES
from vmf_embeddings.evaluation.report import score_words
from vmf_embeddings.evaluation.score_table import TableText
from vmf_embeddings.evaluation.section_titles import COMPARED, SPACES
from vmf_embeddings.evaluation.table_lines import rows_of
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.report.tables import NONE, Cell, Table, number, words
from vmf_embeddings.untrusted.text import printable

_TITLES = {"classification": "Classification and calibration", **SPACES}
_FIRST = ("classification", "shots", "retrieval", "sampled_retrieval", *SPACES)
_NO_SCORES = ("significance", "clustering", "log_spectra", "geometry", "objective")
_MAIN = (
    ("classification", "accuracy"),
    ("classification", "ece_l1_equal_width"),
    ("shots", "few"),
    ("retrieval", "recall@1"),
    ("retrieval", "map@r"),
)
# beginnings of the names of scores of which a smaller, or a larger one, is better
_SMALLER = ("ece_l", "nll", "brier", "aurc", "e_aurc", "normalised_aurc", "augrc", "fpr")
_LARGER = (
    *("accuracy", "top_", "macro_", "many", "medium", "few", "recall@", "map", "r_precision"),
    *("mean_average", "mean_reciprocal", "nmi", "f1", "auroc", "aupr", "ami", "ari", "ndcg"),
)
_MOST_ROWS = 500
_MOST_SECTIONS = 60
_LONGEST_ABOUT = 600  # characters


def score_tables(runs: Sequence[ReportedRun]) -> list[Table]:
    """One table for every section of scores that a run has."""
    names = [name for run in runs for name, own in run.entry.items() if _is_scores(name, own)]
    order = [name for name in (*_FIRST, *dict.fromkeys(names)) if name in names]
    return [
        _table(runs, name, n) for n, name in enumerate(list(dict.fromkeys(order))[:_MOST_SECTIONS])
    ]


def headline(runs: Sequence[ReportedRun]) -> Table:
    """The main scores of every run, one row each."""
    known = [
        (section, name) for section, name in _MAIN
        if any(_is_number((run.entry.get(section) or {}).get(name)) for run in runs)
    ]  # fmt: skip
    texts = [score_words(section, name) for section, name in known]
    rows = [
        [words(run.name),
         *(_value(run, section, name, scale, digits)
           for (section, name), (_, scale, digits, _) in zip(known, texts, strict=True))]
        for run in runs
    ]  # fmt: skip
    return Table("headline", "Main scores", ["run", *(label for label, *_ in texts)], rows)


def _is_scores(name: str, section: Any) -> bool:
    return (
        isinstance(section, Mapping)
        and name not in _NO_SCORES
        and not name.endswith("_about")
        and any(_is_number(value) for value in section.values())
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(runs: Sequence[ReportedRun], section: str, place: int) -> Table:
    key = f"scores-{place}"
    about = list(_about(runs, section))
    if _is_table(runs, section):
        return _rows_and_columns(runs, section, key, about)
    return _one_row_each(runs, section, key, about)


def _is_table(runs: Sequence[ReportedRun], section: str) -> bool:
    known = section in TABLES or sections.is_section(section)
    return known or any("/" in name for run in runs for name in run.entry.get(section) or {})


def _one_row_each(
    runs: Sequence[ReportedRun], section: str, key: str, about: Sequence[str]
) -> Table:
    """A row for each score, a column for each run, and its differences from the first one."""
    names, alike = _numbers_of(runs, section), _comparable(runs)
    hidden = {f"{name}{end}" for name in names for end in ("_low", "_high")}
    rows = []
    for name in [name for name in names if name not in hidden][:_MOST_ROWS]:
        label, scale, digits, meaning = score_words(section, name)
        cells = [_value(run, section, name, scale, digits) for run in runs]
        if alike:
            differences = _differences(runs, section, name, scale, digits)
            cells = [*_best(cells, name), *differences]
        rows.append([words(label), *cells, words(meaning)])
    heads = [f"{run.name} − {runs[0].name}" for run in (runs[1:] if alike else ())]
    head = ["score", *(run.name for run in runs), *heads, "meaning"]
    return Table(key, _title(runs, section), head, rows, about)


def _comparable(runs: Sequence[ReportedRun]) -> bool:
    """Whether no two runs state that they were scored on different images."""
    return len({run.evaluated.meta("split_hash") for run in runs} - {None}) < 2


def _numbers_of(runs: Sequence[ReportedRun], section: str) -> list[str]:
    """Names of the scores of a section, of all runs, in the order of the first that has them."""
    found: dict[str, None] = {}
    for run in runs:
        own = run.entry.get(section)
        for name, value in own.items() if isinstance(own, Mapping) else ():
            if (_is_number(value) or value is None) and name not in ("n_samples", "seed"):
                found[name] = None
    return list(found)


def _value(run: ReportedRun, section: str, name: str, scale: float, digits: int) -> Cell:
    """A score with its 95 % interval, where one is known; a plain number otherwise."""
    own = run.entry.get(section)
    value = own.get(name) if isinstance(own, Mapping) else None
    cell = number(value if _is_number(value) else None, scale, digits)
    ends = _interval(run, section, name)
    if ends is None or cell.value is None:
        return cell
    low, high = (number(end, scale, digits).text for end in ends)
    return Cell(cell.text, cell.value, interval=f"({low} to {high})")


def _interval(run: ReportedRun, section: str, name: str) -> tuple[float, float] | None:
    own = run.entry.get(section) or {}
    ends = own.get(f"{name}_low"), own.get(f"{name}_high")
    found = (run.entry.get("significance") or {}).get(f"{section}/{name}")
    if isinstance(found, Mapping):
        ends = found.get("low"), found.get("high")
    if None in ends:
        ends = run.intervals.get(f"{section}/{name}", (None, None))
    return ends if all(_is_number(end) and math.isfinite(end) for end in ends) else None  # type: ignore[return-value,arg-type]


def _best(cells: Sequence[Cell], name: str) -> list[Cell]:
    """The cells, of which the best is marked where there are several."""
    known = [float(cell.value) for cell in cells if cell.is_number]  # type: ignore[arg-type]
    if len(known) < 2 or min(known) == max(known):
        return list(cells)
    if not name.startswith((*_SMALLER, *_LARGER)):
        return list(cells)
    best = min(known) if name.startswith(_SMALLER) else max(known)
    return [replace(cell, best=cell.value == best) for cell in cells]


def _differences(
    runs: Sequence[ReportedRun], section: str, name: str, scale: float, digits: int
) -> Iterator[Cell]:
    values = [(run.entry.get(section) or {}).get(name) for run in runs]
    for value in values[1:]:
        both = _is_number(value) and _is_number(values[0])
        yield number(value - values[0] if both else None, scale, digits, sign=True)


def _rows_and_columns(
    runs: Sequence[ReportedRun], section: str, key: str, about: Sequence[str]
) -> Table:
    """The rows of a table of scores, of every run below one another, and its columns."""
    text = _text(runs, section)
    names = _numbers_of(runs, section)
    present = {name.rpartition("/")[2] for name in names}
    columns = [c for c in text.columns if c in present and not _is_end(c, present)]
    several = len(runs) > 1
    rows = []
    for row in list(rows_of(names))[:_MOST_ROWS]:
        for run in runs:
            own = run.entry.get(section) or {}
            if any(f"{row}/{c}" in own or (not row and c in own) for c in columns):
                cells = [_cell(run, section, f"{row}/{c}" if row else c, text, c) for c in columns]
                rows.append(
                    [words(_label(text, row)), *([words(run.name)] if several else []), *cells]
                )
    head = [text.head, *(["run"] if several else []), *(text.columns[c][0] for c in columns)]
    return Table(key, text.title, head, rows, about)


def _is_end(column: str, present: set[str]) -> bool:
    """Whether a column is an end of the interval of another one, which shows it."""
    return column.endswith(("_low", "_high")) and column.rpartition("_")[0] in present


def _text(runs: Sequence[ReportedRun], section: str) -> TableText:
    """How a section's table is shown: as `evaluate` prints it, or by its own names."""
    if section in TABLES:
        return TABLES[section]
    if sections.is_section(section):
        return sections.section(section).TABLE
    names = {name.rpartition("/")[2] for name in _numbers_of(runs, section)}
    columns = {name: score_words(section, name)[:3] for name in sorted(names)}
    return TableText(_title(runs, section), "row", columns)


def _cell(run: ReportedRun, section: str, name: str, text: TableText, column: str) -> Cell:
    _, scale, digits = text.columns[column]
    return _value(run, section, name, scale, digits)


def _label(text: TableText, row: str) -> str:
    """The words of a row; a row that another version wrote may be one that has none."""
    try:
        return text.label(row) or NONE
    except (KeyError, ValueError, IndexError):
        return row


def _title(runs: Sequence[ReportedRun], section: str) -> str:
    if section in _TITLES:
        return _TITLES[section]
    if section == "shots":
        return "Accuracy by number of training images"
    if section == "retrieval":
        by = list(dict.fromkeys(COMPARED[run.evaluated.geometry.name] for run in runs))
        return f"Retrieval by {by[0]}" if len(by) == 1 else "Retrieval, each run by its geometry"
    if section == "sampled_retrieval":
        draws = {(run.entry.get(section) or {}).get("n_samples") for run in runs} - {None}
        return f"Retrieval, marginalised over {', '.join(map(str, sorted(draws, key=str)))} draws"
    return printable(section.replace("_", " ").capitalize())[:200]


def _about(runs: Sequence[ReportedRun], section: str) -> Iterator[str]:
    """What the scores depend on, from `<section>_about` and what stands beside the numbers."""
    for run in runs:
        if text := _interval_words(run, section):
            yield f"{run.name}: {text}" if len(runs) > 1 else text
        about = run.entry.get(f"{section}_about")
        own = run.entry.get(section)
        beside = (
            {k: v for k, v in own.items() if isinstance(v, Mapping)}
            if isinstance(own, Mapping)
            else {}
        )
        for found in (about, beside):
            if isinstance(found, Mapping) and found:
                text = _written(found)
                short = text if len(text) <= _LONGEST_ABOUT else f"{text[:_LONGEST_ABOUT]}…"
                yield f"{run.name}: {short}" if len(runs) > 1 else short


def _interval_words(run: ReportedRun, section: str) -> str | None:
    """What the intervals of a section are over; None where it has none."""
    for name, found in (run.entry.get("significance") or {}).items():
        if name.startswith(f"{section}/") and isinstance(found, Mapping):
            unit, draws = (printable(found.get(key)) for key in ("unit", "draws"))
            return f"95 % intervals: over {unit}, {draws} draws"
    if any(name.startswith(f"{section}/") for name in run.intervals):
        over = "classes" if run.evaluated.file.open_set else "rows"
        return f"95 % intervals: over {over}"
    return None


def _written(value: Any) -> str:
    """A JSON value as words: "n_rows: 360, error: 0.02"."""
    if isinstance(value, Mapping):
        return "; ".join(
            f"{printable(str(key).replace('_', ' '))}: {_written(one)}"
            for key, one in value.items()
            if one not in (None, [], {}, "")
        )
    if isinstance(value, list):
        some = ", ".join(map(_written, value[:12]))
        return f"{some}, …" if len(value) > 12 else some
    return f"{value:.6g}" if isinstance(value, float) else printable(value)
