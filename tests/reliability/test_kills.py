"""Commands that are killed at random moments and typed again end bit for bit like undisturbed ones.

Records are compared without the columns that say how long an epoch took.
"""

import csv
import functools
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.quick_cases import mostly_slow
from tests.reliability.trial import contents, succeeds, trial

DIGITS = ("dataset=digits", "arch.params.embedding_dim=3", "num_workers=0", "mode.epochs=3")
VMF = ("train", *DIGITS, "method=vmf_softmax", "sampler.n_episodes=3", "mode.learning_rate=0.1",
       "mode.momentum=0.9")  # fmt: skip
CLASSIFIER = ("train", *DIGITS, "method=classifier", "sampler=class_aware", "schedule=cosine",
              "optimizer=adam", "mode.learning_rate=0.001")  # fmt: skip
OPEN = (
    *("train", "dataset=digits_open", *DIGITS[1:], "method=normalized_sce", "mode.momentum=0.9"),
    *("sampler=disthist_batchmatch", "schedule=multistep", "schedule.params.milestones=[2]"),
    *("schedule.params.warmup=0", "mode.learning_rate=0.1"),
)
BY_VMF, BY_CLASSIFIER = "runs/digits/vmf_softmax/3dim/run_1", "runs/digits/classifier/3dim/run_1"
EXTRACT = ("train", "mode=get_embeddings", "num_workers=0", "split=all")
TIMES = ("seconds", "images_per_second", "data_wait")


@dataclass(frozen=True)
class Work:
    """A command, and the commands before it."""

    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


WORKS = {
    "vmf": Work(VMF),
    "sampler of embeddings": Work(OPEN),
    "class-aware, cosine, adam": Work(CLASSIFIER),
    "extraction": Work((*EXTRACT, f"run={BY_VMF}"), (VMF,)),
    "second stage": Work(
        ("train", "mode=crt", f"run={BY_CLASSIFIER}", "mode.epochs=2", "num_workers=0"),
        (CLASSIFIER,),
    ),
    "evaluation": Work(
        ("evaluate", BY_VMF, "--no-figures", "--json", "all.json"),
        (VMF, (*EXTRACT, f"run={BY_VMF}")),
    ),
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Folders by the commands that were run in them."""
    root = tmp_path_factory.mktemp("homes")

    @functools.cache
    def home(commands: tuple[tuple[str, ...], ...]) -> tuple[Path, float]:
        if not commands:
            (root / "empty").mkdir()
            return root / "empty", 0.0
        before = home(commands[:-1])[0]
        folder = root / str(len(list(root.iterdir())))
        shutil.copytree(before, folder)
        return folder, succeeds(*commands[-1], cwd=folder).seconds

    return home


def differences(folder: Path, other: Path) -> list[str]:
    """Names of the files that differ in more than times, and of those that only one folder has."""
    names, others = set(contents(folder)), set(contents(other))
    return sorted(names ^ others) + [
        name for name in sorted(names & others) if not same(folder / name, other / name)
    ]


def same(path: Path, other: Path) -> bool:
    """Whether two files hold the same."""
    if path.suffix == ".pt":
        return same_values(*(torch.load(each, weights_only=True) for each in (path, other)))
    if path.name == "metrics.csv":
        return without_times(path) == without_times(other)
    if path.name in ("metrics.jsonl", "status.json") or path.suffix == ".yaml":
        return True  # the same numbers as metrics.csv; times; and Hydra's files, with folders
    return path.read_bytes() == other.read_bytes()


def same_values(a: object, b: object) -> bool:
    """Whether nested values and tensors are equal, NaN to NaN."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_values(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_values, a, b))
    if isinstance(a, torch.Tensor):
        return np.array_equal(a.numpy(), b.numpy(), equal_nan=a.is_floating_point())
    return a == b


def without_times(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(path.open()))
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def fault_of(homes, folder: Path, work: Work, moment: float) -> str:
    """Kills the command at a moment, a fraction of its duration; what is wrong with the end."""
    expected, seconds = homes((*work.before, work.command))
    shutil.copytree(homes(work.before)[0], folder)
    killed = trial(*work.command, cwd=folder, kill_after=moment * seconds)
    for part in folder.rglob("*.part"):  # later writers remove it, once it is old
        part.unlink()
    end = trial(*work.command, cwd=folder)
    if end.code or end.fault:
        return f"killed: {killed.code}; then {end.code}: {end.fault or end.errors}"
    wrong = differences(folder, expected)
    return (
        f"killed: {killed.code} after {moment * seconds:.2f} s; then differ: {wrong}"
        if wrong
        else ""
    )


@pytest.mark.parametrize("name", mostly_slow(("vmf", "extraction"), ["vmf"]))
def test_a_killed_command_ends_as_an_undisturbed_one(homes, tmp_path, name):
    assert fault_of(homes, tmp_path / "killed", WORKS[name], 0.6) == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_fifty_kills_at_random_moments_lose_nothing(homes, tmp_path, seed):
    rng = random.Random(seed)
    work = WORKS[list(WORKS)[seed % len(WORKS)]]
    assert fault_of(homes, tmp_path / "killed", work, rng.uniform(0.2, 1.0)) == ""
