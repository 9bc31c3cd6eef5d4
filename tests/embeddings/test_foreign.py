"""Files of other programs: usual names, tables, labels beside an array, what is cut or unclear."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.datasets.features_files import read_feature_files
from vmf_embeddings.embeddings import read_with_notes
from vmf_embeddings.embeddings.names import SPLIT_WORDS

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
NAMES = ["cat", "ant", "cat", "bee", "ant", "bee"]


def table(path: Path, *, header: str = "label,f0,f1,f2", rows=ROWS, first=NAMES, end="\n") -> Path:
    """A table whose first column is `first`, the others are `rows`."""
    lines = [",".join([str(a), *map(repr, map(float, row))]) for a, row in zip(first, rows)]  # noqa: B905
    path.write_text("\n".join([header, *lines]) + end)
    return path


def is_right(file) -> None:
    np.testing.assert_array_equal(file.embeddings, ROWS)
    assert [file.meta["class_names"][number] for number in file.ids] == NAMES


@pytest.mark.parametrize(
    "header",
    [
        "label,f0,f1,f2", "y,0,1,2", "Label,emb_1,emb_2,emb_3", "class,x[0],x[1],x[2]",
        "target,dim 0,dim 1,dim 2", "ids,feature.0,feature.1,feature.2",
    ],
)  # fmt: skip
def test_a_table_is_read_by_usual_names(tmp_path, header):
    is_right(vmf.read(table(tmp_path / "a.csv", header=header)))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_line_ends_and_marks_do_not_count(tmp_path, separator, newline):
    text = table(tmp_path / "a.csv").read_text().replace(",", separator).replace("\n", newline)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    is_right(vmf.read(tmp_path / "a.csv"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    is_right(vmf.read(tmp_path / "a.csv.gz"))


def test_columns_may_be_named_and_those_not_read_are_said(tmp_path):
    path = table(tmp_path / "a.csv", header="kind,width,height,depth")
    with pytest.raises(ValueError, match="no column of labels.*it holds kind, width"):
        read_with_notes(path)
    with pytest.raises(ValueError, match=r"not clear which columns.*embeddings='a,b,c'"):
        vmf.read(path, labels="kind")
    is_right(vmf.read(path, embeddings="width,height,depth", labels="kind"))
    found = read_with_notes(path, "depth,width", "kind")
    np.testing.assert_array_equal(found.file.embeddings, ROWS[:, [2, 0]])
    assert "columns not read: height" in found.notes
    with pytest.raises(ValueError, match="no columns 'widht'"):
        vmf.read(path, embeddings="widht", labels="kind")


def test_an_index_column_is_no_embedding(tmp_path):
    first = [f"{row},{name}" for row, name in enumerate(NAMES)]
    found = read_with_notes(table(tmp_path / "a.csv", header=",label,f0,f1,f2", first=first))
    is_right(found.file)
    assert "columns not read: (no name)" in found.notes


def test_two_groups_of_numbered_columns_are_asked_about_unless_one_is_usual(tmp_path):
    rows = np.concatenate([ROWS, ROWS + 1], 1)
    path = table(tmp_path / "a.csv", header="label,f0,f1,f2,age1,age2,age3", rows=rows)
    is_right(vmf.read(path))
    path = table(tmp_path / "a.csv", header="label,one0,one1,one2,two1,two2,two3", rows=rows)
    with pytest.raises(ValueError, match="not clear which columns"):
        vmf.read(path)
    is_right(vmf.read(path, embeddings="one"))


def test_a_column_of_lists_is_read(tmp_path):
    cells = [f'"{row.astype(float).tolist()}",{name}' for row, name in zip(ROWS, NAMES)]  # noqa: B905
    (tmp_path / "a.csv").write_text("\n".join(["embedding,label", *cells]) + "\n")
    is_right(vmf.read(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-30], "truncated: line 7 has [1-3] of 4 cells and no line end"),
        (lambda text: text.replace(text.split(",")[5], "nan", 1), "line 2: column 'f1'.*'nan'"),
        (lambda text: text.replace(text.split(",")[5], "", 1), "line 2: column 'f1'.*got ''"),
        (lambda text: text.replace(text.split(",")[5], "1_0", 1), "column 'f1'.*got '1_0'"),
        (lambda text: text.replace("\nbee", "\nbee,1", 1), "line 5 has 5 of 4 cells"),
        (lambda text: text.replace("f1", "f0"), "two columns called 'f0'"),
        (lambda text: text.replace("label", "f"), "no column of labels"),
        (lambda text: text.split("\n", 1)[1].replace("cat", "9"), "no column|numbers in its first"),
        (lambda text: text.split("\n", 1)[0] + "\n", "no rows below its header"),
        (lambda text: "", "is empty"),
        (lambda text: text + '"x', "truncated: in line 8: a quoted cell does not end"),
        (lambda text: text.replace("ant", " ", 1), "row 1 .*label is empty"),
        (lambda text: text.replace("cat", "1").replace("ant", "2").replace("bee", "nan"), "row 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_is_named_with_its_line(tmp_path, change, said):
    path = table(tmp_path / "a.csv")
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=said) as caught:
        read_with_notes(path)
    assert str(path) in str(caught.value)


def test_a_table_without_a_last_line_end_is_read_and_noted(tmp_path):
    found = read_with_notes(table(tmp_path / "a.csv", end=""))
    is_right(found.file)
    assert any("no line end" in note for note in found.notes)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_a_table_in_unicode_with_its_mark_is_read(tmp_path, encoding):
    text = table(tmp_path / "a.csv", first=["é", "ü"] * 3).read_text()
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert vmf.read(tmp_path / "a.csv").meta["class_names"] == ["é", "ü"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1"])
def test_a_table_in_another_encoding_is_refused_with_the_one_to_save_it_in(tmp_path, encoding):
    text = table(tmp_path / "a.csv", first=["é"] * 6).read_text()
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        vmf.read(tmp_path / "a.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_and_noted(tmp_path, separator):
    text = table(tmp_path / "a.csv").read_text().replace(",", separator).replace(".", ",")
    (tmp_path / "a.csv").write_text(text)
    found = read_with_notes(tmp_path / "a.csv")
    is_right(found.file)
    assert any("commas stand before decimals" in note for note in found.notes)


@pytest.mark.parametrize("cells", ['"0,5",1.5', '"1,234","2,345"', '"1,234,5",1'])
def test_commas_that_could_stand_between_thousands_are_refused(tmp_path, cells):
    (tmp_path / "a.csv").write_text(f"label,f0,f1\na,{cells}\n")
    with pytest.raises(ValueError, match="line 2.*(write decimal points|must be a finite number)"):
        vmf.read(tmp_path / "a.csv")


def test_a_cell_that_is_too_long_is_named_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text(f"label,f0,f1\na,1,2\n{'x' * 200_000},1,2\n")
    with pytest.raises(ValueError, match=r"line 3 has a cell of more than 131,072 characters"):
        vmf.read(tmp_path / "a.csv")


def test_one_long_text_in_many_rows_takes_no_memory(tmp_path):
    lines = ["label,f0,f1", f"{'x' * 100_000},1,2", *["a,1,2"] * 100_000]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="'labels' has a text of 100,000 characters"):
        vmf.read(tmp_path / "a.csv")


def test_a_map_beside_the_labels_is_no_label(tmp_path):
    rows = np.concatenate([ROWS, ROWS[:, :2]], axis=1)
    is_right(vmf.read(table(tmp_path / "a.csv", header="label,f0,f1,f2,x,y", rows=rows)))


def test_a_cut_gzip_is_called_truncated(tmp_path):
    content = gzip.compress(table(tmp_path / "a.csv").read_bytes())
    (tmp_path / "a.csv.gz").write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r"a.csv.gz is truncated"):
        vmf.read(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("kept", [3, 30, 100, -1])
def test_a_cut_array_is_called_truncated(tmp_path, kept):
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.npy .*truncated"):
        vmf.read(tmp_path / "a.npy", labels=NAMES)


@pytest.mark.parametrize("ending", [".npy", ".txt", ".csv", ".npz"])
def test_labels_of_an_array_stand_beside_it_in_any_file(tmp_path, ending):
    np.save(tmp_path / "a.npy", ROWS)
    beside = tmp_path / f"a_labels{ending}"
    if ending == ".npy":
        np.save(beside, np.array(NAMES))
    elif ending == ".npz":
        np.savez(beside, targets=np.array(NAMES))
    else:
        beside.write_text("\n".join((["label"] if ending == ".csv" else []) + NAMES) + "\n")
    found = read_with_notes(tmp_path / "a.npy")
    is_right(found.file)
    assert beside.name in found.notes[0]
    beside.rename(tmp_path / f"y{ending}")
    is_right(vmf.read(tmp_path / "a.npy", labels=str(tmp_path / f"y{ending}")))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npz", b"\x93NUMPY", "its content is one NumPy array"),
        ("a.npz", b"\x1f\x8b", "gunzip"),
        ("a.npy", b"PK\x03\x04xxxx", "a zip archive"),
        ("a.npy", b"\x80\x04xxxxxx", "Python pickle"),
        ("a.npz", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.npz", b"<!DOCTYPE html>", "web page"),
        ("a.csv", b"\x89HDF\r\n\x1a\n", "not UTF-8 text .*HDF5"),
        ("a.parquet", b"PAR1", "a.parquet is truncated"),
        ("a.parquet", b"\x93NUMPY", "its content is one NumPy array"),
        ("a.parquet", b"", "empty"),
        ("a.safetensors", b"x", "no .safetensors file: .* the file has 1"),
        ("a.safetensors", b"\x89HDF\r\n\x1a\n", "its content is HDF5"),
        ("a.h5", b"x", "HDF5 and PyTorch files are not read.*np.savez"),
        ("a.pt", b"x", "np.savez"),
    ],
)
def test_a_file_that_is_something_else_is_called_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        vmf.read(tmp_path / name, labels=None if name[-1] != "y" else NAMES)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"features": ROWS[0]}, r"expected embeddings \[N, D\], got \[3\]"),
        ({"features": ROWS[None]}, r"expected embeddings \[N, D\], got \[1, 6, 3\]"),
        ({"features": ROWS[:5]}, r"\[5, 3\] and labels \[6\] differ in rows"),
        ({"features": ROWS[:0], "labels": NAMES[:0]}, "is empty"),
        ({"labels": np.array([NAMES])}, r"labels: expected one per row \[N\]"),
        ({"labels": np.eye(6)}, "one-hot; write .* labels.argmax"),
        ({"labels": np.array(NAMES, object)}, "Python objects.*dtype=str"),
        ({"labels": [1.5] * 6}, "row 0 .*1.5"),
        ({"features": np.full_like(ROWS, np.nan)}, "has NaN in row 0"),
        ({"is_query": ["True"] * 6}, "is_query must be"),
        ({"paths": ["a"] * 5}, r"paths \[5\] differ in rows"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **{"features": ROWS, "labels": NAMES, **arrays})
    with pytest.raises(ValueError, match=said) as caught:
        vmf.read(tmp_path / "a.npz")
    assert "a.npz" in str(caught.value)


def test_labels_in_one_column_of_an_array_are_labels(tmp_path):
    np.savez(tmp_path / "a.npz", features=ROWS, labels=np.array(NAMES)[:, None])
    np.savez(tmp_path / "b.npz", features=ROWS, labels=NAMES)
    one, other = (vmf.read(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert one.ids.tolist() == other.ids.tolist() and one.meta == other.meta


def test_what_comes_with_the_rows_is_read_too(tmp_path):
    flags = [True, False] * 3
    splits = ["train", "val", "test"] * 2
    np.savez(
        tmp_path / "a.npz", X=ROWS, y=NAMES, is_query=flags, path=list("abcdef"), split=splits, z=1
    )
    found = read_with_notes(tmp_path / "a.npz")
    is_right(found.file)
    assert found.file.paths.tolist() == list("abcdef")
    assert found.file.is_query.tolist() == flags
    assert "not read: z" in found.notes
    one = vmf.read(tmp_path / "a.npz", split="valid")
    np.testing.assert_array_equal(one.embeddings, ROWS[[1, 4]])
    assert one.paths.tolist() == ["b", "e"]
    np.savez(tmp_path / "b.npz", X=ROWS, y=NAMES, split=["train"] * 6)
    with pytest.raises(ValueError, match="no row is of the split test; the file has train"):
        vmf.read(tmp_path / "b.npz", split="test")
    np.savez(tmp_path / "c.npz", X=ROWS, y=NAMES)
    with pytest.raises(ValueError, match="no array or column `split`"):
        vmf.read(tmp_path / "c.npz", split="test")


@pytest.mark.parametrize("word", SPLIT_WORDS)
def test_reading_and_training_take_a_word_for_the_same_split(tmp_path, word):
    rest = next(name for name in ("train", "test") if name != SPLIT_WORDS[word])
    splits = [rest, word.upper(), rest] * 2
    np.savez(tmp_path / "a.npz", X=ROWS, y=["a", "b"] * 3, split=splits)
    read = vmf.read(tmp_path / "a.npz", split=SPLIT_WORDS[word])
    np.testing.assert_array_equal(read.embeddings, ROWS[[1, 4]])
    how = {"embeddings": None, "labels": None, "split": None}
    part = read_feature_files(tmp_path / "a.npz", **how).parts[SPLIT_WORDS[word]]
    assert part.rows.tolist() == [1, 4]
