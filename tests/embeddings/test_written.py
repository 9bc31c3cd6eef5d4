"""What `write` writes, `read` reads back equal, in every format; the rest is refused."""

import dataclasses
import sys

import numpy as np
import pytest
import safetensors.numpy

import vmf_embeddings as vmf
from tests.embeddings.test_file import full_file
from vmf_embeddings.embeddings import endings

COMPLETE = (".npz", ".parquet", ".safetensors", ".emb")
RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(6, 3)).astype(np.float32)
NAMES = ["cat", "ant", "cat", "bee", "ant", "bee"]


def same(back, file) -> None:
    """Every field is equal, in type and value."""
    for name, value in vars(file).items():
        found = getattr(back, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found, value, err_msg=name)
            assert found.dtype.kind == value.dtype.kind, name
            assert found.dtype == value.dtype or value.dtype.kind == "U", name
        elif name == "meta" and value is not None:
            assert {**found, "schema": 1} == {"schema": 1, **value}
        else:
            assert found == value, name


@pytest.mark.parametrize("ending", COMPLETE)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ids": None, "original_ids": None, "logits": None},
        {"ids": None, "meta": None, "temperature": 0.5},
        {"logits": RNG.normal(size=(12, 4)), "meta": None, "examples": None, "temperature": 3.0},
        {"meta": {"class_names": ["wolf", "cat", "ant", "eel"], "geometry": {"name": "cosine"}}},
        {"confidence": RNG.random(12), "predicted": ["a", "ü,\n"] * 6, "probability": np.ones(12)},
        {"predicted": np.arange(12), "paths": None, "class_weights": None, "is_query": None},
        {"paths": ["", " a ", "=1+1", '"', "\N{GRINNING FACE}", "a\tb"] * 2},
    ],
    ids=lambda changes: ",".join(changes) or "all",
)
def test_every_field_is_read_back(tmp_path, ending, changes):
    file = dataclasses.replace(full_file(), **changes)
    vmf.write(file, tmp_path / f"new folder/a{ending}")
    same(vmf.read(tmp_path / f"new folder/a{ending}"), file)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == [f"a{ending}"]


@pytest.mark.parametrize("ending", COMPLETE)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "?", "u1", "i2", ">i8"])
def test_examples_of_any_type_are_read_back(tmp_path, ending, dtype):
    examples = np.arange(6 * 4).reshape(6, 1, 2, 2).astype(dtype)
    vmf.write(vmf.EmbeddingFile(ROWS, range(6), examples=examples), tmp_path / f"a{ending}")
    back = vmf.read(tmp_path / f"a{ending}").examples
    assert back.dtype.newbyteorder("=") == examples.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, examples)


@pytest.mark.parametrize("ending", [*COMPLETE, ".csv", ".npy"])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("labels", [None, NAMES, [5, -1, 5, 0, 7, 7], ["01", "1"] * 3])
def test_rows_and_labels_are_read_back_from_all_formats(tmp_path, ending, dim, labels):
    rows = (ROWS * 10.0 ** RNG.integers(-38, 38, ROWS.shape)).astype(np.float32)[:, :dim]
    file = vmf.EmbeddingFile(rows, labels)
    vmf.write(file, tmp_path / f"a{ending}")
    same(vmf.read(tmp_path / f"a{ending}"), file)


def test_a_csv_holds_paths_and_flags_too(tmp_path):
    paths = ["a,b.png", 'c "d".png', "é;\u4e2d.png", "-1", "", "x y"]
    file = vmf.EmbeddingFile(
        ROWS, NAMES, paths=paths, is_query=[True] * 6, is_gallery=[False, True] * 3
    )
    vmf.write(file, tmp_path / "a.csv")
    same(vmf.read(tmp_path / "a.csv"), file)


@pytest.mark.parametrize("path", ["=1+1", "+x", "@x", "-x", " a", "a\n", "a\x1b[2J", "a\tb\x00c"])
def test_a_csv_refuses_what_it_would_not_give_back_or_a_spreadsheet_would_run(tmp_path, path):
    file = vmf.EmbeddingFile(ROWS, NAMES, paths=[*"abcde", path])
    with pytest.raises(ValueError, match="path of row 5 .*write a .parquet"):
        vmf.write(file, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "ending", "said"),
    [
        ({"confidence": np.ones(6)}, ".csv", "also has confidence"),
        ({"paths": list("abcdef")}, ".npy", "also has paths"),
        ({"temperature": 2.0}, ".csv", "temperature"),
        ({"meta": {"dataset": "x"}}, ".csv", "meta"),
        ({"meta": {"class_names": [*"zyxwvu"]}}, ".csv", "a .csv cannot hold class names"),
        ({"paths": ["a\udcff"] * 6}, ".parquet", "paths cannot be written as Parquet"),
        ({"examples": np.ones((6, 0, 2))}, ".parquet", r"examples \[6, 0, 2\] is empty"),
        ({"examples": np.ones((6, 2), "g")}, ".parquet", "examples cannot be written"),
        ({"examples": np.ones((6, 2), "g")}, ".safetensors", "examples has dtype"),
        ({"class_weights": np.ones((6 * 10**6, 3))}, ".parquet", "too large for a .parquet"),
        ({}, ".h5", "expected a file .npz, .parquet, .safetensors, .csv, .npy, .emb, got .h5"),
    ],
    ids=lambda value: str(next(iter(value), "")) if isinstance(value, dict) else value[:20],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path, fields, ending, said
):
    file = vmf.EmbeddingFile(ROWS, range(6), **fields)
    with pytest.raises(ValueError, match=said):
        vmf.write(file, tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


def test_labels_of_an_earlier_npy_are_not_taken_for_those_of_new_images(tmp_path):
    vmf.write(vmf.EmbeddingFile(ROWS, NAMES), tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"a_labels.npy would be taken for the labels"):
        vmf.write(vmf.EmbeddingFile(ROWS), tmp_path / "a.npy")


def test_other_programs_read_what_is_written(tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    file = full_file()
    vmf.write(file, tmp_path / "a.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(tensors["embeddings"], file.embeddings)
    np.testing.assert_array_equal(tensors["pictures"], file.pictures)
    vmf.write(vmf.EmbeddingFile(ROWS, NAMES), tmp_path / "a.parquet")
    table = pyarrow.read_table(tmp_path / "a.parquet")
    assert table["label"].to_pylist() == NAMES
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), ROWS)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, monkeypatch):
    vmf.write(vmf.EmbeddingFile(ROWS, NAMES), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"a\.parquet needs pyarrow.*pip install pyarrow"):
        vmf.read(tmp_path / "a.parquet")
    with pytest.raises(ImportError, match=r"b\.parquet needs pyarrow.*pip install pyarrow"):
        vmf.write(vmf.EmbeddingFile(ROWS, NAMES), tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


@pytest.mark.parametrize("ending", [".parquet", ".safetensors", ".csv"])
def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch, ending):
    path = tmp_path / f"a{ending}"
    vmf.write(vmf.EmbeddingFile(ROWS, NAMES), path)
    before = path.read_bytes()

    def full_disk(*of):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        vmf.write(vmf.EmbeddingFile(2 * ROWS, NAMES), path)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_what_is_written_is_what_the_endings_say(tmp_path):
    file = vmf.EmbeddingFile(np.eye(2, 3), [0, 1])
    for ending in endings.WRITTEN:
        vmf.write(file, tmp_path / f"a{ending}")
        np.testing.assert_array_equal(vmf.read(tmp_path / f"a{ending}").embeddings, np.eye(2, 3))
