"""How long commands take on small inputs in a fresh process, beside `import torch` (F4)."""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.extraction import images_in, untrained
from benchmarks.latency import call, imported
from benchmarks.measure import spread
from benchmarks.results import Entry, Setting

MODULE = ("-m", "vmf_embeddings")
PEER = "import torch"
ROWS, DIM, SIDE = 500, 64, 32
HEAVY = ("torch", "torchvision", "timm", "accelerate", "hydra", "omegaconf", "numba", "faiss",
         "sklearn", "scipy", "pandas", "matplotlib", "rich", "pyarrow")  # fmt: skip
WITH_GOAL = ("evaluate", "search", "embed")
WITHOUT_TORCH = ("check",)


def main(setting: Setting) -> list[Entry]:
    """Processor time and wall time of each command; which heavy packages it imports."""
    entry = Entry(
        "start",
        f"a fresh process per call, in turn, files in the page cache; a file of {ROWS} vectors x "
        f"{DIM}, a run of resnet32, images of {SIDE} x {SIDE} pixels",
    )
    with tempfile.TemporaryDirectory() as place:
        cases = commands(Path(place))
        seconds = timed(cases, setting.rounds, setting.warmup)
        for name, arguments in cases.items():
            entry.figures[name] = {
                "wall_ms": 1e3 * np.median(seconds[name][0]),
                "processor_ms": 1e3 * np.median(seconds[name][1]),
                "imports": imported(arguments, HEAVY),
            }
    for name in [name for name in cases if name != PEER]:
        for what, mine, peer in zip(
            ("wall", "processor"), seconds[name], seconds[PEER], strict=True
        ):
            ratio = spread(np.array(mine) / np.array(peer))
            entry.ratios[f"{name} / {PEER}, {what} time"] = ratio
        if name in WITH_GOAL:
            entry.check(setting, f"F4 {name}", ratio)  # of processor time
    loads = [name for name in WITHOUT_TORCH if "torch" in entry.figures[name]["imports"]]
    entry.check(setting, "F4 without torch", float(len(loads)))
    entry.notes.append(
        "the goals are held against processor time, user and system: wall time of a fresh process "
        "is also that of other programs on the machine"
    )
    return [entry]


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of the interpreter, on inputs that are written to `folder`."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    file = folder / "rows.npz"
    np.savez(file, embeddings=rows, labels=np.arange(ROWS) % 20)
    images = images_in(folder / "images", 24, SIDE)
    run = untrained(images, "resnet32", SIDE, folder / "run")
    picture, out = str(next(images.rglob("*.jpg"))), str(folder / "out.npz")
    evaluate, embed = (*MODULE, "evaluate", str(file)), (*MODULE, "embed", str(run), picture)
    return {
        PEER: ("-c", "import torch"),
        "evaluate": (*evaluate, "--no-figures"),
        "evaluate with figures": evaluate,
        "search": (*MODULE, "search", "row:0", "--in", str(file), "-k", "5"),
        "embed": (*embed, "-o", out, "--force", "--device", "cpu"),
        "check": (*MODULE, "check", str(images)),
    }


def timed(
    cases: dict[str, tuple[str, ...]], rounds: int, warmup: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and processor seconds of every round; the case that begins changes with the round."""
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in cases}
    names = list(cases)
    for turn in range(-warmup, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wall, processor = one_call(cases[name])
            if turn >= 0:
                seconds[name][0].append(wall)
                seconds[name][1].append(processor)
    return seconds


def one_call(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor seconds of a process.

    Raises:
        RuntimeError: it failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = call(arguments)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode and "check" not in arguments:  # that says 1 where there is something to mend
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-500:]}")
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
