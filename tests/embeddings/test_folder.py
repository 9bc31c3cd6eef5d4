"""Large arrays stay in their files; folders of embeddings are whole, checked, and never trusted."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.embeddings.test_file import full_file
from tests.embeddings.test_written import same
from vmf_embeddings.cli import commands
from vmf_embeddings.embeddings import load_embeddings, open_embeddings, read_with_notes
from vmf_embeddings.embeddings.folder_writing import save_folder, write_texts
from vmf_embeddings.untrusted import array_folder, array_maps, arrays
from vmf_embeddings.untrusted.array_maps import lies_in_file

RNG = np.random.default_rng(8)
N = 2500  # rows: two whole shards of 1024, and a part of one
ROWS = RNG.normal(size=(N, 3)).astype(np.float32)
FILE = vmf.EmbeddingFile(
    ROWS,
    RNG.integers(0, 5, N),
    logits=RNG.normal(size=(N, 2, 5)),
    paths=[f"ä/{i}.jpg" for i in range(N)],
    is_query=np.arange(N) % 2 == 0,
    meta={"dataset": "toy", "split": "test", "geometry": {"name": "cosine"}, "open_set": False},
)


@pytest.fixture
def everything_is_large(monkeypatch):
    for module in (arrays, array_folder):
        monkeypatch.setattr(module, "LARGE", 1)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "toy_test.emb"
    save_folder(path, FILE, shard_rows=1024)
    return path


@pytest.mark.parametrize("ending", [".npz", ".emb"])
@pytest.mark.usefixtures("everything_is_large")
def test_large_arrays_are_mapped_and_writing_to_them_leaves_the_file_alone(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    vmf.write(FILE, path)
    back = vmf.read(path)
    same(back, FILE)
    assert all(map(lies_in_file, (back.embeddings, back.logits, back.paths)))
    back.embeddings[:] = 7.0
    same(vmf.read(path), FILE)
    assert (back.embeddings == 7.0).all()


@pytest.mark.usefixtures("everything_is_large")
def test_files_of_numpy_give_the_same_as_ours_aligned_or_not(tmp_path):
    kept = {"embeddings": ROWS, "ids": FILE.ids, "temp": np.float64(1), "logits": FILE.logits}
    for before in range(8):  # the members begin at bytes of all remainders
        np.savez(tmp_path / "a.npz", **{"x" * (before + 1): np.zeros(1)}, **kept)
        back = load_embeddings(tmp_path / "a.npz")
        np.testing.assert_array_equal(back.embeddings, ROWS)
        np.testing.assert_array_equal(back.logits, FILE.logits)
    np.savez_compressed(tmp_path / "a.npz", **kept)
    back = load_embeddings(tmp_path / "a.npz")
    assert not lies_in_file(back.embeddings)
    np.testing.assert_array_equal(back.embeddings, ROWS)


def test_the_values_of_our_archives_lie_at_multiples_of_64_and_numpy_reads_them(tmp_path):
    path = tmp_path / "a.npz"
    file = full_file()
    vmf.write(file, path)
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        assert archive.testzip() is None
        for entry in archive.infolist():
            stream.seek(entry.header_offset + 26)
            lengths = np.frombuffer(stream.read(4), "<u2")
            assert (entry.header_offset + 30 + int(lengths.sum())) % 64 == 0
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["embeddings"], file.embeddings)


def test_small_arrays_are_read_with_their_checksum(tmp_path):
    vmf.write(FILE, tmp_path / "a.npz")
    assert not lies_in_file(vmf.read(tmp_path / "a.npz").embeddings)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(ROWS.tobytes()) + 5] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        vmf.read(tmp_path / "a.npz")


@pytest.mark.parametrize("larger_pages", [False, True])
def test_rows_of_several_files_are_one_array(
    folder, everything_is_large, monkeypatch, larger_pages
):
    if larger_pages:
        monkeypatch.setattr(array_maps.mmap, "PAGESIZE", 65_536)
    assert sorted(path.name for path in folder.glob("embeddings.*")) == [
        f"embeddings.0000{number}.npy" for number in range(3)
    ]
    back = load_embeddings(folder)
    same(back, FILE)
    assert lies_in_file(back.embeddings) != larger_pages
    assert back.embeddings.flags.c_contiguous
    assert back.embeddings.flags.writeable


def test_numpy_reads_the_files_of_a_folder(folder):
    parts = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("embeddings.*.npy"))]
    np.testing.assert_array_equal(np.concatenate(parts), ROWS)
    np.testing.assert_array_equal(np.load(folder / "ids.npy"), FILE.ids)


def test_a_folder_is_opened_like_any_file(folder):
    opened = open_embeddings(folder)
    np.testing.assert_array_equal(opened.embeddings, ROWS)
    np.testing.assert_array_equal(opened.labels, FILE.ids)
    np.testing.assert_array_equal(opened.columns["is_query"], FILE.is_query)


@pytest.mark.parametrize("ending", [".npz", ".emb"])
@pytest.mark.usefixtures("everything_is_large")
def test_numbers_that_are_not_finite_are_refused_before_anything_is_scored(tmp_path, ending):
    rows = ROWS.copy()
    rows[2000, 1] = np.nan
    path = tmp_path / f"a{ending}"
    vmf.write(vmf.EmbeddingFile(rows, FILE.ids, meta=FILE.meta), path)
    assert np.isnan(vmf.read(path).embeddings[2000, 1])
    with pytest.raises(ValueError, match="NaN in row 2000"):
        read_with_notes(path)


def test_texts_are_written_as_one_array_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.embeddings.folder_writing._BLOCK", 64)
    texts = ["", "a\n", "ä" * 9, *map(str, range(50))]
    written = write_texts(tmp_path, "paths", texts)
    np.testing.assert_array_equal(np.load(tmp_path / "paths.npy"), np.array(texts))
    assert (written.dtype, written.shape) == (np.dtype("<U9"), (53,))


def changed(folder, **said):
    record = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**record, **said}))


def claimed(folder, **said):
    record = json.loads((folder / "meta.json").read_text())["arrays"]
    record["embeddings"] |= said
    changed(folder, arrays=record)


def cut(path, n):
    os.truncate(path, path.stat().st_size + n)


HOSTILE = {
    "no meta.json": (lambda f: (f / "meta.json").unlink(), "not complete"),
    "no json": (lambda f: (f / "meta.json").write_text("{"), "not JSON"),
    "another format": (lambda f: changed(f, format="x"), "has no format"),
    "not complete": (lambda f: changed(f, complete=False), "complete"),
    "of the future": (lambda f: changed(f, schema=99), "schema 99"),
    "no rows per file": (lambda f: changed(f, shard_rows=0), "shard_rows"),
    "a trillion rows": (lambda f: claimed(f, shape=[10**12, 3], files=10**9), "at most 100,000"),
    "more rows": (lambda f: claimed(f, shape=[3000, 3]), "meta.json says"),
    "more rows than files": (lambda f: claimed(f, shape=[10**12, 3]), "do not lie in 3 files"),
    "huge rows": (lambda f: claimed(f, shape=[N, 10**12]), "meta.json says"),
    "negative": (lambda f: claimed(f, shape=[-N, 3]), "no shape"),
    "objects": (lambda f: claimed(f, dtype="|O"), "no dtype"),
    "another dtype": (lambda f: claimed(f, dtype="<f8"), "meta.json says"),
    "no such dtype": (lambda f: claimed(f, dtype="<f3"), "NumPy has not"),
    "a shard is missing": (lambda f: (f / "embeddings.00001.npy").unlink(), "00001.npy is missing"),
    "a shard is cut": (lambda f: cut(f / "embeddings.00002.npy", -4), "truncated"),
    "a shard is longer": (lambda f: cut(f / "embeddings.00000.npy", 4), "truncated"),
    "a shard is a pickle": (
        lambda f: (f / "embeddings.00000.npy").write_bytes(b"\x80\x04N."), "embeddings.00000.npy",
    ),
    "temperature": (lambda f: changed(f, temperature="1"), "temperature"),
    "a huge temperature": (lambda f: changed(f, temperature=10**400), "temperature"),
    "meta": (lambda f: changed(f, meta={"schema": "x"}), "schema must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_that_is_not_what_it_says_is_refused(folder, name):
    change, words = HOSTILE[name]
    change(folder)
    with pytest.raises(ValueError, match=words):
        load_embeddings(folder)


def test_names_of_arrays_lead_nowhere(folder, tmp_path):
    np.save(tmp_path / "secret.npy", np.ones(3))
    record = json.loads((folder / "meta.json").read_text())["arrays"]
    said = {"dtype": "<f8", "shape": [3]}
    changed(folder, arrays={**record, "../secret": said, "/etc/passwd": said})
    same(load_embeddings(folder), FILE)


def test_a_pipe_in_a_folder_is_refused_without_waiting(folder):
    (folder / "ids.npy").unlink()
    os.mkfifo(folder / "ids.npy")
    with pytest.raises(ValueError, match="not a regular file"):
        load_embeddings(folder)


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "a.emb").mkdir()
    (tmp_path / "a.emb" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="no folder of embeddings"):
        vmf.write(FILE, tmp_path / "a.emb")
    assert (tmp_path / "a.emb" / "thesis.txt").read_text() == "years"
    (tmp_path / "b.emb").write_text("a file")
    with pytest.raises(ValueError, match="no folder of embeddings"):
        vmf.write(FILE, tmp_path / "b.emb")


def test_arrays_of_another_program_are_not_replaced(tmp_path):
    (tmp_path / "a.emb").mkdir()
    np.save(tmp_path / "a.emb" / "features.npy", ROWS)
    with pytest.raises(ValueError, match="no folder of embeddings"):
        vmf.write(FILE, tmp_path / "a.emb")
    np.testing.assert_array_equal(np.load(tmp_path / "a.emb" / "features.npy"), ROWS)


def test_a_folder_keeps_its_name_where_the_new_one_cannot_take_it(tmp_path, monkeypatch):
    path, rename = tmp_path / "a.emb", Path.rename
    vmf.write(FILE, path)

    def failing(self, target):
        if self.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="Input/output"):
            vmf.write(vmf.EmbeddingFile(ROWS[:5], FILE.ids[:5]), path)
    same(vmf.read(path), FILE)
    assert [one.name for one in tmp_path.iterdir()] == ["a.emb"]


def test_a_folder_is_replaced_as_a_whole_and_stays_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.emb"
    vmf.write(FILE, path)
    other = vmf.EmbeddingFile(ROWS[:5], FILE.ids[:5])

    def full_disk(*of, **how):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vmf_embeddings.embeddings.folder_writing.write_record", full_disk)
        with pytest.raises(OSError, match="No space left"):
            vmf.write(other, path)
    same(vmf.read(path), FILE)
    vmf.write(other, path)
    np.testing.assert_array_equal(vmf.read(path).embeddings, ROWS[:5])
    assert [one.name for one in tmp_path.iterdir()] == ["a.emb"]


def test_convert_goes_both_ways_and_keeps_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vmf.write(FILE, "a.npz")
    assert commands.run_command(["convert", "a.npz", "-o", "a.emb"]) == 0
    assert commands.run_command(["convert", "a.emb", "-o", "b.npz"]) == 0
    assert "Wrote embeddings [2500, 3] to b.npz" in capsys.readouterr().out
    same(vmf.read("a.emb"), FILE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert commands.run_command(["convert", "a.npz", "-o", "a.emb"]) == 2
    assert "--force" in capsys.readouterr().err
    assert commands.run_command(["convert", "a.npz", "-o", "a.emb", "--force"]) == 0
    assert commands.run_command(["convert", "a.emb", "-o", "a.emb", "--force"]) == 2
    assert "is what is read" in capsys.readouterr().err


def test_evaluate_scores_a_folder_as_the_file_and_refuses_both(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    scores = []
    for ending in (".npz", ".emb"):
        vmf.write(FILE, run / f"toy_test{ending}")
        if ending == ".emb":  # the scores of arrays that are mapped are those of arrays in memory
            monkeypatch.setattr(array_folder, "LARGE", 1)
        assert commands.run_command(["evaluate", str(run), "--no-figures", "--recall", "1"]) == 0
        scores.append(json.loads((run / "metrics.json").read_text())[f"toy_test{ending}"])
        if ending == ".npz":
            (run / "toy_test.npz").rename(tmp_path / "kept.npz")
    assert scores[0] == scores[1]
    (tmp_path / "kept.npz").rename(run / "toy_test.npz")
    capsys.readouterr()
    assert commands.run_command(["evaluate", str(run), "--no-figures"]) == 2
    assert "hold the same split of one run" in capsys.readouterr().err


def test_search_looks_in_a_folder(folder, capsys):
    assert commands.run_command(["search", "row:3", "--in", str(folder), "-k", "2"]) == 0
    assert "ä/" in capsys.readouterr().out
