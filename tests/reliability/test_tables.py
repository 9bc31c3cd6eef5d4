"""Damaged tables and lists of images are read rightly or refused by name; no trace."""

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.datasets.images import draw
from tests.reliability.mutations import changed_text
from tests.reliability.test_embedding_files import run_in_process
from tests.reliability.trial import TRACES

PER_BLOCK = 20
SPLITS = ("train", "train", "train", "valid", "test", "test")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of two classes of six images each."""
    folder = tmp_path_factory.mktemp("tables")
    for label in range(2):
        for number in range(6):
            draw(folder / f"class_{label}" / f"{number}.png", seed=number, label=label)
    return folder


def damaged_table(folder: Path, rng: random.Random) -> tuple[str, ...]:
    """Writes a damaged table, or lists of which one is damaged; the names to expect in messages."""
    images = [(f"class_{c}/{n}.png", c, SPLITS[n]) for c in range(2) for n in range(6)]
    if rng.random() < 0.6:
        lines = [f"{path},{label},{split}" for path, label, split in images]
        text = "\n".join(["path,label,split", *lines]) + "\n"
        (folder / "table.csv").write_bytes(changed_text(text, rng))
        return ("table.csv",)
    damaged = rng.choice(("train", "test"))
    for name, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        text = "".join(f"{path} {c}\n" for path, c, of in images if of == split)
        data = changed_text(text, rng) if name == damaged else text.encode()
        (folder / f"{name}.txt").write_bytes(data)
    return ("train.txt", "test.txt")


def fault_of(folder: Path, names: tuple[str, ...]) -> str:
    """What is wrong with how `check` meets a folder; empty if nothing is."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, output, errors = run_in_process("check", folder, "--json")
    if TRACES.search(errors):
        return errors
    if {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} != before:
        return "a file was changed"
    named = (*names, folder.name, "class", "split", "images")
    if code == 2:
        return "" if any(name in errors for name in named) else f"nothing is named: {errors}"
    found = json.loads(output)
    counts = sum(sum(split.values()) for split in found["counts"].values())
    faults = [*found["faults"], *found["broken"]]
    if code == 1:
        return "" if all(any(n in one for n in named) for one in faults) and faults else output
    return "" if code == 0 and 10 <= counts <= 14 and not faults else f"exit code {code}: {output}"


def faults_of_block(home: Path, folder: Path, seed: int, n: int) -> list[str]:
    """What is wrong with how `n` damaged tables of a seed are met."""
    faults = []
    for number in range(n):
        below = folder / f"data_{number}"
        shutil.copytree(home, below)
        names = damaged_table(below, random.Random(1000 * seed + number))
        try:
            fault = fault_of(below, names)
        except Exception as error:  # whatever comes through is a fault
            fault = f"{type(error).__name__}: {error}"
        if fault:
            faults.append(f"{seed}:{number} {below}: {fault}")
    return faults


def test_damaged_tables_are_read_or_refused_by_name(home, tmp_path):
    assert faults_of_block(home, tmp_path, 0, 20) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_two_hundred_damaged_tables_are_read_or_refused_by_name(home, tmp_path, seed):
    assert faults_of_block(home, tmp_path, seed, PER_BLOCK) == []
