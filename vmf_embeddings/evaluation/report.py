"""What evaluation prints: the lines of 2021, then a table."""

import itertools
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vmf_embeddings.evaluation.replications import Group, Mean, differences
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.metrics.shots import GROUPS
from vmf_embeddings.untrusted.text import printable

# score -> what the table calls it, its scale, its digits, its meaning
_ROWS = {
    "accuracy": ("Accuracy %", 100, 2, "right class predicted"),
    "top_5_accuracy": ("Top-5 accuracy %", 100, 2, "right class among the 5 likeliest"),
    "macro_accuracy": ("Macro accuracy %", 100, 2, "mean over classes of theirs"),
    "macro_f1": ("Macro F1 %", 100, 2, "mean over classes of their F1"),
    "ece_l2_equal_mass": ("ECE, L2 equal-mass", 1, 4, "calibration error as in 2021"),
    "ece_l1_equal_mass": ("ECE, L1 equal-mass", 1, 4, "mean gap, 15 bins of like mass"),
    "ece_l1_equal_width": ("ECE, L1 equal-width", 1, 4, "the usual calibration error"),
    "nll": ("NLL, nats", 1, 4, "-log p of the true class"),
    "brier": ("Brier", 1, 4, "squared error of p, 0 to 2"),
    "map@r": ("MAP@R %", 100, 2, "mean average precision at R"),
    "r_precision": ("R-precision %", 100, 2, "own class among R nearest"),
    "mean_average_precision": ("mAP %", 100, 2, "average precision, all ranks"),
    "mean_reciprocal_rank": ("MRR", 1, 4, "1 / rank of the first own"),
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
# geometry -> what its retrieval compares
_COMPARED = {
    "cosine": "cosine",
    "euclidean": "Euclidean distance",
    "poincare": "distance in the Poincare ball",
    "poincare-reference": "2021's distance in the Poincare ball",
    "vmf": "expected cosine, no draws",
}
_SPACES = {
    "as_output": "Embeddings as output, by Euclidean distance",
    "normalised": "Embeddings at length 1, by cosine",
}
TableRow = tuple[str, str, str, str]
Block = tuple[str, list[TableRow]]


def say(line: str) -> None:
    """Print one line of the result; control characters of names in it are written as escapes."""
    print(printable(line), flush=True)


def progress(lines: str) -> None:
    """Print what is under way or wrong, to stderr, so that results can be piped; as `say`."""
    print("\n".join(map(printable, lines.split("\n"))), file=sys.stderr, flush=True)


def lines_of_2021(group: Group) -> list[str]:
    """Path, split, and the headline scores in the wording of 2021's scripts."""
    roots = list(dict.fromkeys(subject.root for subject in group.subjects))
    names = list(dict.fromkeys(subject.path.name for subject in group.subjects))
    lines = ["", f"Path {', '.join(map(str, roots))}", f"Split: {', '.join(names)}"]
    sections = group.sections()
    if "classification" in sections:
        accuracy = group.mean("classification", "accuracy")
        error = group.mean("classification", "ece_l2_equal_mass")
        return [
            *lines,
            "",
            "=== softmax ===",
            f"Mean softmax: acc = {_percent(accuracy)}, ece = {_plain(error)}",
        ]
    section = "sampled_retrieval" if "sampled_retrieval" in sections else "retrieval"
    return [
        *lines,
        "",
        "=== retrieval ===",
        f"Mean Recall@1: acc = {_percent(group.mean(section, 'recall@1'))}",
        f"Mean mAP@R: val = {_plain(group.mean(section, 'map@r'))}",
    ]


def _percent(value: Mean) -> str:
    return f"{100 * value.mean:.4f} +/- {100 * value.error_of_2021:.4f}"


def _plain(value: Mean) -> str:
    return f"{value.mean:.4f} +/- {value.error_of_2021:.4f}"


def print_group(group: Group, samples: int) -> None:
    """Print the lines of 2021 and the table of one group."""
    for line in lines_of_2021(group):
        say(line)
    say("")
    title = group.subjects[0].title
    n_runs = len(group.subjects)
    caption = f"{n_runs} replications, mean +/- standard error" if n_runs > 1 else "1 run"
    blocks = {
        section: (_section_title(section, group, samples), [_row(group, section, n) for n in names])
        for section, names in group.sections().items()
    }
    if "as_output" in blocks and all(_has_length_1(subject) for subject in group.subjects):
        blocks["as_output"] = _what_differs(blocks["as_output"][1], blocks["normalised"][1])
    _print_table(f"{title}: {caption}", list(blocks.values()), with_error=n_runs > 1)
    notes = (
        _notes_on_selection, _notes_on_shots, _notes_on_gallery, _notes_on_queries,
        _notes_on_clusters,
    )  # fmt: skip
    for note in [*group.notes(), *itertools.chain(*(find(group) for find in notes))]:
        say(f"Note: {note}.")


def _has_length_1(subject: Subject) -> bool:
    return bool(np.allclose(np.linalg.norm(subject.file.embeddings, axis=1), 1, atol=1e-5))


def _what_differs(rows: Sequence[TableRow], below: Sequence[TableRow]) -> Block:
    """The rows that those of the other space, which come below them, do not repeat."""
    kept = [row for row in rows if row not in below]
    return f"Embeddings as output, of length 1: as below{' but for' if kept else ''}", kept


def _section_title(section: str, group: Group, samples: int) -> str:
    if section == "sampled_retrieval":
        return f"Retrieval, marginalised over {samples} draws (as 2021)"
    if section in _SPACES:
        return _SPACES[section]
    if section == "retrieval":
        return f"Retrieval by {_COMPARED[group.subjects[0].geometry.name]}"
    shots = group.scores[0].shots
    if section == "shots" and shots is not None:
        ranges = [f"{name} {range_}" for name, range_ in shots.thresholds.ranges().items()]
        return f"Classes by training pictures: {', '.join(ranges)}"
    return "Classification and calibration"


def _notes_on_selection(group: Group) -> list[str]:
    subject = group.subjects[0]
    if subject.meta("selected_on") is None or subject.selected_on != subject.split:
        return []
    return [
        f"best on {subject.split}: the epoch was chosen by the split that is scored here, "
        "which flatters these scores"
    ]


def _notes_on_shots(group: Group) -> list[str]:
    shots = group.scores[0].shots
    empty = [name for name in GROUPS if shots is not None and name not in shots.groups]
    return [f"there is no class with {name} training pictures to score" for name in empty]


def _notes_on_gallery(group: Group) -> list[str]:
    file = group.subjects[0].file
    if "retrieval" not in group.sections() or (file.is_query is None and file.is_gallery is None):
        return []
    n_rows = len(file.ids)
    asked, searched = (
        n_rows if mask is None else int(mask.sum()) for mask in (file.is_query, file.is_gallery)
    )
    rest = f"; clusters, spectrum and spread take all {n_rows:,} rows"
    spaces = rest if group.scores[0].spaces is not None else ""
    return [f"{asked:,} queries are sought among {searched:,} gallery rows{spaces}"]


def _notes_on_queries(group: Group) -> list[str]:
    counts = [scores.n_without_positive for scores in group.scores if scores.n_without_positive]
    if not counts:
        return []
    return [
        f"{max(counts)} queries are alone in their class: misses in Recall@k, left out of MAP@R"
    ]


def _notes_on_clusters(group: Group) -> list[str]:
    spaces = group.scores[0].spaces
    found = None if spaces is None else spaces.clustering
    if found is None or found.n_rows == found.n_rows_in_all:
        return []
    return [
        f"NMI and F1 over {found.n_rows:,} of {found.n_rows_in_all:,} rows, whole classes drawn "
        f"by seed {found.seed} ({found.n_clusters:,} of {found.n_classes_in_all:,}); "
        "--nmi-all-rows takes all, as published figures do"
    ]


def _row(group: Group, section: str, name: str) -> TableRow:
    value = group.mean(section, name)
    if name.startswith("recall@"):
        k = name.removeprefix("recall@")
        label, scale, digits = f"Recall@{k} %", 100, 2
        meaning = "own class nearest" if k == "1" else f"own class among the {k} nearest"
    elif section == "shots":
        label, scale, digits = f"{name.capitalize()}-shot accuracy %", 100, 2
        meaning = _meaning_of_shots(group, name)
    else:
        label, scale, digits, meaning = _ROWS[name]
    if name == "nmi":
        meaning = _meaning_of_clusters(group, meaning)
    if math.isnan(value.mean):
        return label, "-", "", meaning
    error = "-" if value.n == 1 else _figure(scale * value.standard_error, digits)
    return label, _figure(scale * value.mean, digits), error, meaning


def _meaning_of_clusters(group: Group, meaning: str) -> str:
    spaces = group.scores[0].spaces
    found = None if spaces is None else spaces.clustering
    return meaning if found is None else f"{meaning}, k = {found.n_clusters:,}"


def _figure(value: float, digits: int) -> str:
    """A number as the table shows it; one too long for its column by its power of ten."""
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


def _meaning_of_shots(group: Group, name: str) -> str:
    shots = group.scores[0].shots
    if shots is None:
        return ""
    score = shots.groups[name]
    classes = f"mean of {score.n_classes} class{'es' if score.n_classes > 1 else ''}"
    error = 100 * score.standard_error
    if len(group.subjects) > 1 or math.isnan(error):
        return classes
    return f"{classes}, sampling error {error:.2f}"


def _print_table(title: str, blocks: Sequence[Block], with_error: bool) -> None:
    if sys.stdout.isatty():
        _print_rich(title, blocks, with_error)
        return
    say(title)
    for heading, rows in blocks:
        say(f"  {heading}")
        for label, value, error, meaning in rows:
            middle = f"{value:>9}" + (f" +/- {error:<7}" if with_error else "")
            say(f"    {label:<22}{middle}  {meaning}")


def _print_rich(title: str, blocks: Sequence[Block], with_error: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = min(100, shutil.get_terminal_size().columns)
    # names from files are text, whatever brackets and colons they hold
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


def print_differences(groups: Sequence[Group]) -> None:
    """Say why not everything was averaged."""
    if len(groups) > 1:
        fields = ", ".join(differences(groups))
        say("")
        say(f"{len(groups)} groups, not averaged with one another: they differ in {fields}.")


def print_written(paths: Sequence[Path]) -> None:
    """List the files that were written, by folder."""
    by_folder: dict[Path, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path.name)
    say("")
    for folder, names in by_folder.items():
        say(f"Wrote {', '.join(dict.fromkeys(names))} in {folder}")
