"""Methods on features of real pictures: closed, open and long-tailed sets.

python -m benchmarks.which_method --sets FOLDER --weights FILE --out FOLDER

The sets are those of `benchmarks.own_sets`; the features are those of the network of the weights'
file. Every method gets the learning rate, of three, that is best on the validation rows over
another seed; then it is trained with each seed. Runs that are in the record are not repeated.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vmf_embeddings as vmf
from benchmarks.study import cell, student_t
from vmf_embeddings.metrics import expected_calibration_error

RATES = (3e-4, 1e-3, 3e-3)
TUNING_SEED = 0
SEEN = 40_000  # vectors that a training sees
VMF = ("method=vmf_softmax", "arch.params.learn_temp=true", "arch.params.init_temp=-2.77")
COSINE = ("method=normalized_sce", "arch.params.learn_temp=true", "arch.params.init_temp=-2.77")
ARCFACE = ("method=arcface", "arch.params.learn_temp=true", "arch.params.init_temp=-2.77")


@dataclass(frozen=True)
class Task:
    """Sets that are split in one way, and the methods and scores that are compared on them.

    Attributes:
        sets: names of folders.
        methods: title -> words of the command.
        scores: titles of the columns; the first one chooses the learning rate and is compared.
        baseline: title of the method that the others are compared with, seed by seed.
        words: of every command.
    """

    sets: tuple[str, ...]
    methods: dict[str, tuple[str, ...]]
    scores: tuple[str, ...]
    baseline: str
    words: tuple[str, ...] = ()


CLASSIFIERS = {
    "softmax": ("method=unnormalized_sce",),
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax": (*VMF, "arch.params.kappa_confidence=0.9"),
}
TASKS = {
    "closed": Task(
        ("fashion", "digits", "glyphs"), CLASSIFIERS, ("accuracy", "ECE", "R@1"), "softmax"
    ),
    "open": Task(
        ("letters3", "icons3"),
        {
            "cosine softmax": COSINE,
            "ArcFace": ARCFACE,
            "vMF softmax": (*VMF, "arch.params.kappa_confidence=auto"),
            "proxy anchor": ("method=dml", "criterion=proxy_anchor"),
            "SupCon": ("method=dml", "criterion=supcon"),
        },
        ("R@1", "MAP@R"),
        "SupCon",
        ("dataset.params.open_set=true", "arch=linear", "sampler=m_per_class"),
    ),
    "long tail": Task(
        ("fashion", "digits", "glyphs"),
        {
            "softmax": ("method=classifier", "loss=ce"),
            "balanced softmax": ("method=classifier", "loss=balanced_softmax"),
            "cosine softmax": COSINE,
            "vMF softmax": CLASSIFIERS["vMF softmax"],
        },
        ("accuracy", "few", "ECE"),
        "balanced softmax",
    ),
}
IMBALANCE = 50


def features_of(folder: Path, weights: Path, cache: Path) -> dict[str, np.ndarray]:
    """The network's features of a set's pictures, and the names of their classes."""
    path = cache / f"{folder.name}.npz"
    if not path.exists():
        run = vmf.train(
            ["experiment=own_closed", f"data={folder}", f"weights={weights}", "mode.epochs=0",
             "arch.params.projection=none", "arch.params.embedding_dim=1280", "resume=never"]
        )  # fmt: skip
        pictures = sorted(folder.rglob("*.png"))
        labels = np.array([picture.parent.name for picture in pictures])
        np.savez(path, embeddings=run.embed(pictures), labels=labels)
    with np.load(path) as stored:
        return dict(stored)


def task_file(name: str, found: dict[str, np.ndarray], path: Path) -> None:
    """Writes the features of a set, with the splits of a task, as a file to train on.

    The splits are the same for all methods and seeds. A class with n training rows in a long tail
    keeps n mu^rank of them, at least 2, so that the largest has 50 times as many as the smallest,
    as far as the rows go.
    """
    rng = np.random.default_rng(7)
    rows, labels = found["embeddings"], found["labels"]
    classes, numbers = np.unique(labels, return_inverse=True)
    split = np.empty(len(labels), dtype="U5")
    if name == "open":
        order = rng.permutation(len(classes))
        share = np.split(order, [round(0.3 * len(classes)), round(0.5 * len(classes))])
        for part, chosen in zip(("test", "valid", "train"), share, strict=True):
            split[np.isin(numbers, chosen)] = part
    else:
        place = np.empty(len(labels))
        for c in range(len(classes)):
            own = rng.permutation(np.flatnonzero(numbers == c))
            place[own] = (np.arange(len(own)) + 0.5) / len(own)
        split[:] = np.select([place < 0.25, place < 0.4], ["test", "valid"], "train")
    kept = np.ones(len(labels), dtype=bool)
    if name == "long tail":
        for rank, c in enumerate(rng.permutation(len(classes))):
            own = np.flatnonzero((numbers == c) & (split == "train"))
            n = max(2, round(len(own) * IMBALANCE ** (-rank / (len(classes) - 1))))
            kept[own[n:]] = False
    np.savez(path, embeddings=rows[kept], labels=labels[kept], split=split[kept])


def one_run(path: Path, words: Sequence[str], rate: float, seed: int) -> dict[str, Any]:
    """Trains, and scores validation and test rows."""
    logging.getLogger("vmf_embeddings").setLevel(logging.ERROR)
    began = time.perf_counter()
    run = vmf.train(
        ["experiment=own_features", f"data={path}", *words, f"mode.learning_rate={rate}",
         f"mode.images_seen={SEEN}", f"random_seed={seed}", "resume=never", "trainer.threads=1",
         "name=which_method"]
    )  # fmt: skip
    seconds = time.perf_counter() - began
    with np.load(path) as file:
        rows, labels, split = file["embeddings"], file["labels"], file["split"]
    return {
        "seconds": seconds,
        **{part: scores(run, rows, labels, split, part) for part in ("valid", "test")},
    }


def scores(run: vmf.Run, rows: Any, labels: Any, split: Any, part: str) -> dict[str, float]:
    """Retrieval within a split, and classification where its classes are those of training."""
    chosen = split == part
    found = vmf.evaluate(
        run.embed(rows[chosen]), labels[chosen], ["map"], geometry="cosine", ks=[1]
    )
    result = {"R@1": found["retrieval"]["recall@1"], "MAP@R": found["normalised"]["map@r"]}
    known, counts = np.unique(labels[split == "train"], return_counts=True)
    if set(labels[chosen]) <= set(known) and run.n_classes:
        probabilities, truth = run.predict(rows[chosen]), np.searchsorted(known, labels[chosen])
        right = probabilities.argmax(1) == truth
        few = counts[truth] <= np.quantile(counts, 1 / 3)
        result |= {"accuracy": right.mean(), "few": right[few].mean()}
        confidence, correct = torch.from_numpy(probabilities.max(1)), torch.from_numpy(right)
        result["ECE"] = float(expected_calibration_error(confidence, correct))
    return {key: float(value) for key, value in result.items()}


class Record:
    """Results of runs, one line of JSON each; what is there is not run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {line["key"]: line for line in map(json.loads, lines)}

    def get(self, key: str, compute: Any) -> dict[str, Any]:
        """The result under a key, computed where it is not there."""
        if key not in self.known:
            self.known[key] = {"key": key, **compute()}
            with self.path.open("a") as stream:
                stream.write(json.dumps(self.known[key]) + "\n")
        return self.known[key]


