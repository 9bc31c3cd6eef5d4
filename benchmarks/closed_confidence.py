"""Concentrations of von Mises-Fisher distributions in closed sets: accuracy and calibration.

python -m benchmarks.closed_confidence --data FOLDER --out FOLDER
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import t as student_t
from torch import Tensor

import vmf_embeddings as vmf
from vmf_embeddings import metrics
from vmf_embeddings.datasets.digits import Digits
from vmf_embeddings.datasets.mnist import MNIST

# as typed: mean cosine at the start, and learning rate of the log concentrations; null = none
STARTS = (("0.4", "null"), ("0.9", "null"), ("auto", "null"), ("0.4", "0.03"), ("0.9", "0.03"))
# 600 batches of 130 images; the epoch of the lowest likelihood loss, as accuracy says little of it
SHORT = ("mode.epochs=6", "sampler.n_episodes=100", "mode.select_by=nll")
# that of experiment=demo has 2021's rates, with which concentrations grow in training
RECIPES = {
    "sgd": (),
    "adam": ("optimizer=adam", "mode.learning_rate=0.001", "mode.temp_learning_rate=0.01"),
}
BASELINES = {3: "0.4, null", 128: "0.9, null"}  # by dimension: as published, and of own_closed
DRAWS = 100
KEYS = ("set", "recipe", "dim", "start", "seed", "part")


@dataclass(frozen=True)
class Job:
    """One run: data set, recipe, dimension, one of `STARTS`, seed; and what it is scored on."""

    dataset: str
    recipe: str
    width: int
    start: tuple[str, str]
    seed: int
    part: str = "test"

    @property
    def key(self) -> dict[str, str | int]:
        """What its line in the file of results begins with."""
        start = ", ".join(self.start)
        values = (self.dataset, self.recipe, self.width, start, self.seed, self.part)
        return dict(zip(KEYS, values, strict=True))


def command(job: Job, data: str) -> list[str]:
    """What one types behind `train`."""
    confidence, rate = job.start
    mnist = ["dataset=mnist", f"dataset.params.dataset_path={data}"]
    return [
        "experiment=demo", *SHORT, *(mnist if job.dataset == "mnist" else ()), *RECIPES[job.recipe],
        f"arch.params.embedding_dim={job.width}", f"arch.params.kappa_confidence={confidence}",
        f"method.params.kappa_learning_rate={rate}", f"random_seed={job.seed}",
        f"name={job.recipe}_{confidence}_{rate}_{job.seed}",
    ]  # fmt: skip


def scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Error and calibration error in percent, likelihood in nats."""
    confidence, predicted = probabilities.max(-1)
    correct = predicted == labels
    return {
        "error": 100 * (1 - metrics.accuracy(probabilities, labels)),
        "ece": 100 * metrics.expected_calibration_error(confidence, correct),
        "nll": metrics.negative_log_likelihood(probabilities, labels),
    }


def result(job: Job, data: str) -> dict:
    """Trains one run, or takes one that is there; scores a split of it both ways."""
    run = vmf.train(command(job, data), device="cpu")
    made = (
        Digits(margin_warmup_epochs=0, views=1)
        if job.dataset == "digits"
        else MNIST(data, download=False, margin_warmup_epochs=0)
    )
    method, split = run.module.eval(), made.split(job.part)
    labels = torch.as_tensor(split.labels)
    with torch.no_grad():
        rows = torch.arange(len(labels)).split(250)
        embeddings = torch.cat([method.embed(split.batch(r)["examples"]) for r in rows])
        torch.manual_seed(job.seed)
        drawn = [method.predict(embeddings) for _ in range(DRAWS // method.n_samples)]
        by_draws = torch.stack(drawn).mean(0)
        expected = method.predict_without_draws(embeddings)
    return job.key | {
        "draws": scores(by_draws, labels), "expected": scores(expected, labels),
        "status": method.status(), "epoch": run.metrics.get("epoch"),
    }  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of Student's 95 % interval."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values), float(student_t.ppf(0.975, len(values) - 1)) * error


def table(found: list[dict]) -> Iterator[str]:
    """Lines of Markdown: mean and spread over seeds, paired differences from `BASELINES`."""
    yield (
        "| set | D | optimizer | start | rate of log kappa | seeds | error, % "
        "| minus baseline (95 %) | calibration error by draws, % | minus baseline (95 %) "
        "| by expected logits, % "
        "| NLL by draws, nats | beta at the end | kappa of classes |"
    )
    yield "|---" * 14 + "|"
    found = [f for f in found if f["part"] == "test"]
    for group in sorted({(f["set"], f["dim"], f["recipe"]) for f in found}):
        here = [f for f in found if (f["set"], f["dim"], f["recipe"]) == group]
        for start in map(", ".join, STARTS):
            runs = [f for f in here if f["start"] == start]
            base = {f["seed"]: f for f in here if f["start"] == BASELINES[group[1]]}
            if runs:
                cells = [*map(str, group), *start.replace("null", "–").split(", "), str(len(runs))]
                yield f"| {' | '.join([*cells, *_cells(runs, base)])} |"


def _cells(runs: list[dict], base: dict[int, dict]) -> Iterator[str]:
    for name in ("error", "ece"):
        yield _spread([f["draws"][name] for f in runs], 1)
        pairs = [(f, base[f["seed"]]) for f in runs if f["seed"] in base]
        yield _difference([f["draws"][name] - b["draws"][name] for f, b in pairs])
    yield _spread([f["expected"]["ece"] for f in runs], 1)
    yield _spread([f["draws"]["nll"] for f in runs], 3)
    yield f"{statistics.fmean(1 / f['status']['temperature'] for f in runs):.0f}"
    yield f"{statistics.fmean(f['status']['kappa'] for f in runs):.0f}"


def _spread(values: Sequence[float], digits: int) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):.{digits}f} ± {spread:.{digits}f}"


def _difference(values: Sequence[float]) -> str:
    if len(values) < 2 or not any(values):
        return ""
    mean, half = interval(values)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def main() -> int:
    """Runs what is missing, writes closed_confidence.jsonl and .md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw (data)")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")
    parser.add_argument("--sets", nargs="+", default=["digits", "mnist"])
    parser.add_argument("--recipes", nargs="+", default=["adam", "sgd"], choices=RECIPES)
    parser.add_argument("--widths", nargs="+", type=int, default=[3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--part", default="test", choices=("valid", "test"), help="that is scored")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    lines = asked.out / "closed_confidence.jsonl"
    found = [json.loads(text) for text in lines.read_text().splitlines()] if lines.exists() else []
    known = {tuple(f[name] for name in KEYS) for f in found}
    jobs = [
        Job(dataset, recipe, width, start, seed, asked.part)
        for recipe in asked.recipes for dataset in asked.sets for width in asked.widths
        for seed in asked.seeds for start in STARTS
    ]  # fmt: skip
    for job in jobs:
        if tuple(job.key.values()) not in known:
            found.append(result(job, asked.data))
            with lines.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
    (asked.out / "closed_confidence.md").write_text("\n".join(table(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
