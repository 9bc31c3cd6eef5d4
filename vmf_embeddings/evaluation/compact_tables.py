"""Tables of scores by length and number format, and before and after re-ranking."""

from collections.abc import Sequence

from vmf_embeddings.evaluation.compact import COMPACT, N_OVERLAP
from vmf_embeddings.evaluation.replications import Group, Mean
from vmf_embeddings.evaluation.reranked import RERANKED

SECTIONS = (COMPACT, RERANKED)
# score -> head of its column, factor, digits
_COLUMNS = {
    "bytes_per_row": ("bytes", 1, 0),
    "recall@1": ("R@1 %", 100, 2),
    "map@r": ("MAP@R %", 100, 2),
    "mean_average_precision": ("mAP %", 100, 2),
    f"overlap@{N_OVERLAP}": (f"overlap@{N_OVERLAP} %", 100, 1),
    "accuracy": ("accuracy %", 100, 2),
}
_FORMATS = {"signs": ", rescored by signs", "rescored": ", rescored by float rows"}
_WAYS = {
    "none": "as they are",
    "k_reciprocal": "+ k-reciprocal",
    "alpha_qe": "+ query expansion",
    "dba": "+ database augmentation",
}


def compact_lines(group: Group) -> list[str]:
    """The lines of both tables, those that the group has scores for; [] without any."""
    sections = group.sections()
    lines = []
    for section, title, head in (
        (COMPACT, "Shorter and coarser embeddings", "dimensions, format"),
        (RERANKED, "Ranked again", "retrieval"),
    ):
        names = sections.get(section, [])
        if names:
            lines += ["", f"  {title}", *_table(group, section, head, names)]
    return lines


def rows_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Row -> names of its scores, of keys `row/name`.

    >>> rows_of(["16/int8/recall@1", "16/int8/map@r"])
    {'16/int8': ['recall@1', 'map@r']}
    """
    rows: dict[str, list[str]] = {}
    for name in names:
        row, _, score = name.rpartition("/")
        rows.setdefault(row, []).append(score)
    return rows


def _table(group: Group, section: str, head: str, names: Sequence[str]) -> list[str]:
    rows = rows_of(names)
    columns = [c for c in _COLUMNS if any(c in own for own in rows.values())]
    with_error = len(group.files) > 1
    cells = [[head, *(_COLUMNS[column][0] for column in columns)]]
    for row, own in rows.items():
        values = [
            _cell(group.mean(section, f"{row}/{c}"), c, with_error) if c in own else "-"
            for c in columns
        ]
        cells.append([_label(row), *values])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "    " + "  ".join([line[0].ljust(widths[0]),
                           *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    ]  # fmt: skip


def _cell(mean: Mean, name: str, with_error: bool) -> str:
    _, scale, digits = _COLUMNS[name]
    if mean.n == 0:
        return "-"
    value = f"{scale * mean.mean:.{digits}f}"
    if not with_error or mean.n < 2 or name == "bytes_per_row":
        return value
    return f"{value} +/- {scale * mean.standard_error:.{digits}f}"


def _label(row: str) -> str:
    """The name of a row in words.

    >>> _label("16/binary_rescored"), _label("pca_16/float32"), _label("dba")
    ('16, binary, rescored by float rows', '16 by PCA', '+ database augmentation')
    """
    if row in _WAYS:
        return _WAYS[row]
    length, _, kind = row.partition("/")
    if length.startswith("pca_"):
        return f"{length.removeprefix('pca_')} by PCA"
    precision, _, rescored = kind.partition("_")
    return f"{length}, {precision}{_FORMATS.get(rescored, '')}"
