"""Directional methods side by side: open sets, long tails, closed sets, calibration, time.

python -m benchmarks.directional_methods --data FOLDER --sets FOLDER --weights FILE --out FOLDER

Images of digits by a small convolutional network, and feature vectors of pictures (folders of
`benchmarks.own_sets`) by a layer or two. Every method gets the learning rate, of three, that is
best over another seed: in open sets of digits with the classes swapped, else on validation rows.
Runs that are in the record are not repeated, so that several of these commands may follow.
"""

import argparse
import csv
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from benchmarks.directional_runs import (
    EXPECTED,
    Images,
    Parts,
    Vectors,
    closed_scores,
    open_scores,
)
from benchmarks.study import cell
from benchmarks.which_method import Record, features_of, task_file
from vmf_embeddings.metrics import holm

TUNING_SEED, SEEDS = 0, (1, 2, 3, 4, 5)
RATES = (3e-4, 1e-3, 3e-3)
LEARNED = ("arch.params.learn_temp=true", "arch.params.init_temp=-2.77")
SCALE = "head.params.scale=16"  # Adam moves the learned one, which starts at 1.69, too slowly
LENGTH = ("arch.params.normalize=false",)  # the norm of an embedding is its concentration
VMF = ("method=vmf_softmax", *LEARNED, *LENGTH)
ELK = ("method=elk", *LENGTH, "arch.params.kappa_confidence=auto")
COSINE = ("method=normalized_sce", *LEARNED)
ARCFACE = ("method=arcface", *LEARNED)
ADAM = ("optimizer=adam", "mode.weight_decay=0.0004")


def dml(criterion: str, *words: str) -> tuple[str, ...]:
    """Words of a criterion on pairs or proxies."""
    return ("method=dml", f"criterion={criterion}", *words)


OPEN = {
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax": (*VMF, "arch.params.kappa_confidence=auto"),
    "t-vMF": ("method=classifier", "head=tvmf_k16", SCALE),
    "ELK": ELK,
    "nivMF": ("method=nivmf", *ELK[1:]),
    "MCInfoNCE": dml("mcinfonce", *LENGTH),
    "CIDER": dml("cider", "criterion.params.momentum=0.95"),
    "proxy anchor": dml("proxy_anchor"),
    "SupCon": dml("supcon"),
    "Recall@k": dml("recall_at_k"),
    "Hyp-ViT": dml("poincare_pairs", *LENGTH),
}
CLOSED = {
    "softmax": ("method=unnormalized_sce",),
    **{name: OPEN[name] for name in ("cosine softmax", "ArcFace")},
    "vMF softmax": (*VMF, "arch.params.kappa_confidence=0.9"),
    "t-vMF": OPEN["t-vMF"],
    "ELK": ("method=elk", *LEARNED[:1], *LENGTH, "arch.params.kappa_confidence=0.7"),
    **{name: OPEN[name] for name in list(OPEN)[6:]},
}
PRIOR = "loss=balanced_softmax"
LONG_TAIL = {
    "softmax": ("method=classifier", "loss=ce"),
    "balanced softmax": ("method=classifier", PRIOR),
    "cosine, balanced": ("method=classifier", "head=cosine", SCALE, PRIOR),
    "t-vMF, balanced": (*OPEN["t-vMF"], PRIOR),
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax": CLOSED["vMF softmax"],
    "ELK": CLOSED["ELK"],
    "ProCo": ("method=proco", SCALE, "dataset.params.views=3"),
    "BCL": ("method=bcl", SCALE, "dataset.params.views=3"),
    "PaCo": ("method=paco", "dataset.params.views=2"),
}
CALIBRATION = {
    "softmax": CLOSED["softmax"],
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax, 0.4": (*VMF, "arch.params.kappa_confidence=0.4"),
    "vMF softmax, auto": (*VMF, "arch.params.kappa_confidence=auto"),
}


