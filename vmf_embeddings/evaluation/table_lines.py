"""Tables of scores as lines of text."""

from collections.abc import Sequence

from vmf_embeddings.evaluation import sections
from vmf_embeddings.evaluation.compact_tables import TABLES
from vmf_embeddings.evaluation.replications import Group, Mean
from vmf_embeddings.evaluation.score_table import TableText


def is_table(section: str) -> bool:
    """Whether a section of scores is printed as a table of rows and columns."""
    return section in TABLES or sections.is_section(section)


def table_lines(group: Group) -> list[str]:
    """The lines of all tables that the group has scores for; [] without any."""
    lines = []
    for section, names in group.sections().items():
        if names and is_table(section):
            text = _text(section)
            lines += ["", f"  {text.title}"]
            for heading, own in _blocks(text, names).items():
                lines += [f"    {heading}"] if heading else []
                lines += _table(group, section, text, own)
    return lines


def _blocks(text: TableText, names: Sequence[str]) -> dict[str, list[str]]:
    """Heading -> the names of the scores below it."""
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(text.block(name.rpartition("/")[0]), []).append(name)
    return blocks


def score_text(section: str, key: str) -> tuple[str, float, int]:
    """Words, factor and digits after the point of one score `row/name` of a table."""
    text = _text(section)
    row, _, name = key.rpartition("/")
    head, scale, digits = text.columns.get(name, (name, 1, 4))
    return f"{head}, {text.label(row)}", scale, digits


def _text(section: str) -> TableText:
    return TABLES[section] if section in TABLES else sections.section(section).TABLE


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


def _table(group: Group, section: str, text: TableText, names: Sequence[str]) -> list[str]:
    rows = rows_of(names)
    columns = [c for c in text.columns if any(c in own for own in rows.values())]
    with_error = len(group.files) > 1
    cells = [[text.head, *(text.columns[column][0] for column in columns)]]
    for row, own in rows.items():
        values = [
            _cell(group.mean(section, f"{row}/{c}"), text, c, with_error) if c in own else "-"
            for c in columns
        ]
        cells.append([text.label(row), *values])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return [
        "    " + "  ".join([line[0].ljust(widths[0]),
                           *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    ]  # fmt: skip


def _cell(mean: Mean, text: TableText, name: str, with_error: bool) -> str:
    _, scale, digits = text.columns[name]
    if mean.n == 0:
        return "-"
    value = f"{scale * mean.mean:.{digits}f}"
    if not with_error or mean.n < 2 or name in text.exact:
        return value
    return f"{value} +/- {scale * mean.standard_error:.{digits}f}"
