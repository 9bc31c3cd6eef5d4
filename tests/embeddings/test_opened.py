"""`open_embeddings` finds embeddings, labels and columns alike in every format, without a copy."""

import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from safetensors.torch import save_file

import vmf_embeddings as vmf
from vmf_embeddings.embeddings import open_embeddings, read_with_notes

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
NAMES = ["cat", "ant", "cat", "bee", "ant", "bee"]
SPLITS = ["train", "val", "test"] * 2
CAMERAS = [3, 1, 2, 3, 1, 2]


def parquet(path, /, rows=ROWS, kind=pa.list_, **columns):
    """A table with a column `vector` of lists, and others."""
    values = rows if isinstance(rows, list) else rows.tolist()
    pq.write_table(pa.table({"vector": pa.array(values, kind(pa.float32())), **columns}), path)
    return path


def written(tmp_path, ending):
    """The same rows, labels, splits and cameras in a file of this format."""
    path = tmp_path / f"a{ending}"
    if ending in (".npz", ".safetensors"):
        labels = np.array(NAMES if ending == ".npz" else [2, 0, 2, 1, 0, 1])
        arrays = {"features": ROWS, "y": labels, "camera": np.array(CAMERAS)}
        save = np.savez if ending == ".npz" else lambda to, **a: safetensors.numpy.save_file(a, to)
        save(path, **arrays)
    elif ending == ".parquet":
        parquet(path, label=NAMES, split=SPLITS, camera=CAMERAS)
    elif ending == ".npy":
        np.save(path, ROWS)
        (tmp_path / "a_labels.txt").write_text("\n".join(NAMES) + "\n")
    else:
        lines = [
            f"{name},{split},{camera},{','.join(map(repr, row.tolist()))}"
            for name, split, camera, row in zip(NAMES, SPLITS, CAMERAS, ROWS, strict=True)
        ]
        path.write_text("\n".join(["label,split,camera,f0,f1,f2", *lines]) + "\n")
    return path


@pytest.mark.parametrize("ending", [".npz", ".npy", ".csv", ".parquet", ".safetensors"])
def test_rows_labels_and_columns_are_found_in_every_format(tmp_path, ending):
    opened = open_embeddings(written(tmp_path, ending))
    np.testing.assert_array_equal(np.asarray(opened.embeddings, np.float32), ROWS)
    assert len(opened.labels) == 6
    if ending in (".csv", ".parquet"):
        assert opened.columns["split"].tolist() == SPLITS
    if ending not in (".npy",):
        assert opened.columns["camera"].astype(int).tolist() == CAMERAS
        assert "camera" in opened.names
    assert str(tmp_path) in opened.notes[0]
    assert (opened.labels == NAMES).all() or ending == ".safetensors"


@pytest.mark.parametrize("ending", [".npz", ".npy", ".safetensors"])
def test_rows_stay_in_the_file_where_the_format_allows_it(tmp_path, ending):
    opened = open_embeddings(written(tmp_path, ending))
    assert isinstance(opened.embeddings, np.memmap)
    assert not opened.embeddings.flags.writeable


def test_a_compressed_npz_is_read_into_memory(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", X=ROWS)
    opened = open_embeddings(tmp_path / "a.npz")
    assert not isinstance(opened.embeddings, np.memmap)
    np.testing.assert_array_equal(opened.embeddings, ROWS)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "i8", "u1"])
def test_a_mapped_member_has_the_values_that_numpy_reads(tmp_path, order, dtype):
    rows = np.asarray(ROWS * 50, order=order).astype(dtype, order=order)
    np.savez(tmp_path / "a.npz", other=np.arange(5), emb=rows, label=np.arange(6))
    opened = open_embeddings(tmp_path / "a.npz")
    np.testing.assert_array_equal(opened.embeddings, rows)
    assert opened.embeddings.dtype == rows.dtype


@pytest.mark.parametrize("ending", [".npz", ".npy", ".csv", ".parquet", ".safetensors"])
def test_no_labels_are_needed_to_open_and_read_but_to_score(tmp_path, ending):
    vmf.write(vmf.EmbeddingFile(ROWS), tmp_path / f"own{ending}")
    path = tmp_path / f"a{ending}"
    if ending == ".parquet":
        parquet(path)
    elif ending == ".safetensors":
        safetensors.numpy.save_file({"emb": ROWS}, path)
    elif ending == ".npz":
        np.savez(path, emb=ROWS)
    else:
        path = tmp_path / f"own{ending}"
    assert open_embeddings(path).labels is None
    assert vmf.read(path).ids is None
    with pytest.raises((ValueError, FileNotFoundError), match="no .*labels"):
        read_with_notes(path)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda of: pa.list_(of, 3)])
def test_lists_of_every_kind_are_rows(tmp_path, kind):
    found = read_with_notes(parquet(tmp_path / "a.parquet", kind=kind, label=NAMES))
    np.testing.assert_array_equal(found.file.embeddings, ROWS)
    assert [found.file.meta["class_names"][number] for number in found.file.ids] == NAMES
    assert found.foreign and "'vector' and labels 'label'" in found.notes[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int16, np.uint8])
