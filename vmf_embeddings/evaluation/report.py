"""What an evaluation prints: the lines of 2021's scripts, then a table."""

import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.notes import notes_on
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.paired_lines import against_lines
from vmf_embeddings.evaluation.replications import Group, Mean, differences
from vmf_embeddings.evaluation.section_titles import index_of, section_title
from vmf_embeddings.evaluation.settings import described
from vmf_embeddings.evaluation.significance_lines import interval_lines
from vmf_embeddings.evaluation.table_lines import is_table, table_lines
from vmf_embeddings.evaluation.table_lines import score_text as table_score_text
from vmf_embeddings.untrusted.text import printable

# score -> its label in the table, factor, digits after the point, meaning
_ROWS = {
    "accuracy": ("Accuracy %", 100, 2, "right class predicted"),
    "top_5_accuracy": ("Top-5 accuracy %", 100, 2, "right class among the 5 likeliest"),
    "macro_accuracy": ("Macro accuracy %", 100, 2, "mean over classes of accuracy"),
    "macro_f1": ("Macro F1 %", 100, 2, "mean over classes of F1"),
    "ece_l2_equal_mass": ("ECE, L2 equal-mass", 1, 4, "calibration error as in 2021"),
    "ece_l1_equal_mass": ("ECE, L1 equal-mass", 1, 4, "mean gap, 15 bins of equal mass"),
    "ece_l1_equal_width": ("ECE, L1 equal-width", 1, 4, "the usual calibration error"),
    "ece_if_calibrated": ("ECE if calibrated", 1, 4, "the same by chance alone"),
    "nll": ("NLL, nats", 1, 4, "-log p of the true class"),
    "brier": ("Brier", 1, 4, "squared error of p, 0 to 2"),
    "aurc": ("AURC", 1, 4, "mean error of the surest rows"),
    "map@r": ("MAP@R %", 100, 2, "mean average precision at R"),
    "r_precision": ("R-precision %", 100, 2, "own class among R nearest"),
    "mean_average_precision": ("mAP %", 100, 2, "average precision, all ranks"),
    "mean_reciprocal_rank": ("MRR", 1, 4, "1 / rank of first own class"),
    "map_at_1000": ("mAP@1000 %", 100, 2, "within 1000, over R"),
    "map_at_1000_reference": ("mAP@1000 reference %", 100, 2, "over R + 1, as in NIR's tables"),
    "map_c_reference": ("mAP_c reference %", 100, 2, "within R + 1, not MAP@R"),
    "nmi": ("NMI %", 100, 2, "k-means against classes"),
    "f1": ("F1 of pairs %", 100, 2, "same cluster, same class"),
    "rho@1": ("rho", 1, 4, "spectral decay, nats"),
    "rho@2": ("rho, largest dropped", 1, 4, "without the first direction"),
    "rho_rev@-1": ("rho, reversed", 1, 4, "KL(spectrum || uniform)"),
    "intra": ("Distance in classes", 1, 4, "1 - cosine of two rows"),
    "inter": ("Distance of classes", 1, 4, "1 - cosine of two class means"),
    "pi_ratio": ("pi", 1, 4, "in classes over of classes"),
    "concentration_mean": ("kappa of classes", 1, 2, "mean concentration"),
    "concentration_variance": ("kappa, variance", 1, 2, "over classes"),
    "concentration_relative_variance": ("kappa, relative var.", 1, 4, "variance over mean^2"),
    "uniformity_g2": ("Uniformity G2", 1, 4, "mean exp(-2 |x - y|^2)"),
    "alignment": ("Alignment", 1, 4, "mean |x - y|^2 in classes"),
}
TableRow = tuple[str, str, str, str]
Block = tuple[str, list[TableRow]]


def score_words(section: str, name: str) -> tuple[str, float, int, str]:
    """Label, factor, digits after the point and meaning of a score that is no row of a table.

    A name that is not known, such as one of a later version, is its own label.

    >>> score_words("retrieval", "recall@4")
    ('Recall@4 %', 100, 2, 'own class among the 4 nearest')
    """
    if name.startswith("recall@"):
        k = name.removeprefix("recall@")
        meaning = "own class nearest" if k == "1" else f"own class among the {k} nearest"
        return f"Recall@{k} %", 100, 2, meaning
    if section == "shots":
        return f"{name.capitalize()}-shot accuracy %", 100, 2, "mean over classes of accuracy"
    return _ROWS.get(name, (name, 1, 4, ""))