@dataclass(frozen=True)
class Task:
    """Sets that are split in one way, and the methods and scores that are compared on them.

    Attributes:
        methods: title -> words of the command.
        scores: of the parts of a run.
        columns: titles of the table.
        compared: those of them that are compared with the baseline's.
        baseline: title of a method.
        chosen_by: score of the tuning run that is largest at the best rate.
        words: of every command.
        sets: name -> words of its commands.
    """

    methods: dict[str, tuple[str, ...]]
    scores: Callable[[Parts], dict[str, float]]
    columns: tuple[str, ...]
    compared: tuple[str, ...]
    baseline: str
    chosen_by: str
    words: tuple[str, ...] = ()
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)


OPEN_COLUMNS = ("R@1", "MAP@R", "few-shot", "R-AUROC, norm", "R-AUROC, nearest", "OOD AUROC",
                "accuracy")  # fmt: skip
CLOSED_COLUMNS = ("accuracy", "ECE", "ECE, scaled", "NLL, scaled", "R@1", "MAP@R")
M_PER_CLASS = ("sampler=m_per_class",)
TASKS = {
    "open": Task(
        OPEN, open_scores, OPEN_COLUMNS, ("R@1",), "cosine softmax", "MAP@R",
        sets={"digits_open": (), "mnist_open": ()},
    ),
    "open pictures": Task(
        OPEN, open_scores, tuple(c for c in OPEN_COLUMNS if c not in ("OOD AUROC", "accuracy")),
        ("R@1",), "cosine softmax", "MAP@R",
        ("dataset.params.open_set=true", "arch=linear", "sampler=m_per_class"),
        {"letters3": ()},
    ),
    "long tail": Task(
        LONG_TAIL, closed_scores, ("accuracy", "few", "ECE", "ECE, scaled", "R@1"),
        ("accuracy", "few"), "balanced softmax", "accuracy", ADAM,
        {"digits_lt": (), "mnist_lt": ("mode.epochs=20",)},
    ),
    "calibration": Task(
        CALIBRATION, closed_scores,
        ("accuracy", "ECE", "ECE, scaled", "NLL", "NLL, scaled"), ("ECE", "ECE, scaled"),
        "cosine softmax", "accuracy",
        ("arch.params.embedding_dim=3", "sampler.n_episodes=57",
         "optimizer=adam", "mode.epochs=30", "mode.patience=30"),
        {"mnist": ("dataset=mnist",)},
    ),
    "pictures": Task(
        CLOSED, closed_scores, CLOSED_COLUMNS, ("accuracy",), "cosine softmax", "accuracy",
        sets={"glyphs": ()},
    ),
}  # fmt: skip
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
            experiment = "demo" if task == "calibration" else name
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
    run, parts = source.trained([*words, *seen, "resume=never", "trainer.threads=1"])
    if chosen and not (isinstance(source, Images) and source.swapped):
        parts = {**parts, "test": parts["valid"]}
    found = {name: float(v) for name, v in task.scores(parts).items() if v is not None}
    return {"seconds": time.perf_counter() - began, "scores": found}


def results(
    name: str, data: str, sets: Sets, record: Record, seeds: Sequence[int]
) -> dict[str, tuple[float, list[dict]]]:
    """Title of each method -> its rate, and its results over the seeds."""
    task, found = TASKS[name], {}
    for title, words in task.methods.items():
        begin = f"{name}/{data}/{title}"

        def run_of(
            rate: float, seed: int, chosen: bool, words: Sequence[str] = words, begin: str = begin
        ) -> dict:
            every = [*task.words, *task.sets[data], *words, f"mode.learning_rate={rate}",
                     f"random_seed={seed}", f"name=directional_{os.getpid()}"]  # fmt: skip
            key = f"{begin}/{rate:g}/{seed}"
            return record.get(
                key, lambda: one_run(task, sets.of(name, data, swapped=chosen), every, chosen)
            )

        tuned = {r: run_of(r, TUNING_SEED, True)["scores"][task.chosen_by] for r in RATES}
        best = max(RATES, key=lambda rate: tuned[rate])
        found[title] = best, [run_of(best, seed, False) for seed in seeds]
        print(f"{begin}: {best:g}", flush=True)
    return found