def test_numbers_of_any_type_are_rows(tmp_path, dtype):
    rows = (ROWS * 20).astype(dtype)
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 3)
    pq.write_table(pa.table({"emb": values, "y": NAMES}), tmp_path / "a.parquet")
    opened = open_embeddings(tmp_path / "a.parquet")
    assert opened.embeddings.dtype == dtype
    np.testing.assert_array_equal(opened.embeddings, rows)


def test_many_parts_of_a_parquet_are_one_array(tmp_path):
    rows = np.arange(3000.0).reshape(1000, 3)
    names = [f"class {n % 7}" for n in range(1000)]
    table = pa.table({"vector": list(rows), "label": names})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=90, compression="zstd")
    opened = open_embeddings(tmp_path / "a.parquet")
    np.testing.assert_array_equal(opened.embeddings, rows)
    assert opened.labels.tolist() == names


def test_numbered_columns_of_a_parquet_are_rows(tmp_path):
    columns = {f"f{place}": ROWS[:, place] for place in range(3)}
    pq.write_table(pa.table({"label": NAMES, "age": CAMERAS, **columns}), tmp_path / "a.parquet")
    opened = open_embeddings(tmp_path / "a.parquet")
    np.testing.assert_array_equal(opened.embeddings, ROWS)
    assert opened.columns["age"].tolist() == CAMERAS
    named = open_embeddings(tmp_path / "a.parquet", embeddings="f2,f0", labels="age")
    np.testing.assert_array_equal(named.embeddings, ROWS[:, [2, 0]])
    assert named.labels.tolist() == CAMERAS


def test_places_on_a_map_are_no_embeddings_and_no_labels(tmp_path):
    path = parquet(tmp_path / "a.parquet", x=ROWS[:, 0], y=ROWS[:, 1], label=NAMES)
    assert open_embeddings(path).labels.tolist() == NAMES
    opened = open_embeddings(parquet(tmp_path / "b.parquet", x=ROWS[:, 0], y=ROWS[:, 1]))
    assert opened.labels is None and set(opened.columns) == {"x", "y"}


def test_classes_that_a_file_of_this_package_names_are_opened_by_name(tmp_path):
    meta = {"class_names": ["wolf", "cat"], "dataset": "x"}
    for ending in (".npz", ".parquet", ".safetensors"):
        vmf.write(vmf.EmbeddingFile(ROWS, [0, 1] * 3, meta=meta), tmp_path / f"a{ending}")
        assert open_embeddings(tmp_path / f"a{ending}").labels.tolist() == ["wolf", "cat"] * 3


def test_bfloat16_becomes_float32(tmp_path):
    rows = torch.from_numpy(ROWS).bfloat16()
    save_file({"emb": rows, "labels": torch.arange(6)}, tmp_path / "a.safetensors")
    opened = open_embeddings(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(opened.embeddings, rows.float().numpy())
    save_file({"emb": rows.to(torch.float8_e4m3fn)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="'emb' has dtype F8_E4M3.*write it as float32"):
        open_embeddings(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"rows": [[1, 2], [3], *[[1, 2]] * 4]}, r"row 1 \(counted from 0\) has 1 numbers.*have 2"),
        ({"rows": [[1, 2]] * 5 + [[1, 2, 3]]}, r"row 5 \(counted from 0\) has 3 numbers"),
        ({"rows": [[1, 2], None, *[[1, 2]] * 4]}, "'vector' has no value in row 1"),
        ({"rows": [[1, 2], [1, None], *[[1, 2]] * 4]}, "'vector': number 1 of row 1 .* is missing"),
        ({"rows": [[]] * 6}, "'vector' has empty lists"),
        ({"rows": [], "label": []}, "has no rows"),
        ({"rows": [[1, float("nan")]] * 6}, "embeddings has NaN in row 0"),
        ({"label": [*"abcde", None]}, "'label' has no value in row 5"),
        ({"label": [decimal.Decimal("1.5")] * 6}, "'label' is decimal128.*expected numbers, text"),
        ({"label": [0.5] * 6}, "row 0 .*0.5"),
        ({"label": [[1, 2]] * 6}, "labels: expected one per row"),
        ({"split": [{"a": 1}] * 6}, "'split' is struct"),
        ({"x": [1.0] * 6}, "no labels: expected one of the keys"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else value[:20],
)
def test_what_is_wrong_in_a_parquet_is_named_with_its_row(tmp_path, columns, said):
    columns = {"label": NAMES, **columns} if "x" not in columns else columns
    path = parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises(ValueError, match=said) as caught:
        read_with_notes(path)
    assert str(path) in str(caught.value)


def test_columns_that_nobody_needs_are_left_out_with_a_note(tmp_path):
    path = parquet(
        tmp_path / "a.parquet", label=NAMES, kind_of=[*"abcde", None], neighbors=[{"ids": [1]}] * 6
    )
    opened = open_embeddings(path)
    assert opened.columns == {}
    assert any("'kind_of' has no value in row 5" in note for note in opened.notes)
    assert "not read: neighbors" in opened.notes


def test_a_split_of_a_parquet_is_read_alone(tmp_path):
    path = parquet(tmp_path / "a.parquet", label=NAMES, split=SPLITS, path=list("abcdef"))
    one = vmf.read(path, split="valid")
    np.testing.assert_array_equal(one.embeddings, ROWS[[1, 4]])
    assert one.paths.tolist() == ["b", "e"]
