"""Tables of several methods, data sets and seeds, by the package's own commands.

Runs lie where the commands put them, in `runs_root()`; those that are there are not run again.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t as student_t

from vmf_embeddings.cli.runs_root import runs_root

RUNS = runs_root()
DIFFERENCE = "difference (95 %)"
Columns = dict[str, tuple[str, str]]  # title -> section and score of metrics.json, a fraction


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        name: of the run, before its seed.
        title: in the table.
        words: what the command says beyond experiment, seed and name.
        method: folder of its runs.
        below: folder inside the run that holds the result, for second stages.
        teacher: name of the run that must be there first.
        trial: words to add where a trial shortens the runs.
        columns: where its scores are, if not where the others' are.
        width: of its embeddings, if not the others'.
        baseline: title of the row that it is compared with, seed by seed.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    method: str = "classifier"
    below: str = ""
    teacher: str | None = None
    trial: tuple[str, ...] = ()
    columns: Columns | None = None
    width: int | None = None
    baseline: str | None = None


@dataclass(frozen=True)
class Study:
    """Rows of a table, and what the arguments ask for.

    Args:
        rows: a row's teacher and first stage stand above it.
        columns: of the table.
        width: of the embeddings, in all experiments.
        sets: experiments, each named as its data set.
        seeds: of the runs; the training images are the same for all.
        data: folder of MNIST.
        epochs: instead of the experiments' own, for a trial.
        metrics: further words of the evaluation.
    """

    rows: tuple[Row, ...]
    columns: Columns
    width: int
    sets: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    epochs: int | None
    metrics: tuple[str, ...] = ()

    def folder(self, row: Row, dataset: str, seed: int | str) -> Path:
        """Where the run of a row lies."""
        width = row.width or self.width
        return RUNS / dataset / row.method / f"{width}dim" / f"{row.name}_{seed}"

    def result(self, row: Row, dataset: str, seed: int | str) -> Path:
        """Where the row's embedding file lies."""
        return self.folder(row, dataset, seed) / row.below / f"{dataset}_test.npz"

    def training(self, row: Row, dataset: str, seed: int | str) -> list[str]:
        """The command that trains, without the interpreter."""
        words = [f"experiment={dataset}", *row.words]
        if row.teacher:
            teacher = next(r for r in self.rows if r.name == row.teacher)
            words.append(f"method.params.teacher={self.folder(teacher, dataset, seed)}")
        if "mnist" in dataset:
            words.append(f"dataset.params.dataset_path={self.data}")
        if self.epochs is not None:
            words += [f"mode.epochs={self.epochs}", *row.trial]
        words += [f"random_seed={seed}", f"name={row.name}_{seed}"]
        return ["-m", "vmf_embeddings.main", *words]

    def extraction(self, row: Row, dataset: str, seed: int | str) -> list[str]:
        """The command that writes the embedding file, without the interpreter."""
        folder = self.folder(row, dataset, seed) / row.below
        return ["-m", "vmf_embeddings.main", "mode=get_embeddings", f"run={folder}"]


def run(command: list[str]) -> None:
    """One command on one thread; its output is shown where it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{shlex.join(['python', *command])}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )


def chain(study: Study, dataset: str, seed: int) -> list[str]:
    """All rows of one data set and seed, in their order; returns what failed."""
    failed = []
    for row in study.rows:
        if study.result(row, dataset, seed).exists():
            continue
        before = len(failed)
        try:
            run(study.training(row, dataset, seed))
            run(study.extraction(row, dataset, seed))
        except RuntimeError as error:
            failed.append(str(error))
        print(
            f"{dataset} seed {seed}: {row.title}{' FAILED' if failed[before:] else ''}", flush=True
        )
    return failed


def score(study: Study, dataset: str) -> Iterator[tuple[Row, list[dict]]]:
    """Each row with the scores of its seeds, by the package's own evaluation."""
    evaluated: set[Path] = set()  # rows may differ in their columns alone
    for row in study.rows:
        files = [study.result(row, dataset, seed) for seed in study.seeds]
        files = [file for file in files if file.exists()]
        if files and not evaluated.issuperset(files):
            names = [str(file) for file in files]
            run(["-m", "vmf_embeddings.evaluate", *names, "--no-figures", *study.metrics])
            evaluated.update(files)
        if files:
            yield row, [json.loads((f.parent / "metrics.json").read_text())[f.name] for f in files]


