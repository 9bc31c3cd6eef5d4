"""`export`: the file, what is printed of it, and what is refused."""

import pytest

import vmf_embeddings as vmf
from tests.library.test_run import IMAGES, digests, saved_run
from vmf_embeddings.cli import commands
from vmf_embeddings.library import export_graph


def export(*arguments) -> int:
    return commands.run_command(["export", *map(str, arguments)])


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    saved_run(tmp_path / "run", "method=arcface", "arch.params.embedding_dim=5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_graph_is_written_and_described(place, capsys):
    before = digests(place / "run")
    assert export("run", "-o", "net.pt2", "--predict") == 0
    printed = capsys.readouterr().out
    assert "Wrote net.pt2: images [batch, 1, 28, 28] -> embeddings, probabilities" in printed
    assert "Largest difference from torch on 5 inputs: 0" in printed
    assert digests(place / "run") == before


def test_a_bundle_is_a_run_for_the_commands(place, capsys):
    assert export("run", "-o", "net.zip") == 0
    assert "a bundle" in capsys.readouterr().out
    assert export("net.zip", "-o", "again.zip") == 0
    assert (vmf.load("again.zip").embed(IMAGES) == vmf.load("run").embed(IMAGES)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "required: -o/--out"),
        (["run", "-o", "net.pth"], "expected a file .onnx, .pt2, .zip, got .pth"),
        (["run", "-o", "net.zip", "--predict"], "are for .onnx and .pt2"),
        (["run", "-o", "run/net.zip"], "lies in run"),
        (["nowhere", "-o", "net.zip"], "no run nowhere"),
        (["run", "-o", "old.zip"], "replace it with --force"),
        (["run/model_3.pt", "-o", "net.pt2", "--bach=3"], "did you mean --batch?"),
    ],
)
def test_mistakes_are_named_and_exit_with_2(arguments, message, place, capsys):
    (place / "old.zip").write_bytes(b"")
    try:
        code = export(*arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2 and message in capsys.readouterr().err
    assert sorted(one.name for one in place.iterdir()) == ["old.zip", "run"]


def test_a_file_that_would_compute_something_else_is_a_failure(place, capsys, monkeypatch):
    monkeypatch.setattr(export_graph, "LARGEST_DIFFERENCE", -1.0)
    assert export("run", "-o", "net.pt2") == 1
    assert "was not written" in capsys.readouterr().err
    assert not (place / "net.pt2").exists()