def print_line(line: str) -> None:
    """Prints one line of results; control characters of names in it are printed as escapes."""
    print(printable(line), flush=True)


def print_message(lines: str) -> None:
    """Prints progress or an error to stderr, so that stdout has results only; escapes as well."""
    print("\n".join(map(printable, lines.split("\n"))), file=sys.stderr, flush=True)


def lines_of_2021(group: Group, *, script_of_2021: bool) -> list[str]:
    """Path, split and main scores in the wording of 2021's scripts.

    Args:
        group: the files.
        script_of_2021: print "+/- 0.0000" for one run, as those scripts do, instead of "(n=1)".
    """

    def percent(mean: Mean) -> str:
        return f"{100 * mean.mean:.4f}{_error(mean, 100, script_of_2021)}"

    def plain(mean: Mean) -> str:
        return f"{mean.mean:.4f}{_error(mean, 1, script_of_2021)}"

    roots = list(dict.fromkeys(evaluated.root for evaluated in group.files))
    names = list(dict.fromkeys(evaluated.path.name for evaluated in group.files))
    lines = ["", f"Path {', '.join(map(str, roots))}", f"Split: {', '.join(names)}"]
    sections = group.sections()
    if "classification" in sections:
        accuracy = group.mean("classification", "accuracy")
        error = group.mean("classification", "ece_l2_equal_mass")
        return [
            *lines,
            "",
            "=== softmax ===",
            f"Mean softmax: acc = {percent(accuracy)}, ece = {plain(error)}",
        ]
    section = "sampled_retrieval" if "sampled_retrieval" in sections else "retrieval"
    return [
        *lines,
        "",
        f"=== retrieval{index_of(group)} ===",
        f"Mean Recall@1: acc = {percent(group.mean(section, 'recall@1'))}",
        f"Mean mAP@R: val = {plain(group.mean(section, 'map@r'))}",
    ]


def _error(mean: Mean, scale: float, script_of_2021: bool) -> str:
    """The standard error as 2021's scripts print it; one run has none."""
    if mean.n == 1 and not script_of_2021:
        return " (n=1)"
    return f" +/- {scale * mean.error_by_n:.4f}"


def print_group(group: Group, options: EvaluationOptions) -> None:
    """Prints the lines of 2021, the table and the notes of one group.

    Args:
        group: the files and their scores.
        options: `samples` is printed; `script_of_2021` decides on "+/- 0.0000".
    """
    for line in lines_of_2021(group, script_of_2021=options.script_of_2021 is not None):
        print_line(line)
    print_line("")
    title = ", ".join(filter(None, (group.files[0].title, described(group.settings))))
    n_runs = len(group.files)
    caption = f"{n_runs} replications, mean +/- standard error" if n_runs > 1 else "1 run (n=1)"
    blocks = {
        section: (
            section_title(section, group, options.samples),
            [_row(group, section, n) for n in names],
        )
        for section, names in group.sections().items()
        if not is_table(section)
    }
    if "as_output" in blocks and all(_is_normalised(evaluated) for evaluated in group.files):
        blocks["as_output"] = _rows_that_differ(blocks["as_output"][1], blocks["normalised"][1])
    _print_table(f"{title}: {caption}", list(blocks.values()), with_error=n_runs > 1)
    of_rows = *interval_lines(group, score_text), *against_lines(group, score_text)
    for line in (*table_lines(group), *of_rows):
        print_line(line)
    for note in notes_on(group):
        print_line(f"Note: {note}.")


def _is_normalised(evaluated: EvaluatedFile) -> bool:
    return bool(np.allclose(np.linalg.norm(evaluated.file.embeddings, axis=1), 1, atol=1e-5))


def _rows_that_differ(rows: Sequence[TableRow], below: Sequence[TableRow]) -> Block:
    """The rows of normalised outputs that differ from those of the other space, printed below."""
    kept = [row for row in rows if row not in below]
    return f"Embeddings as output, of length 1: as below{' except' if kept else ''}", kept


def score_text(section: str, name: str) -> tuple[str, float, int]:
    """Words, factor and digits after the point by which a score is printed."""
    if is_table(section):
        return table_score_text(section, name)
    return score_words(section, name)[:3]


