"""A machine that runs out of disk, shared memory or open files is named, and nothing is lost."""

import errno
import os
import resource
import signal

import numpy as np
import pytest
import torch

from tests.evaluation.runs import make_run
from vmf_embeddings.cli import app
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.cli.failures import explained
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation.figures.style import new_figure, save
from vmf_embeddings.evaluation.results import write_json
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.records import Records


@pytest.fixture
def little_space():
    """No file of this process may grow beyond 20,000 bytes, as on a disk without space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def figure(path, size):
    drawn = new_figure(4, 4)
    axes = drawn.subplots()
    axes.imshow(np.random.default_rng(0).random((size, size)))
    save(drawn, path)


WRITERS = {
    "model_0.pt": lambda path, size: checkpoint.save(path, {"weights": torch.zeros(size, size)}),
    "toy_test.npz": lambda path, size: save_embeddings(
        path, EmbeddingFile(np.ones((size, size)), np.zeros(size))
    ),
    "metrics.json": lambda path, size: write_json(path, {"values": [0.5] * size**2}),
    "map.png": figure,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_with_the_file_which_stays_as_it_was(tmp_path, little_space, name):
    path = tmp_path / name
    path.write_bytes(b"before")
    with pytest.raises(OSError) as caught:
        WRITERS[name](path, 300)
    assert caught.value.errno == errno.EFBIG
    said = explained(caught.value)
    assert said.startswith(f"disk full: {path} could not be written (File too large")
    assert "MiB are free" in said and "VMF_RUNS" in said
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [name]


def test_records_of_epochs_stay_whole(tmp_path, monkeypatch):
    records = Records(tmp_path)
    records.add({"epoch": 0, "train_loss": 1.0})
    before = (tmp_path / "metrics.csv").read_text()
    real = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space"))
    )
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics.jsonl'"):
        records.add({"epoch": 1, "train_loss": 0.5})
    monkeypatch.setattr(os, "replace", real)
    records.close()
    assert (tmp_path / "metrics.csv").read_text() == before


def test_evaluate_names_a_full_disk_and_exits_with_one(tmp_path, capsys, monkeypatch):
    folder = make_run(tmp_path / "run", {"name": "cosine"}, open_set=True)
    (tmp_path / "all.json").write_text("before")
    real = os.replace

    def full(source, target):
        if str(target).endswith("all.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    words = [folder, "--no-figures", "--json", tmp_path / "all.json"]
    assert evaluate(parse_evaluate([str(word) for word in words])) == 1
    printed = capsys.readouterr()
    assert f"disk full: {tmp_path / 'all.json'} could not be written" in printed.err
    assert (folder / "metrics.json").exists()
    assert (tmp_path / "all.json").read_text() == "before"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk full: a file"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "disk full: /a/b"),
        (OSError("Caught OSError in worker: [Errno 28] No space left on device"), "disk full"),
        (RuntimeError("unable to open shared memory object </torch_12_3> in read-write mode: No "
                      "space left on device (28)"), "num_workers=0"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible "
                      "that dataloader's workers are out of shared memory."), "num_workers=0"),
        (RuntimeError("unable to mmap 4096 bytes from file </torch_1>: Cannot allocate memory"),
         "--shm-size"),
        (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x"), "shared memory (/dev/shm"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
    ],
)  # fmt: skip
def test_what_the_machine_ran_out_of_is_one_line_and_exit_code_one(error, words, capsys):
    assert app.report(error) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.startswith("error: ") and printed.count("\n") == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST])
def test_what_cannot_be_written_is_one_line_and_exit_code_one(number, capsys):
    error = ValueError("Unable to configure handler 'file'")  # as the library of logging says
    error.__cause__ = OSError(number, os.strerror(number), "runs/main.train.log")
    assert app.report(error) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: runs/main.train.log cannot be opened or written: ")
    assert "VMF_RUNS" in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EACCES, "Permission denied"), RuntimeError("shapes"), ValueError("full")],
)
def test_other_errors_are_left_as_they_are(error):
    assert explained(error) is None