def commands(study: Study, dataset: str) -> str:
    """What was typed, for every seed."""
    lines: list[str] = []
    for row in study.rows:
        for words in (
            study.training(row, dataset, "$SEED"),
            study.extraction(row, dataset, "$SEED"),
        ):
            quoted = [f"'{word}'" if '"' in word else word for word in words]
            line = f"  python {' '.join(quoted)}"
            lines += [line] if line not in lines else []
    seeds = " ".join(map(str, study.seeds))
    return "\n".join([f"for SEED in {seeds}; do", *lines, "done"])


def arguments(doc: str, sets: Sequence[str]) -> argparse.ArgumentParser:
    """What every study asks for."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw (data)")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")
    parser.add_argument("--sets", nargs="+", default=list(sets))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time (2)")
    parser.add_argument("--epochs", type=int, help="for a trial: fewer epochs")
    return parser


def carry_out(study: Study, name: str, out: Path, jobs: int) -> int:
    """Runs what is missing, scores everything, writes `name`.md and .json; 1 if a run failed."""
    chains = [(dataset, seed) for dataset in study.sets for seed in study.seeds]
    with ThreadPoolExecutor(jobs) as pool:
        failed = [e for errors in pool.map(lambda c: chain(study, *c), chains) for e in errors]
    text, results = [], {}
    for dataset in study.sets:
        scored = {row.title: (row, scores) for row, scores in score(study, dataset)}
        rows = [(title, summary(s, r.columns or study.columns)) for title, (r, s) in scored.items()]
        compared = False
        for (row, scores), (_, found) in zip(scored.values(), rows, strict=True):
            if row.baseline in scored and len(scores) == len(scored[row.baseline][1]) > 1:
                found[DIFFERENCE] = difference(study, row, scores, *scored[row.baseline])
                compared = True
        results[dataset] = dict(rows)
        columns = (*study.columns, DIFFERENCE) if compared else tuple(study.columns)
        text.append(markdown(dataset, rows, columns, commands(study, dataset)))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / f"{name}.md").write_text("\n".join(text))
    for error in failed:
        print(error, file=sys.stderr)
    return int(bool(failed))


def summary(scores: Sequence[dict], columns: Columns) -> dict[str, dict[str, float | int | None]]:
    """Mean and standard error in percent of each column over seeds.

    The standard error is that of the seeds, sqrt(sum (x - mean)^2 / (n - 1)) / sqrt(n); it says
    nothing about the choice of training or test images, which all seeds share.
    """
    found = {}
    for column, (section, name) in columns.items():
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


def difference(
    study: Study, row: Row, scores: Sequence[dict], baseline: Row, others: Sequence[dict]
) -> dict[str, float | int]:
    """First column of a row minus that of its baseline, seed by seed: mean and 95 % interval.

    The interval is Student's with n - 1 degrees of freedom; like the standard errors it holds for
    the images that all seeds share.
    """
    first = next(iter(study.columns))
    (section, name), (section_b, name_b) = (
        (r.columns or study.columns)[first] for r in (row, baseline)
    )
    pairs = zip(scores, others, strict=True)
    found = [100 * (ours[section][name] - theirs[section_b][name_b]) for ours, theirs in pairs]
    error = statistics.stdev(found) / len(found) ** 0.5
    half_width = float(student_t.ppf(0.975, len(found) - 1)) * error
    return {"mean": statistics.fmean(found), "half_width": half_width, "n": len(found)}


def markdown(
    dataset: str, rows: Sequence[tuple[str, dict]], columns: Sequence[str], commands: str
) -> str:
    """One data set's table and the commands behind it."""
    lines = [
        f"### {dataset}",
        "",
        "| |" + "".join(f" {c} |" for c in columns),
        "|---|" + "---|" * len(columns),
    ]
    for title, found in rows:
        cells = [cell(found.get(column)) for column in columns]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "```", commands, "```", ""])


def cell(figure: dict | None) -> str:
    """`mean ± standard error`, or `mean (interval)` of a difference, one decimal each."""
    if figure is None:
        return "–"
    if "half_width" in figure:
        low, high = (figure["mean"] + sign * figure["half_width"] for sign in (-1, 1))
        return f"{figure['mean']:+.1f} ({low:+.1f} to {high:+.1f})"
    error = figure["standard_error"]
    return f"{figure['mean']:.1f}" + ("" if error is None else f" ± {error:.1f}")
