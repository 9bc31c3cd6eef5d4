"""Shared fixtures: one thread, no process that outlives its test, kernels, the golden numbers."""

import fcntl
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from vmf_embeddings import native

HERE = Path(__file__).parent
FULL_GOLDEN = HERE.parents[1] / "shared" / "golden"
SMALL_GOLDEN = HERE / "golden"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Ends readers of images that a test leaves: to collect them would take 5 s each, later."""
    yield
    for worker in multiprocessing.active_children():
        worker.terminate()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` filled in one of the processes of the tests, for all of them.

    A session-scoped fixture runs in each of pytest-xdist's processes:
    https://pytest-xdist.readthedocs.io/en/stable/how-to.html
    """
    base = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # that of a process is inside the one of all
    folder, done = base / name, base / f"{name}.done"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(params=["torch", "compiled"])
def code(request, monkeypatch) -> str:
    """Which implementation runs where both can: "torch" or "compiled"."""
    monkeypatch.setenv(native.SWITCH, "0" if request.param == "torch" else "1")
    if request.param == "compiled" and not native.enabled():
        pytest.skip("Numba is not installed")
    return request.param


def load_golden(name: str) -> Mapping[str, np.ndarray]:
    """The full golden file where it is at hand, otherwise the subset that every clone carries."""
    for folder in (FULL_GOLDEN, SMALL_GOLDEN):
        if (folder / f"{name}.npz").exists():
            return np.load(folder / f"{name}.npz", allow_pickle=False)
    raise FileNotFoundError(f"no golden file {name}.npz in {SMALL_GOLDEN}")


@pytest.fixture
def golden() -> Callable[[str], Mapping[str, np.ndarray]]:
    return load_golden


def cases(data: Mapping[str, np.ndarray]) -> list[str]:
    """The case names of a golden file: what stands before the first slash of its keys."""
    return sorted({key.split("/", 1)[0] for key in data})


def variants(data: Mapping[str, np.ndarray], result: str, start: str = "") -> list[str]:
    """Names v of the keys `case/v/result` of a golden file whose v begins with `start`."""
    parts = [key.split("/") for key in data]
    return sorted(
        {p[1] for p in parts if len(p) == 3 and p[2] == result and p[1].startswith(start)}
    )
