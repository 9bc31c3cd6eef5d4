"""Folders that cannot be written to are named before work starts; runs may be moved and copied."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.quick_cases import mostly_slow
from tests.reliability.test_full_disk import needs_disk
from tests.reliability.test_kills import BY_VMF, EXTRACT, VMF, differences
from tests.reliability.trial import contents, succeeds, trial

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as another user")
NOBODY = 65534
MORE = (*VMF, "mode.epochs=4")


@pytest.fixture(scope="module")
def home():
    """A folder with a trained run, extracted and scored, that others can read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        succeeds(*VMF, cwd=folder)
        succeeds(*EXTRACT, f"run={BY_VMF}", cwd=folder)
        succeeds("evaluate", BY_VMF, "--no-figures", cwd=folder)
        yield folder


COMMANDS = {
    "training": (*VMF, "name=other"),
    "resuming": MORE,
    "extraction": (*EXTRACT, f"run={BY_VMF}"),
    "second stage": ("train", "mode=finetune", f"run={BY_VMF}", "num_workers=0"),
    "evaluation": ("evaluate", BY_VMF, "--no-figures"),
    "figures": ("evaluate", BY_VMF),
    "summary": ("summarize", "runs", "--out", "summary"),
}


# these import nothing late, which another user may not read where Python is in a user's folder
OF_ANOTHER_USER = ("training", "resuming", "extraction", "second stage")


def refused_for_writing(end) -> bool:
    """Whether a command ended with a message that names what cannot be written, and no trace."""
    words = ("read-only", "Read-only", "ermission denied", "cannot be written")
    return end.code in (1, 2) and not end.fault and any(word in end.errors for word in words)


@needs_disk
@pytest.mark.parametrize("name", ("training", "evaluation"))
def test_a_read_only_folder_is_named(home, name):
    check_read_only(home, name)


@needs_disk
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"training", "evaluation"}))
def test_every_command_names_a_read_only_folder(home, name):
    check_read_only(home, name)


def check_read_only(home, name):
    before = contents(home)
    end = trial(*COMMANDS[name], cwd=home, read_only=str(home))
    assert refused_for_writing(end), end
    assert contents(home) == before


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ANOTHER_USER)
def test_another_user_is_told_what_cannot_be_written(home, name):
    before = contents(home)
    end = trial(*COMMANDS[name], cwd=home, user=NOBODY)
    assert refused_for_writing(end), end
    assert contents(home) == before


@pytest.mark.parametrize("name", mostly_slow(("moved elsewhere", "é (1) = #2"), ["é (1) = #2"]))
def test_a_moved_run_goes_on_and_is_extracted_as_in_its_first_place(home, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(home, folder)
    for path in folder.rglob("*.npz"):
        path.unlink()
    succeeds(*EXTRACT, f"run={folder / BY_VMF}", cwd=tmp_path)
    assert differences(folder, home) == []


@pytest.mark.slow
def test_a_moved_run_resumes_as_in_its_first_place(home, tmp_path):
    for name in ("first", "second place"):
        shutil.copytree(home, tmp_path / name)
        succeeds(*MORE, cwd=tmp_path / name)
    assert differences(tmp_path / "first", tmp_path / "second place") == []


@pytest.mark.parametrize("place", mostly_slow(("runs", BY_VMF), [BY_VMF]))
def test_a_file_in_place_of_a_folder_is_named(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    end = trial(*VMF, cwd=tmp_path)
    assert end.code in (1, 2) and not end.fault, end
    assert "runs" in end.errors and path.read_text() == "mine"
