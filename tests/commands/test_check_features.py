"""`check FILE` of feature vectors: what is in it, and the commands to evaluate and to train."""

import json
import shlex

import numpy as np
import pytest

from tests.commands.run import MAIN, command
from tests.datasets.test_features import NAMES, labels, splits, vectors, write
from tests.quick_cases import mostly_slow

PROGRAM = "vmf_embeddings"


def found(path, *arguments, code, cwd):
    done = command(PROGRAM, "check", str(path), "--json", *arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def trains(line, cwd):
    typed = shlex.split(line)
    assert typed[:3] == ["python", "-m", MAIN]
    done = command(MAIN, *typed[3:], "mode.epochs=1", cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", mostly_slow((".npz", ".csv"), [".npz"]))
def test_the_command_to_train_on_a_file_is_printed_and_trains(tmp_path, end):
    write(tmp_path / f"my file (1){end}", vectors(), NAMES[labels()], splits())
    done = command(PROGRAM, "check", f"my file (1){end}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fine; next: python -m vmf_embeddings.evaluate 'my file (1)" in done.stdout
    assert "train: 20 in 4 classes" in done.stdout and "test: 8 in 4 classes" in done.stdout
    trains(done.stdout.rstrip().rpartition("to train on it: ")[2], tmp_path)


def test_a_file_without_splits_is_counted_as_one(tmp_path):
    said = found(write(tmp_path / "a.npz", vectors(), labels()), code=0, cwd=tmp_path)
    assert said["counts"] == {"rows": {str(i): 10 for i in range(4)}}
    assert any("valid 5 vectors of 4 classes (held out)" in note for note in said["notes"])


def test_a_folder_with_a_file_per_split_is_a_data_set(tmp_path):
    (tmp_path / "f").mkdir()
    write(tmp_path / "f" / "train.npy", vectors(), labels())
    write(tmp_path / "f" / "test.npy", vectors(8, 1), labels(8) + 9)
    said = found("f", code=0, cwd=tmp_path)
    assert {name: sum(c.values()) for name, c in said["counts"].items()} == {"train": 40, "test": 8}
    assert "experiment=own_features data=f" in said["command"]
    trains(said["command"], tmp_path)
    write(tmp_path / "f" / "test.npy", vectors(8, 1)[:, 1:], labels(8))
    said = found("f", code=1, cwd=tmp_path)
    assert "differ in length" in said["faults"][0]


def test_equal_vectors_in_two_splits_are_a_fault(tmp_path):
    rows = vectors()
    rows[8] = rows[0]
    said = found(write(tmp_path / "a.npz", rows, labels(), splits()), code=1, cwd=tmp_path)
    assert "1 vector is there more than once, in two splits" in said["faults"][0]


def test_what_training_would_refuse_is_a_note(tmp_path):
    path = write(tmp_path / "a.npz", vectors(), labels(), np.full(40, "test"))
    said = found(path, code=0, cwd=tmp_path)
    assert any("training would refuse it: " in n and "only test" in n for n in said["notes"])
    assert "train_command" not in said


def test_retrieval_can_be_asked_for(tmp_path):
    path = write(tmp_path / "a.npz", vectors(), labels())
    said = found(path, "--open-set=true", code=0, cwd=tmp_path)
    assert "dataset.params.open_set=true" in said["train_command"]
    assert "experiment=own_features" in said["train_command"]
