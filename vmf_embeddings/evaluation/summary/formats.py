"""A table of cells as text, CSV, Markdown or LaTeX."""

import csv
import io
from collections.abc import Callable, Sequence

from vmf_embeddings.untrusted.text import csv_cell, printable

Cells = Sequence[Sequence[str]]

_OF_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def as_csv(cells: Cells, title: str) -> str:
    """The cells as CSV, without the title."""
    stream = io.StringIO()
    rows = ([csv_cell(cell) for cell in row] for row in cells)
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def as_markdown(cells: Cells, title: str) -> str:
    r"""A Markdown table under its title.

    >>> print(as_markdown([["recipe", "R@1"], ["a|b", "62.00"]], "toy"))
    toy
    <BLANKLINE>
    | recipe | R@1 |
    |---|---:|
    | a\|b | 62.00 |
    <BLANKLINE>
    """
    rows = [[printable(cell).replace("|", r"\|") for cell in row] for row in cells]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "|---|" + "---:|" * (len(rows[0]) - 1)
    return "\n".join([printable(title), "", lines[0], rule, *lines[1:]]) + "\n"


def as_latex(cells: Cells, title: str) -> str:
    r"""A `tabular` with rules of the package booktabs; the title is a comment above it.

    >>> print(as_latex([["recipe", "R@1"], ["a_b", "62.0±0.1"]], "toy"))
    % toy
    \begin{tabular}{lr}
    \toprule
    recipe & R@1 \\
    \midrule
    a\_b & 62.0$\pm$0.1 \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in cells]
    return "\n".join([
        f"% {printable(title)}",
        rf"\begin{{tabular}}{{l{'r' * (len(cells[0]) - 1)}}}",
        r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", "",
    ])  # fmt: skip


def _latex(cell: str) -> str:
    return "".join(_OF_LATEX.get(sign, sign) for sign in printable(cell))


WRITERS: dict[str, tuple[str, Callable[[Cells, str], str]]] = {
    "csv": ("csv", as_csv),
    "markdown": ("md", as_markdown),
    "latex": ("tex", as_latex),
}
"""Format -> ending of its file, and the function that gives the text."""
