"""Seconds that the trainings of `benchmarks.which_method` take, on random vectors of equal size.

python -m benchmarks.which_method_time [--rounds N]

Every method of a task trains once in every round, in turn; medians over the rounds, in which
reading the file and starting are included.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.which_method import RATES, TASKS, one_run, task_file

# images and classes of the first set of each task
SIZES = {"closed": (4_000, 10), "open": (1_122, 374), "long tail": (4_000, 10)}
DIM = 1280


def vectors(n: int, n_classes: int) -> dict[str, np.ndarray]:
    """As many random vectors of each class."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, DIM)).astype(np.float32)
    return {"embeddings": rows, "labels": np.array([f"c{i % n_classes:03}" for i in range(n)])}


def main() -> int:
    """Prints a line for every method of every task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    logging.getLogger("vmf_embeddings").setLevel(logging.WARNING)
    for name, task in TASKS.items():
        taken: dict[str, list[float]] = {title: [] for title in task.methods}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npz"
            task_file(name, vectors(*SIZES[name]), path)
            for seed in rounds:
                for title, words in task.methods.items():
                    run = one_run(path, (*task.words, *words), RATES[1], seed)
                    taken[title].append(run["seconds"])
        for title, seconds in taken.items():
            low, middle, high = np.quantile(seconds, (0, 0.5, 1))
            print(f"{name}: {title}: {middle:.1f} s ({low:.1f} to {high:.1f})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
