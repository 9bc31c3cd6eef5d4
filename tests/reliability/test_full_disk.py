"""A disk that fills up at any write is named, no file is half written, and the work goes on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.evaluation.runs import make_run
from tests.reliability.test_kills import BY_VMF, EXTRACT, VMF, differences
from tests.reliability.trial import End, succeeds, trial

PAGE = 4096


def can_mount() -> bool:
    """Whether this process may give its children disks of their own."""
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0


needs_disk = pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained run, extracted."""
    folder = tmp_path_factory.mktemp("trained")
    succeeds(*VMF, cwd=folder)
    succeeds(*EXTRACT, f"run={BY_VMF}", cwd=folder)
    return folder


def on_small_disk(folder: Path, size: int, *words: object) -> End:
    """The end of a command where its folder has room for `size` bytes; what it wrote is in it."""
    kept = folder.with_name(f"{folder.name}_kept")
    end = trial(*words, cwd=folder, disk={"folder": str(folder), "bytes": size, "keep": str(kept)})
    shutil.rmtree(folder)
    kept.rename(folder)
    return end


def fault_of(end: End, folder: Path) -> str:
    """What is wrong with a command whose disk was full."""
    parts = [path.name for path in folder.rglob("*.part")]
    if parts:
        return f"half written: {parts}"
    if end.fault or end.code == 0:
        return end.fault
    said = end.code == 1 and "disk full" in end.errors
    return "" if said else f"exit code {end.code}: {end.errors}"


def faults_of_training(folder: Path, expected: Path, sizes: list[int]) -> list[str]:
    """What is wrong with trainings on disks of some sizes, which then go on with more room."""
    faults, ends = [], []
    for size in sizes:
        below = folder / str(size)
        below.mkdir()
        end = on_small_disk(below, size, *VMF)
        ends.append(end.code)
        fault = fault_of(end, below)
        if not fault:
            again = trial(*VMF, cwd=below)
            fault = again.fault or ", ".join(differences(below, expected))
        if fault:
            faults.append(f"{size} bytes: {fault}")
    assert 1 in ends, "no disk was too small"
    return faults


@needs_disk
@pytest.mark.slow
def test_training_on_a_full_disk_says_so_and_goes_on_with_more_room(trained, tmp_path):
    expected = tmp_path / "expected"
    shutil.copytree(trained, expected)
    for file in expected.rglob("*.npz"):
        file.unlink()
    shutil.rmtree(expected / BY_VMF / ".hydra_get_embeddings", ignore_errors=True)
    assert faults_of_training(tmp_path, expected, [40 * PAGE]) == []


@needs_disk
@pytest.mark.slow
def test_training_says_so_wherever_the_disk_fills_up(trained, tmp_path):
    expected = tmp_path / "expected"
    shutil.copytree(trained, expected)
    for file in expected.rglob("*.npz"):
        file.unlink()
    shutil.rmtree(expected / BY_VMF / ".hydra_get_embeddings", ignore_errors=True)
    sizes = [n * PAGE for n in (1, 3, 6, 8, 10, 12, 14, 18, 24, 32, 48, 64, 96, 128, 160, 200)]
    assert faults_of_training(tmp_path, expected, sizes) == []


@needs_disk
@pytest.mark.slow
@pytest.mark.parametrize("pages", (1, 4, 8, 20, 100, 300, 700))
def test_extraction_says_so_wherever_the_disk_fills_up(trained, tmp_path, pages):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    before = {p.name: p.read_bytes() for p in folder.rglob("*.npz")}
    for path in folder.rglob("digits_valid.npz"):
        path.unlink()
    end = on_small_disk(folder, pages * PAGE, *EXTRACT, f"run={BY_VMF}")
    assert fault_of(end, folder) == ""
    left = {p.name: p.read_bytes() for p in folder.rglob("*.npz")}
    assert all(before[name] == data for name, data in left.items())
    assert {"digits_train.npz", "digits_test.npz"} <= set(left)


@needs_disk
@pytest.mark.slow
@pytest.mark.parametrize("pages", (1, 3, 12, 40))
def test_evaluation_says_so_wherever_the_disk_fills_up(tmp_path, pages):
    folder = tmp_path / "home"
    make_run(
        folder / "run", {"name": "cosine"}, train_identity="cafe", train_class_counts=[500, 60, 5]
    )
    before = (folder / "run" / "toy_test.npz").read_bytes()
    end = on_small_disk(folder, pages * PAGE, "evaluate", "run", "--json", "all.json")
    assert fault_of(end, folder) == ""
    assert end.code == 1
    assert (folder / "run" / "toy_test.npz").read_bytes() == before
