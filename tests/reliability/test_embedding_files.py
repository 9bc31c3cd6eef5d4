"""Damaged embedding files are scored rightly or refused by name; no trace, and no file changes."""

import contextlib
import io
import json
import math
import random
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.runs import make_file
from tests.reliability.mutations import (
    changed_archive,
    changed_arrays,
    changed_text,
    changed_tree,
    damaged,
    npz_bytes,
)
from tests.reliability.trial import TRACES
from vmf_embeddings.cli.commands import run_command
from vmf_embeddings.embeddings import save_embeddings

GEOMETRIES = ({"name": "cosine"}, {"name": "vmf"}, {"name": "poincare", "c": 1e-2})
PER_BLOCK = 50


def own_arrays(folder: Path, rng: random.Random) -> dict[str, np.ndarray]:
    """A file of this package: closed or open, of one of three geometries."""
    geometry = rng.choice(GEOMETRIES)
    draws = 4 if geometry["name"] == "vmf" else None
    file = make_file(geometry, open_set=rng.random() < 0.5, n_draws=draws, seed=rng.randrange(99))
    save_embeddings(folder / "toy_test.npz", file)
    with np.load(folder / "toy_test.npz") as archive:
        return dict(archive)


def foreign_table(arrays: dict[str, np.ndarray]) -> str:
    rows = zip(arrays["embeddings"], arrays["ids"], strict=True)
    lines = [",".join([*(f"{x:.6g}" for x in row), f"c{label}"]) for row, label in rows]
    return "\n".join(["f0,f1,f2,label", *lines]) + "\n"


def changed_file(folder: Path, rng: random.Random) -> Path:
    """Writes one damaged file of a kind that `evaluate` reads."""
    path = folder / "toy_test.npz"
    arrays = own_arrays(folder, rng)
    kind = rng.choice(
        ("bytes", "arrays", "arrays", "archive", "meta", "meta", "foreign", "npy", "csv")
    )
    if kind == "bytes":
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif kind == "arrays":
        path.write_bytes(npz_bytes(changed_arrays(arrays, rng)))
    elif kind == "archive":
        path.write_bytes(changed_archive(path.read_bytes(), rng))
    elif kind == "meta":
        meta = changed_tree(json.loads(str(arrays["meta"])), rng)
        text = json.dumps(meta, ensure_ascii=rng.random() < 0.5)
        arrays["meta"] = np.array(text.replace("\x00", ""))
        path.write_bytes(npz_bytes(arrays))
    elif kind == "foreign":
        foreign = {"features": arrays["embeddings"], "labels": arrays["ids"]}
        path.write_bytes(npz_bytes(changed_arrays(foreign, rng)))
    else:
        path.unlink()
        path = write_foreign(folder, arrays, kind, rng)
    return path


def write_foreign(folder: Path, arrays: dict, kind: str, rng: random.Random) -> Path:
    if kind == "csv":
        path = folder / "rows.csv"
        path.write_bytes(changed_text(foreign_table(arrays), rng))
        return path
    path = folder / "rows.npy"
    changed = changed_arrays({"rows": arrays["embeddings"], "labels": arrays["ids"]}, rng)
    for name, target in (("rows", path), ("labels", folder / "rows_labels.npy")):
        stream = io.BytesIO()
        np.save(stream, changed.get(name, arrays["embeddings"]))
        data = stream.getvalue()
        target.write_bytes(damaged(data, rng) if rng.random() < 0.3 else data)
    return path


def run_in_process(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = lambda message, kind, *_: errors.write(
                f"{kind.__name__}: {message}\n"
            )
            try:
                code = run_command([str(word) for word in words])
            except SystemExit as error:
                code = error.code
    return code, output.getvalue(), errors.getvalue()


def numbers_below(node: object) -> list[float]:
    if isinstance(node, dict):
        return [x for value in node.values() for x in numbers_below(value)]
    if isinstance(node, list):
        return [x for value in node for x in numbers_below(value)]
    return [float(node)] if isinstance(node, int | float) else []


def fault_of(path: Path, command: str, *options: str) -> str:
    """What is wrong with how a command meets a file; empty if nothing is."""
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    try:
        code, _, errors = run_in_process(command, path, *options)
    except Exception as error:  # whatever comes through is a fault
        return f"{type(error).__name__}: {error}"
    if TRACES.search(errors):
        return f"exit code {code}: {errors}"
    if any(each.read_bytes() != data for each, data in before.items()):
        return "a file was changed"
    if code == 2:
        return "" if path.stem in errors else f"no name of the file in {errors!r}"
    if code not in ((0, 1) if command == "check" else (0,)):
        return f"exit code {code}: {errors}"
    scores = path.parent / "metrics.json"
    if command == "evaluate":
        values = numbers_below(json.loads(scores.read_text()))
        if not values or not all(map(math.isfinite, values)):
            return f"scores that are not finite: {scores.read_text()}"
    return ""


def faults_of_block(folder: Path, seed: int, n: int) -> list[str]:
    """What is wrong with how `n` damaged files of a seed are met."""
    faults = []
    for number in range(n):
        below = folder / str(number)
        below.mkdir()
        rng = random.Random(1000 * seed + number)
        path = changed_file(below, rng)
        for command, *options in (("evaluate", "--no-figures"), ("check",)):
            fault = fault_of(path, command, *options)
            if fault:
                faults.append(f"{seed}:{number} {path} {command}: {fault}")
    return faults


def test_sixty_damaged_files_are_scored_or_refused_by_name(tmp_path):
    assert faults_of_block(tmp_path, 0, 60) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_five_hundred_damaged_files_are_scored_or_refused_by_name(tmp_path, seed):
    assert faults_of_block(tmp_path, seed, PER_BLOCK) == []
