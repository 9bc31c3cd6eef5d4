"""Directional methods side by side: open sets, long tails, closed sets, calibration, time.

python -m benchmarks.directional_methods --data FOLDER --sets FOLDER --weights FILE --out FOLDER

Images of digits by a small convolutional network, and feature vectors of pictures (folders of
`benchmarks.own_sets`) by a layer or two. Every method gets the learning rate, of those searched,
that is best over another seed: in open sets of digits with the classes swapped, else on validation
rows.
Runs that are in the record are not repeated, so that several of these commands may follow.
"""

import argparse
import csv
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.directional_runs import Images, Vectors
from benchmarks.directional_tables import table
from benchmarks.directional_tasks import OPEN, SEEDS, TASKS, TUNING_SEED, Task
from benchmarks.which_method import Record, features_of, task_file
from vmf_embeddings.training.fit import NonFiniteLoss

SEEN = 40_000  # feature vectors that a training sees


class Sets:
    """Where the sets come from.

    Args:
        data: folder of MNIST.
        pictures: folder of folders of pictures.
        weights: of the network that makes features of them.
        out: where features are kept.
    """

    def __init__(self, data: str, pictures: Path, weights: Path, out: Path) -> None:
        self.data, self.pictures, self.weights, self.out = data, pictures, weights, out
        self.folder = Path(tempfile.mkdtemp())

    def of(self, task: str, name: str, swapped: bool = False) -> Images | Vectors:
        if "pictures" not in task:
            data = self.data if "mnist" in name else ""
            experiment = "demo" if task.startswith("calibration") else name
            return Images(experiment, data, swapped and task == "open")
        path = self.folder / f"{task.split()[0]}_{name}.npz"
        if not path.exists():
            found = features_of(self.pictures / name, self.weights, self.out)
            task_file("open" if task.startswith("open") else "closed", found, path)
        return Vectors(path)


def one_run(task: Task, source: Images | Vectors, words: Sequence[str], chosen: bool) -> dict:
    """Trains, and scores the test rows; to choose a rate, other rows than those of the table."""
    began = time.perf_counter()
    seen = [f"mode.images_seen={SEEN}"] if isinstance(source, Vectors) else []
    try:
        run, parts = source.trained([*words, *seen, "resume=never", "trainer.threads=1"])
    except NonFiniteLoss:
        if not chosen:
            raise
        return {"seconds": time.perf_counter() - began, "scores": {task.chosen_by: 0.0}}
    if chosen and not (isinstance(source, Images) and source.swapped):
        parts = {**parts, "test": parts["valid"]}
    found = {name: float(v) for name, v in task.scores(parts).items() if v is not None}
    found["gain"] = last_gain(run.folder)
    state = run.module.status()
    return {"seconds": time.perf_counter() - began, "scores": found, "status": state}


