"""Where `embed`, `search` and `export` write: never into a run, and over a link, not through it."""

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli import commands
from vmf_embeddings.cli.outputs import refuse_output
from vmf_embeddings.untrusted.refused import Refused


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run/.hydra_train").mkdir(parents=True)
    (tmp_path / "run/model_3.pt").write_bytes(b"weights")
    (tmp_path / "link").symlink_to("run")
    return tmp_path / "run"


@pytest.mark.parametrize("named", ["run", "run/model_3.pt", "link", "link/model_3.pt"])
@pytest.mark.parametrize("out", ["run/a.npz", "link/a.npz", "run/model_3.pt", "run/.hydra_train/a"])
def test_nothing_is_written_into_the_folder_of_a_run(run, named, out, tmp_path):
    with pytest.raises(Refused, match="where nothing is written"):
        refuse_output(tmp_path / out, tmp_path / named, force=True)


def test_beside_a_checkpoint_that_lies_in_no_run_is_room(run, tmp_path):
    (tmp_path / "model_3.pt").write_bytes(b"weights")
    refuse_output(tmp_path / "a.npz", tmp_path / "model_3.pt", force=False)
    with pytest.raises(Refused, match="exists; name another file"):
        refuse_output(tmp_path / "model_3.pt", tmp_path / "model_3.pt", force=True)


def test_a_link_is_replaced_and_what_it_leads_to_stays(run, tmp_path):
    vmf.write(vmf.EmbeddingFile(np.eye(3, dtype=np.float32)), "gallery.npz")
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "hits.csv").symlink_to("mine.csv")
    (tmp_path / "new.csv").symlink_to("nowhere.csv")
    for name, ending in (("hits.csv", ["--force"]), ("new.csv", [])):
        command = ["search", "row:0", "--in", "gallery.npz", "--quiet", "--csv", name, *ending]
        assert commands.run_command(command) == 0
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "mine.csv").read_text() == "mine"
    assert not (tmp_path / "nowhere.csv").exists()


def test_more_neighbours_than_there_are_rows_take_no_memory(run, capsys):
    vmf.write(vmf.EmbeddingFile(np.eye(3, dtype=np.float32)), "gallery.npz")
    command = "search row:0 --in gallery.npz -k 999999999999"
    assert commands.run_command(command.split()) == 0
    assert capsys.readouterr().out.count("row ") == 3  # the query, and the two others
