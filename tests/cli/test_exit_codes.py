"""Every command says what it lacks in one line, and ends with the code of that."""

import sys

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli import commands
from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.own_data import typed_out
from vmf_embeddings.untrusted.refused import Refused


@pytest.mark.parametrize(
    "command", ["check a.parquet", "evaluate a.parquet", "search row:1 --in a.parquet"]
)
def test_a_missing_package_is_a_line_that_says_what_to_install(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    vmf.write(vmf.EmbeddingFile(np.eye(4, 3), [0, 1, 0, 1]), "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert commands.run_command(command.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install pyarrow" in said


@pytest.mark.parametrize(
    ("raised", "code"),
    [(ValueError, 2), (FileNotFoundError, 2), (RuntimeError, 1), (KeyboardInterrupt, 130)],
)
def test_the_exit_code_says_whose_fault_it_was(raised, code, capsys):
    def work() -> None:
        raise raised("a reason")

    assert exit_code("check", work) == code
    assert capsys.readouterr().err.startswith("check: ")


@pytest.mark.parametrize(("ended", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_exit_code_of_work_that_ended_is_its_own(ended, code):
    assert exit_code("check", lambda: ended) == code


def test_training_on_a_file_without_its_package_is_refused(tmp_path, monkeypatch):
    vmf.write(vmf.EmbeddingFile(np.eye(4, 3), [0, 1, 0, 1]), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match="pip install pyarrow"):
        typed_out(["experiment=own_features", f"data={tmp_path / 'a.parquet'}"], print)
