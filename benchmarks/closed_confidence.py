"""Initial mean cosine of von Mises-Fisher distributions in closed sets: accuracy and calibration.

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

# mean cosine of the classes and of the images, as typed; null = that of the classes
STARTS = {
    "adam": (("0.4", "null"), ("0.9", "null"), ("0.99", "null"), ("auto", "null")),
    "sgd": (("0.4", "null"), ("auto", "null")),
}
SHORT = ("mode.epochs=6", "sampler.n_episodes=100")  # 600 batches of 130 images
# that of experiment=demo has 2021's rates, with which concentrations grow in training
RECIPES = {
    "sgd": (),
    "adam": ("optimizer=adam", "mode.learning_rate=0.001", "mode.temp_learning_rate=0.01"),
}
BASELINE = "0.4, null"
DRAWS = 100


@dataclass(frozen=True)
class Job:
    """One run: data set, recipe, dimension, mean cosines of classes and images, seed."""

    dataset: str
    recipe: str
    width: int
    start: tuple[str, str]
    seed: int

    @property
    def key(self) -> dict[str, str | int]:
        """What its line in the file of results begins with."""
        return {
            "set": self.dataset, "recipe": self.recipe, "dim": self.width,
            "start": ", ".join(self.start), "seed": self.seed,
        }  # fmt: skip


def command(job: Job, data: str) -> list[str]:
    """What one types behind `train`."""
    classes, images = job.start
    mnist = ["dataset=mnist", f"dataset.params.dataset_path={data}"]
    return [
        "experiment=demo", *SHORT, *(mnist if job.dataset == "mnist" else ()), *RECIPES[job.recipe],
        f"arch.params.embedding_dim={job.width}", f"arch.params.kappa_confidence={classes}",
        f"method.params.image_confidence={images}", f"random_seed={job.seed}",
        f"name={job.recipe}_{classes}_{images}_{job.seed}",
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
    """Trains one run, or takes one that is there; scores its test split both ways."""
    run = vmf.train(command(job, data), device="cpu")
    made = (
        Digits(margin_warmup_epochs=0, views=1)
        if job.dataset == "digits"
        else MNIST(data, download=False, margin_warmup_epochs=0)
    )
    method, split = run.module.eval(), made.split("test")
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
    """Lines of Markdown: mean and spread over seeds, paired differences from the start at 0.4."""
    yield (
        "| set | optimizer | start | error, % | minus 0.4 (95 %) | calibration error by draws, % "
        "| minus 0.4 (95 %) | by expected logits, % | NLL by draws, nats | beta at the end "
        "| kappa of classes |"
    )
    yield "|---" * 11 + "|"
    for group in sorted({(f["set"], f["recipe"]) for f in found}):
        here = [f for f in found if (f["set"], f["recipe"]) == group]
        starts = [", ".join(start) for start in STARTS[group[1]]]
        for start in starts:
            runs = [f for f in here if f["start"] == start]
            base = {f["seed"]: f for f in here if f["start"] == BASELINE}
            if runs:
                cells = " | ".join(_cells(runs, base))
                yield f"| {' | '.join(group)} | {start.split(',')[0]} | {cells} |"


def _cells(runs: list[dict], base: dict[int, dict]) -> Iterator[str]:
    for name in ("error", "ece"):
        yield _spread([f["draws"][name] for f in runs], 1)
        yield _difference([f["draws"][name] - base[f["seed"]]["draws"][name] for f in runs])
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
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    lines = asked.out / "closed_confidence.jsonl"
    found = [json.loads(text) for text in lines.read_text().splitlines()] if lines.exists() else []
    known = {(f["set"], f["recipe"], f["dim"], f["start"], f["seed"]) for f in found}
    jobs = [
        Job(dataset, recipe, width, start, seed)
        for recipe in asked.recipes for dataset in asked.sets for width in asked.widths
        for seed in asked.seeds for start in STARTS[recipe]
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
