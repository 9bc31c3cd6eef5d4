"""The table of docs/long-tail.md: every method of the long tail on two small sets, three seeds.

python -m benchmarks.long_tail --data FOLDER --out FOLDER --jobs 2

Runs lie where the commands put them, below vmf_embeddings/runs; what is there is not run again.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.long_tail_table import markdown, summary

RUNS = Path("vmf_embeddings/runs")
WIDTH = 64  # of the embeddings, in both experiments


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: of the run, before its seed.
        title: in the table.
        words: what the command says beyond experiment, seed and name.
        method: folder of its runs.
        below: folder inside the run that holds the result, for second stages.
        teacher: name of the run that must be there first.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    method: str = "classifier"
    below: str = ""
    teacher: str | None = None


SECOND = 'stages.second=["mode=finetune","sampler.batch_size=32"]'
FSGL = (
    "method=fsgl",
    "method.params.projection_dim=64",
    "sampler=paired",
    "dataset.params.views=2",
)
STRENGTH = "feature_scaling.params.strength=0.5"
# a row's teacher and first stage stand above it
ROWS = (
    Row("ce", "cross-entropy"),
    Row("balanced_softmax", "balanced softmax", ("loss=balanced_softmax",)),
    Row("ldam_drw", "LDAM-DRW", ("head=cosine", "loss=ldam", "loss.params.drw_epoch=24")),
    Row("cosine", "cosine head", ("head=cosine",)),
    Row("tvmf", "t-vMF, one stage", ("head=tvmf_k16",)),
    Row("tvmf", "t-vMF, two stages", ("head=tvmf_k16", "stages=imbalance", SECOND),
        below="finetune"),
    Row("dive", "DiVE over balanced softmax", ("method=dive",), "dive", teacher="balanced_softmax"),
    Row("glmc", "FSGL without feature scaling", (*FSGL, "feature_scaling=none"), "fsgl"),
    Row("fsgl", "FSGL", (*FSGL, "feature_scaling=logfreq", STRENGTH), "fsgl"),
    Row("ce_sam", "cross-entropy, SAM", ("optimizer=sam",)),
    Row("balanced_softmax_sam", "balanced softmax, SAM",
        ("loss=balanced_softmax", "optimizer=sam")),
    Row("glmc_sam", "FSGL without feature scaling, SAM",
        (*FSGL, "feature_scaling=none", "optimizer=sam"), "fsgl"),
    Row("fsgl_sam", "FSGL, SAM",
        (*FSGL, "feature_scaling=logfreq", STRENGTH, "optimizer=sam"), "fsgl"),
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """What the arguments ask for.

    Args:
        sets: experiments, each named as its data set.
        seeds: of the runs; the training images are the same for all.
        data: folder of MNIST.
        epochs: instead of the experiments' own, for a trial.
    """

    sets: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    epochs: int | None

    def folder(self, row: Row, dataset: str, seed: int | str) -> Path:
        """Where the run of a row lies."""
        return RUNS / dataset / row.method / f"{WIDTH}dim" / f"{row.name}_{seed}"

    def result(self, row: Row, dataset: str, seed: int | str) -> Path:
        """Where the row's embedding file lies."""
        return self.folder(row, dataset, seed) / row.below / f"{dataset}_test.npz"

    def training(self, row: Row, dataset: str, seed: int | str) -> list[str]:
        """The command that trains, without the interpreter."""
        words = [f"experiment={dataset}", *row.words]
        if row.teacher:
            teacher = next(r for r in ROWS if r.name == row.teacher)
            words.append(f"method.params.teacher={self.folder(teacher, dataset, seed)}")
        if "mnist" in dataset:
            words.append(f"dataset.params.dataset_path={self.data}")
        if self.epochs is not None:
            words += [f"mode.epochs={self.epochs}", "loss.params.drw_epoch=1"][
                : 1 + ("loss=ldam" in words)
            ]
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
    for row in ROWS:
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
    for row in ROWS:
        files = [study.result(row, dataset, seed) for seed in study.seeds]
        files = [file for file in files if file.exists()]
        if files:
            names = [str(file) for file in files]
            run(["-m", "vmf_embeddings.evaluate", *names, "--no-pictures"])
            yield row, [json.loads((f.parent / "metrics.json").read_text())[f.name] for f in files]


def commands(study: Study, dataset: str) -> str:
    """What was typed, for every seed."""
    lines = []
    for row in ROWS:
        for words in (
            study.training(row, dataset, "$SEED"),
            study.extraction(row, dataset, "$SEED"),
        ):
            quoted = [f"'{word}'" if '"' in word else word for word in words]
            lines.append(f"  python {' '.join(quoted)}")
    seeds = " ".join(map(str, study.seeds))
    return "\n".join([f"for SEED in {seeds}; do", *lines, "done"])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw (data)")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")
    parser.add_argument("--sets", nargs="+", default=["mnist_lt", "digits_lt"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time (2)")
    parser.add_argument("--epochs", type=int, help="for a trial: fewer epochs")
    return parser.parse_args()


def main() -> int:
    """Runs what is missing, scores everything, writes long_tail.md and long_tail.json."""
    asked = arguments()
    study = Study(tuple(asked.sets), tuple(asked.seeds), asked.data, asked.epochs)
    chains = [(dataset, seed) for dataset in study.sets for seed in study.seeds]
    with ThreadPoolExecutor(asked.jobs) as pool:
        failed = [e for errors in pool.map(lambda c: chain(study, *c), chains) for e in errors]
    text, results = [], {}
    for dataset in study.sets:
        rows = [(row.title, summary(scores)) for row, scores in score(study, dataset)]
        results[dataset] = dict(rows)
        text.append(markdown(dataset, rows, commands(study, dataset)))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "long_tail.json").write_text(json.dumps(results, indent=1) + "\n")
    (asked.out / "long_tail.md").write_text("\n".join(text))
    for error in failed:
        print(error, file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