def last_gain(folder: Path) -> float:
    """What the last quarter of the epochs added to the best validation score."""
    with (folder / "metrics.csv").open() as file:
        values = [float(row["valid_metric"]) for row in csv.DictReader(file)]
    return max(values) - max(values[: max(1, 3 * len(values) // 4)])


def best_of(values: Sequence[float], start: float, score: Callable[[float], Any]) -> float:
    """The value of a sorted list with the best score: a search outward from `start`.

    The values beside the best one are tried until both of them, where it has two, are worse.
    Of equal ones the one that was tried first is kept.
    """
    tried = {start: score(start)}
    while True:
        best = max(tried, key=tried.__getitem__)
        place = values.index(best)
        beside = [v for v in values[max(0, place - 1) : place + 2] if v not in tried]
        if not beside:
            return best
        tried |= {value: score(value) for value in beside}


@dataclass(frozen=True)
class Row:
    """Runs of one method on one set, each at most once."""

    name: str
    data: str
    title: str
    sets: Sets
    record: Record

    @property
    def task(self) -> Task:
        return TASKS[self.name]

    def run(self, rates: Sequence[float], seed: int, chosen: bool = False) -> dict:
        """Result of a learning rate and, where it is searched, that of the temperature."""
        task = self.task
        keys = ("mode.learning_rate", "mode.temp_learning_rate")
        every = [*task.words, *(task.sets | task.on_request)[self.data], *task.methods[self.title],
                 *(f"{key}={rate}" for key, rate in zip(keys, rates, strict=False)),
                 f"random_seed={seed}", f"name=directional_{os.getpid()}"]  # fmt: skip
        key = f"{self.name}/{self.data}/{self.title}/{label(rates)}/{seed}"
        source = (self.name, self.data, chosen)
        return self.record.get(key, lambda: one_run(task, self.sets.of(*source), every, chosen))

    def score(self, rates: Sequence[float], by: str = "") -> tuple[float, ...]:
        """Of the tuning run; in calibration of equally accurate ones the likelier is better."""
        scores = self.run(rates, TUNING_SEED, chosen=True)["scores"]
        likelihood = -scores.get("NLL", math.inf)
        if by == "NLL":
            return (likelihood,)
        ties = (likelihood,) if self.name.startswith("calibration") else ()
        return (scores[self.task.chosen_by], *ties)

    def best_rates(self) -> tuple[float, ...]:
        """The learning rate, then that of the temperature: accuracy hardly depends on it."""
        task = self.task
        if task.rates_of[0]:
            name, data = task.rates_of
            record = Record(self.sets.out / f"{data}.jsonl")
            return replace(self, name=name, data=data, record=record).best_rates()
        published = task.published.get(self.title, 1.0)
        rates = [float(f"{published * factor:g}") for factor in task.rates]
        learned = "arch.params.learn_temp=true" in task.methods[self.title]
        others = task.temperature_rates if learned else ()
        best = best_of(rates, rates[len(rates) // 2], lambda r: self.score((r, *others[:1])))
        if not others:
            return (best,)
        return best, best_of(sorted(others), others[0], lambda r: self.score((best, r), "NLL"))


def label(rates: Sequence[float]) -> str:
    """As in the tables and in the record."""
    return "; ".join(f"{rate:g}" for rate in rates)


def results(
    name: str, data: str, sets: Sets, record: Record, seeds: Sequence[int]
) -> dict[str, tuple[str, list[dict]]]:
    """Title of each method -> its rates, and its results over the seeds."""
    found = {}
    for title in TASKS[name].methods:
        row = Row(name, data, title, sets, record)
        best = row.best_rates()
        found[title] = label(best), [row.run(best, seed) for seed in seeds]
        print(f"{name}/{data}/{title}: {label(best)}", flush=True)
    return found


def times(rounds: int) -> dict[str, float]:
    """Milliseconds per training step of each method, batches of 90 digits: the fastest epoch."""
    found: dict[str, float] = {}
    for _ in range(rounds):  # one after another, so that a busy moment does not hit one method
        for title, words in OPEN.items():
            every = ["experiment=digits_open", *words, "mode.epochs=4", "resume=never",
                     "trainer.threads=1", "name=directional_times"]  # fmt: skip
            run, _ = Images("digits_open").trained(every[1:])
            with (run.folder / "metrics.csv").open() as file:
                fastest = max(float(row["images_per_second"]) for row in csv.DictReader(file))
            found[title] = min(found.get(title, np.inf), 90_000 / fastest)
    return found


def main() -> int:
    """Runs what is missing, and writes directional_methods.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="data", help="folder that holds MNIST/raw, and FashionMNIST/raw (data)"
    )
    parser.add_argument(
        "--sets", type=Path, default=Path("sets"), help="folders of pictures (sets)"
    )
    parser.add_argument("--weights", type=Path, default=Path("tf_efficientnet_lite0.safetensors"))
    parser.add_argument("--out", type=Path, required=True, help="where records and tables go")
    parser.add_argument("--only", nargs="+", help="of the names of sets (all but Fashion-MNIST)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--times", type=int, default=0, help="rounds in which steps are timed (0)")
    asked = parser.parse_args()
    logging.getLogger("vmf_embeddings").setLevel(logging.ERROR)
    asked.out.mkdir(parents=True, exist_ok=True)
    sets = Sets(asked.data, asked.sets, asked.weights, asked.out)
    text = []
    for name, task in TASKS.items():
        for data in task.sets | task.on_request:
            if data in (task.sets if asked.only is None else asked.only):
                record = Record(asked.out / f"{data}.jsonl")
                found = results(name, data, sets, record, asked.seeds)
                text += [f"**{data}**", "", *table(task, found), ""]
    if asked.times:
        found = times(asked.times)
        text += [
            "| | ms per step |",
            "|---|---|",
            *(f"| {t} | {v:.1f} |" for t, v in found.items()),
        ]
    part = "" if asked.only is None else f"_{'_'.join(asked.only)}"
    (asked.out / f"directional_methods{part}.md").write_text("\n".join(text) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