def _row(group: Group, section: str, name: str) -> TableRow:
    value = group.mean(section, name)
    label, scale, digits, meaning = score_words(section, name)
    if section == "shots":
        meaning = _meaning_of_shots(group, name)
    if name == "nmi":
        meaning = _meaning_of_clusters(group, meaning)
    if math.isnan(value.mean):
        return label, "-", "", meaning
    if section == "retrieval" and value.n == 1:
        meaning += _errors(group, name, scale, digits)
    error = "-" if value.n == 1 else _number(scale * value.standard_error, digits)
    return label, _number(scale * value.mean, digits), error, meaning


def _errors(group: Group, name: str, scale: float, digits: int) -> str:
    """The error of drawing queries, and what an index changes, of one retrieval score."""
    sampling, index, text = group.scores[0].sampling, group.scores[0].index, ""
    if sampling is not None:
        text = f", sampling error {_known(scale * sampling['standard_error'][name], digits)}"
    if index is not None:
        mean, error = (_known(scale * x, digits) for x in index.differences[name])
        text += f", minus exact {mean} +/- {error}"
    return text


def _meaning_of_clusters(group: Group, meaning: str) -> str:
    spaces = group.scores[0].spaces
    found = None if spaces is None else spaces.clustering
    return meaning if found is None else f"{meaning}, k = {found.n_clusters:,}"


def _known(value: float, digits: int) -> str:
    """A number, also below 0; one query alone has no error."""
    return "unknown" if math.isnan(value) else f"{value:z.{digits}f}"


def _number(value: float, digits: int) -> str:
    """A number with `digits` after the point; in scientific notation if it would be too long."""
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


def _meaning_of_shots(group: Group, name: str) -> str:
    shots = group.scores[0].shots
    if shots is None:
        return ""
    score = shots.groups[name]
    classes = f"mean of {score.n_classes} class{'es' if score.n_classes > 1 else ''}"
    error = 100 * score.standard_error
    if len(group.files) > 1 or math.isnan(error):
        return classes
    return f"{classes}, sampling error {error:.2f}"


def _print_table(title: str, blocks: Sequence[Block], with_error: bool) -> None:
    if sys.stdout.isatty():
        _print_rich(title, blocks, with_error)
        return
    print_line(title)
    for heading, rows in blocks:
        print_line(f"  {heading}")
        for label, value, error, meaning in rows:
            middle = f"{value:>9}" + (f" +/- {error:<7}" if with_error else "")
            print_line(f"    {label:<22}{middle}  {meaning}")


def _print_rich(title: str, blocks: Sequence[Block], with_error: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = min(100, shutil.get_terminal_size().columns)
    # markup and emoji would interpret brackets and colons in names from files
    console = Console(width=width, markup=False, emoji=False)
    console.print(Text(title, style="bold"))
    for heading, rows in blocks:
        table = Table(
            title=heading, title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(rows)
        )
        table.add_column("Score", no_wrap=True, min_width=22)
        table.add_column("Mean", justify="right", no_wrap=True, min_width=8, style="bold cyan")
        if with_error:
            table.add_column("± SE", justify="right", no_wrap=True, min_width=6)
        table.add_column("Meaning", style="dim", min_width=30)
        for label, value, error, meaning in rows:
            table.add_row(label, value, *([error] if with_error else []), meaning)
        console.print(table)


def print_headline(groups: Sequence[Group]) -> None:
    """Prints what several groups differ in, with the values of settings, before their scores."""
    if len(groups) < 2:
        return
    n_runs = sum(len(one.files) for one in groups)
    print_line(
        f"{n_runs} files in {len(groups)} groups, which differ in {', '.join(differences(groups))}:"
    )
    for one in groups:
        names = ", ".join(filter(None, (one.files[0].title, described(one.settings))))
        print_line(f"  {names}: {len(one.files)} run{'s' * (len(one.files) > 1)}")


def print_differences(groups: Sequence[Group]) -> None:
    """Prints in which fields groups differ, where there are several."""
    if len(groups) > 1:
        fields = ", ".join(differences(groups))
        print_line("")
        print_line(f"{len(groups)} groups, not averaged with one another: they differ in {fields}.")


def print_written(paths: Sequence[Path]) -> None:
    """Prints the files that were written, by folder; nothing if there are none."""
    if not paths:
        return
    by_folder: dict[Path, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path.name)
    print_line("")
    for folder, names in by_folder.items():
        print_line(f"Wrote {', '.join(dict.fromkeys(names))} in {folder}")
