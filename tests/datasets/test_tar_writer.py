"""The writer of tars goes on where it stopped, and never mixes two lists."""

# ruff: noqa: F811

import pytest

from tests.datasets.test_tars import root  # noqa: F401
from vmf_embeddings.datasets import tar_table
from vmf_embeddings.datasets.prepare import tars as writer


def test_the_writer_goes_on_where_it_stopped(root):
    folder = root / "tars"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "train-00001.tar").unlink()
    (folder / "train-00002.tar.sha256").unlink()
    arguments = [str(root / "train.txt"), str(folder), "--size", "10KB"]
    assert writer.main(arguments) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    now = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    changed = {name for name in now if now[name] != times[name]}
    assert changed == {f"train-0000{n}.tar{end}" for n in (1, 2) for end in ("", ".sha256")}


@pytest.mark.parametrize("change", ["labels", "order", "size", "fewer"])
def test_a_complete_tar_of_another_command_is_neither_kept_nor_overwritten(root, capsys, change):
    before = {path.name: path.read_bytes() for path in (root / "tars").iterdir()}
    lines = (root / "train.txt").read_text().splitlines(keepends=True)
    if change == "labels":
        lines = [line.replace("kind-1", "kind-2") for line in lines]
    lines = {"order": lines[::-1], "fewer": lines[:9]}.get(change, lines)
    (root / "train.txt").write_text("".join(lines))
    size = "20KB" if change == "size" else "10KB"
    assert writer.main([str(root / "train.txt"), str(root / "tars"), "--size", size]) == 2
    assert "train-0000" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (root / "tars").iterdir()} == before


def test_tars_of_an_earlier_command_after_the_last_one_are_named(root, capsys):
    lines = (root / "train.txt").read_text().splitlines(keepends=True)
    table = tar_table.read_tar_table([root / "tars/train-00000.tar"], root / "tars")
    (root / "train.txt").write_text("".join(lines[: len(table.files)]))
    assert writer.main([str(root / "train.txt"), str(root / "tars"), "--size", "10KB"]) == 2
    assert "also holds train-00001.tar" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"notes", None])
def test_a_tar_that_another_program_wrote_stays(root, content):
    path = root / "tars/train-00000.tar"
    content = content or (root / "tars/val-00000.tar").read_bytes()
    (root / "tars/train-00000.tar.sha256").unlink()
    path.write_bytes(content)
    assert writer.main([str(root / "train.txt"), str(root / "tars"), "--size", "10KB"]) == 2
    assert path.read_bytes() == content


def test_a_damaged_tar_is_written_again(root):
    path = root / "tars/train-00001.tar"
    before = path.read_bytes()
    path.write_bytes(before[:3000])
    assert writer.main([str(root / "train.txt"), str(root / "tars"), "--size", "10KB"]) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("label", ["a" * 1001, "a\x07b"])
def test_labels_that_could_not_be_read_are_not_written(root, capsys, label):
    (root / "l.txt").write_text(f"my train/kind 1/1.png ok\nmy train/kind 2/2.png {label}\n")
    assert writer.main([str(root / "l.txt"), str(root / "out")]) == 2
    assert "line 2" in capsys.readouterr().err
    assert not (root / "out").exists()


def test_a_full_disk_is_a_failure_and_no_mistake(root, monkeypatch, capsys):
    def full(*of):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_add", full)
    assert writer.main([str(root / "train.txt"), str(root / "out")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not [*(root / "out").iterdir()]


def test_the_writer_names_what_it_cannot_pack(root, capsys):
    (root / "bad.txt").write_text("my train/kind 0/0.v1.jpg a\nabsent.jpg b\n")
    assert writer.main([str(root / "bad.txt"), str(root / "out")]) == 2
    assert "line 2" in capsys.readouterr().err
    (root / "bad.txt").write_text("../x.jpg a\n")
    assert writer.main([str(root / "bad.txt"), str(root / "out")]) == 2
    assert "leads out" in capsys.readouterr().err
    assert writer.main([str(root / "train.txt"), str(root / "out"), "--name", "../x"]) == 2