def compared(task: Task, name: str, data: str, path: Path, record: Record, seeds: Sequence[int]):
    """Title of each method -> its rate, and its results over the seeds."""
    found = {}
    for title, words in task.methods.items():
        begin = f"{name}/{data}/{title}"

        def run_of(rate: float, seed: int, words: Sequence[str] = words, begin: str = begin) -> Any:
            key = f"{begin}/{rate:g}/{seed}"
            return record.get(key, lambda: one_run(path, (*task.words, *words), rate, seed))

        tuned = {rate: run_of(rate, TUNING_SEED)["valid"][task.scores[0]] for rate in RATES}
        best = max(RATES, key=lambda rate: tuned[rate])
        found[title] = (best, [run_of(best, seed) for seed in seeds])
        print(f"{begin}: {best:g}", flush=True)
    return found


def table(task: Task, data: str, found: dict[str, Any], plain: dict[str, float]) -> str:
    """Markdown: means over seeds, standard errors, 95 % intervals of the paired differences."""
    first = task.scores[0]
    head = ["", *task.scores, f"{first} less {task.baseline}'s (95 %)", "s", "rate"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    if task.scores[0] == "R@1":
        cells = [f"{100 * plain[score]:.1f}" for score in task.scores]
        lines.append(f"| the features as they are | {' | '.join([*cells, '–', '–', '–'])} |")
    base = np.array([run["test"][first] for run in found[task.baseline][1]])
    for title, (rate, runs) in found.items():
        values = np.array([[100 * run["test"][score] for score in task.scores] for run in runs])
        errors = values.std(0, ddof=1) / len(runs) ** 0.5
        cells = [
            cell({"mean": m, "standard_error": e})
            for m, e in zip(values.mean(0), errors, strict=True)
        ]
        paired = values[:, 0] - 100 * base
        error = paired.std(ddof=1) / len(runs) ** 0.5
        half = float(student_t.ppf(0.975, len(runs) - 1)) * error
        difference = (
            cell({"mean": paired.mean(), "half_width": half}) if title != task.baseline else "–"
        )
        seconds = np.median([run["seconds"] for run in runs])
        lines.append(
            f"| {' | '.join([title, *cells, difference, f'{seconds:.0f}', f'{rate:g}'])} |"
        )
    return "\n".join([f"**{data}**", "", *lines, ""])


def main() -> int:
    """Runs what is missing, and writes which_method.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    asked = parser.parse_args()
    logging.getLogger("vmf_embeddings").setLevel(logging.WARNING)
    asked.out.mkdir(parents=True, exist_ok=True)
    text = []
    for name in asked.tasks:
        task, record = TASKS[name], Record(asked.out / f"{name.replace(' ', '_')}.jsonl")
        text += [f"### {name}", ""]
        for data in task.sets:
            found = features_of(asked.sets / data, asked.weights, asked.out)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{data}.npz"
                task_file(name, found, path)
                with np.load(path) as file:
                    test = file["split"] == "test"
                    rows, labels = file["embeddings"][test], file["labels"][test]
                plain = vmf.evaluate(rows, labels, ["map"], geometry="cosine", ks=[1])
                results = compared(task, name, data, path, record, asked.seeds)
            scored = {"R@1": plain["retrieval"]["recall@1"], "MAP@R": plain["normalised"]["map@r"]}
            text.append(table(task, data, results, scored))
        (asked.out / "which_method.md").write_text("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