def table(task: Task, found: dict[str, tuple[float, list[dict]]]) -> Iterator[str]:
    """Lines of Markdown: mean and standard error over seeds, paired differences from one method.

    A star says that p <= 0.05 of a paired t test, corrected for all of the table (Holm).
    """
    rows = dict(_rows(found))
    base = rows[task.baseline][1]
    differences = {
        (title, score): [
            100 * (run[score] - other[score]) for run, other in zip(runs, base, strict=True)
        ]
        for title, (_, runs) in rows.items()
        for score in task.compared
        if title != task.baseline
    }
    p_values = holm([_p_value(values) for values in differences.values()]).tolist()
    clear = {key for key, p in zip(differences, p_values, strict=True) if p <= 0.05}
    compared = (f"{score} less {task.baseline}'s (95 %)" for score in task.compared)
    head = ["", *task.columns, *compared, "rate"]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for title, (rate, runs) in rows.items():
        cells = [_mean(column, [run.get(column) for run in runs]) for column in task.columns]
        for key in ((title, score) for score in task.compared):
            known = key in differences
            cells.append(_difference(differences[key]) + "*" * (key in clear) if known else "–")
        yield f"| {' | '.join([title, *cells, f'{rate:g}'])} |"


def _rows(
    found: dict[str, tuple[float, list[dict]]],
) -> Iterator[tuple[str, tuple[float, list[dict]]]]:
    """Title, rate, scores of the seeds; methods that draw samples twice, by draws and without."""
    for title, (rate, runs) in found.items():
        scores = [run["scores"] for run in runs]
        yield title, (rate, scores)
        if f"ECE{EXPECTED}" in scores[0]:
            own = [{name: s.get(f"{name}{EXPECTED}", s[name]) for name in s} for s in scores]
            yield title + EXPECTED, (rate, own)


def _p_value(differences: Sequence[float]) -> float:
    return float(ttest_1samp(differences, 0).pvalue) if any(differences) else 1.0


def _mean(column: str, values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None and not np.isnan(v)]
    if len(known) < len(values) or len(known) < 2:
        return "–"
    error = statistics.stdev(known) / len(known) ** 0.5
    if column.startswith("NLL"):
        return f"{statistics.fmean(known):.3f} ± {error:.3f}"
    return cell({"mean": 100 * statistics.fmean(known), "standard_error": 100 * error})


def _difference(differences: Sequence[float]) -> str:
    error = statistics.stdev(differences) / len(differences) ** 0.5
    half = float(student_t.ppf(0.975, len(differences) - 1)) * error
    return cell({"mean": statistics.fmean(differences), "half_width": half})


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
    parser.add_argument("--data", default="data", help="folder that holds MNIST/raw (data)")
    parser.add_argument(
        "--sets", type=Path, default=Path("sets"), help="folders of pictures (sets)"
    )
    parser.add_argument("--weights", type=Path, default=Path("tf_efficientnet_lite0.safetensors"))
    parser.add_argument("--out", type=Path, required=True, help="where records and tables go")
    parser.add_argument("--only", nargs="+", help="of the names of sets (all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--times", type=int, default=0, help="rounds in which steps are timed (0)")
    asked = parser.parse_args()
    logging.getLogger("vmf_embeddings").setLevel(logging.ERROR)
    asked.out.mkdir(parents=True, exist_ok=True)
    sets = Sets(asked.data, asked.sets, asked.weights, asked.out)
    text = []
    for name, task in TASKS.items():
        for data in task.sets:
            if asked.only is None or data in asked.only:
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
