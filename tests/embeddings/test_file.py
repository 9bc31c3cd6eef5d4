"""The embedding file comes back as written, reads 2021's files, and refuses what could harm."""

import json
import os
import pickle

import numpy as np
import pytest

from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings

RNG = np.random.default_rng(0)
N, D, C, S = 12, 3, 4, 5


def full_file() -> EmbeddingFile:
    return EmbeddingFile(
        embeddings=RNG.normal(size=(N, D)),
        ids=np.arange(N) % C,
        temperature=0.25,
        class_weights=RNG.normal(size=(C, D)),
        logits=RNG.normal(size=(N, S, C)),
        original_ids=np.arange(N) + 100,
        examples=RNG.integers(0, 255, size=(N, 1, 4, 4)).astype(np.uint8),
        pictures=RNG.integers(0, 255, size=(N, 3, 4, 4)).astype(np.uint8),
        paths=[f"images/{i} ä.jpg" for i in range(N)],
        is_query=np.arange(N) < 5,
        is_gallery=np.arange(N) >= 5,
        meta={"dataset": "toy", "open_set": True, "class_names": None},
    )


def test_every_field_survives_the_round_trip(tmp_path):
    file = full_file()
    save_embeddings(tmp_path / "new" / "toy_test.npz", file)
    back = load_embeddings(tmp_path / "new" / "toy_test.npz")
    for name in (
        "embeddings",
        "ids",
        "class_weights",
        "logits",
        "original_ids",
        "examples",
        "pictures",
        "paths",
    ):
        np.testing.assert_array_equal(getattr(back, name), getattr(file, name), err_msg=name)
        assert getattr(back, name).dtype == getattr(file, name).dtype
    np.testing.assert_array_equal(back.is_query, file.is_query)
    np.testing.assert_array_equal(back.is_gallery, file.is_gallery)
    assert back.temperature == 0.25
    assert back.meta == {"schema": 1, "dataset": "toy", "open_set": True, "class_names": None}
    assert back.open_set


def test_saving_leaves_no_temporary_file_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "toy_test.npz"
    save_embeddings(path, full_file())
    save_embeddings(path, EmbeddingFile(np.ones((2, 2)), np.zeros(2)))
    assert [item.name for item in tmp_path.iterdir()] == ["toy_test.npz"]
    assert load_embeddings(path).embeddings.shape == (2, 2)


def test_a_failing_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "toy_test.npz"
    save_embeddings(path, full_file())

    def full_disk(member, array, **how):
        member.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_embeddings(path, full_file())
    assert [item.name for item in tmp_path.iterdir()] == ["toy_test.npz"]
    assert load_embeddings(path).embeddings.shape == (N, D)


@pytest.mark.parametrize("with_logits", [True, False])
def test_files_of_2021_load_and_logits_mark_the_closed_set(tmp_path, with_logits):
    arrays = {
        "embeddings": RNG.normal(size=(N, D)).astype(np.float32),
        "ids": np.arange(N) % C,
        "temp": np.array([[0.5]], dtype=np.float32),
        "weights": RNG.normal(size=(C, D)).astype(np.float32),
    }
    if with_logits:
        arrays["logits"] = RNG.normal(size=(N, C)).astype(np.float32)
    np.savez(tmp_path / "mnist_test.npz", **arrays)
    file = load_embeddings(tmp_path / "mnist_test.npz")
    assert file.meta is None
    assert file.temperature == 0.5
    assert file.open_set is not with_logits


def test_a_missing_file_names_itself_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"toy_test\.npz.*mode=get_embeddings run="):
        load_embeddings(tmp_path / "toy_test.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.zeros(3)}, "has no 'embeddings'"),
        ({"embeddings": np.ones((3, 2))}, "has no 'ids'"),
        ({"embeddings": np.ones((120, 3)), "ids": np.zeros(119)}, r"\[120, 3\].*\[119\].*rows"),
        ({"embeddings": np.ones(3), "ids": np.zeros(3)}, "embeddings must have 2 axes"),
        (
            {"embeddings": np.ones((3, 2)), "ids": np.zeros(3), "weights": np.ones((4, 5))},
            "differ in columns",
        ),
        (
            {"embeddings": np.ones((3, 2)), "ids": np.zeros(3), "logits": np.ones((2, 5))},
            "logits.*rows",
        ),
        (
            {"embeddings": np.ones((3, 2)), "ids": np.zeros(3), "temp": np.ones(2)},
            "one number",
        ),
        ({"embeddings": np.ones((3, 2)), "ids": np.zeros(3), "meta": np.array("{")}, "not JSON"),
        (
            {"embeddings": np.ones((3, 2)), "ids": np.zeros(3), "meta": np.array("[]")},
            "JSON object",
        ),
        (
            {
                "embeddings": np.ones((3, 2)),
                "ids": np.zeros(3),
                "meta": np.array(json.dumps({"schema": 99})),
            },
            "schema 99",
        ),
    ],
)
def test_malformed_files_say_what_is_wrong_and_where(tmp_path, arrays, message):
    path = tmp_path / "bad_test.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_embeddings(path)
    assert str(path) in str(caught.value)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("key", ["embeddings", "ids", "temp", "meta", "paths"])
def test_an_object_array_is_refused_without_running_its_code(tmp_path, key):
    mark = tmp_path / "owned"
    arrays = {"embeddings": np.ones((2, 2)), "ids": np.zeros(2)}
    arrays[key] = np.array([Bomb(mark), Bomb(mark)], dtype=object)
    np.savez(tmp_path / "evil_test.npz", **arrays)
    with pytest.raises(ValueError, match="Python objects are refused"):
        load_embeddings(tmp_path / "evil_test.npz")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken", pickle.dumps([1])])
def test_a_file_that_is_no_archive_is_a_clear_error(tmp_path, content):
    path = tmp_path / "junk_test.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as an embedding file"):
        load_embeddings(path)


def test_a_bare_pickle_is_refused_without_running_its_code(tmp_path):
    mark = tmp_path / "owned"
    (tmp_path / "evil.npz").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match="cannot be read"):
        load_embeddings(tmp_path / "evil.npz")
    assert not mark.exists()


def test_objects_cannot_be_put_in():
    with pytest.raises(ValueError, match="Python objects"):
        EmbeddingFile(np.ones((2, 2)), np.zeros(2), examples=np.array([{}, {}], dtype=object))


ROWS = np.eye(4, 3) + 1


def written(tmp_path, **arrays):
    """An embedding file of four rows, with some arrays replaced."""
    path = tmp_path / "toy_test.npz"
    np.savez(path, **{"embeddings": ROWS, "ids": [0, 1, 0, 1], "temp": 1.0, **arrays})
    return path


@pytest.mark.parametrize(
    "ids",
    [
        np.array([5, 7, 5, 7], np.uint8),
        np.array([5, 7, 5, 7], ">i4"),
        np.array([5.0, 7.0, 5.0, 7.0], np.float16),
        np.array(["5", "7", "5", "7"]),
        np.array([b"5", b"7", b"5", b"7"]),
    ],
)
def test_whole_numbers_of_any_type_are_the_class_numbers(tmp_path, ids):
    assert load_embeddings(written(tmp_path, ids=ids)).ids.tolist() == [5, 7, 5, 7]


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (np.array(["cat", "ant", "cat", "ant"]), ["ant", "cat"]),
        (np.array(["é".encode(), b"a", "é".encode(), b"a"]), ["a", "é"]),
        (np.array(["01", "1", "01", "1"]), ["01", "1"]),
        (np.array([True, False, True, False]), ["False", "True"]),
        (np.array([2**40, -1, 2**40, -1]), ["-1", str(2**40)]),
    ],
)
def test_labels_of_other_types_are_numbered_and_named(tmp_path, ids, names):
    file = load_embeddings(written(tmp_path, ids=ids))
    assert file.meta["class_names"] == names
    shown = [label.decode() if isinstance(label, bytes) else str(label) for label in ids.tolist()]
    assert [names[number] for number in file.ids] == shown


def test_names_of_classes_are_numbered_as_meta_orders_them(tmp_path):
    meta = np.array(json.dumps({"class_names": ["wolf", "cat", "ant"]}))
    path = written(tmp_path, ids=np.array(["cat", "wolf", "cat", "wolf"]), meta=meta)
    assert load_embeddings(path).ids.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"ids": [0, 1, 0.5, 1]}, "ids: row 2 .*0.5"),
        ({"ids": [0, 1, np.nan, 1]}, "ids: row 2 .*nan"),
        ({"ids": np.array(["a", "", "a", "b"])}, "ids: row 1 .*empty"),
        ({"is_query": np.array(["True", "False"] * 2)}, "is_query must be .*row 0 .*'True'"),
        ({"is_gallery": [0, 1, 2, 1]}, "is_gallery must be .*row 2 .*is 2"),
        ({"is_gallery": [0, 1, np.nan, 1]}, "is_gallery must be .*row 2 .*is nan"),
        ({"embeddings": np.where(ROWS == 2, np.nan, ROWS)}, "embeddings has NaN in row 0 .*3 of 4"),
        ({"embeddings": np.where(ROWS == 2, -np.inf, ROWS)}, "embeddings has infinity in row 0"),
        ({"embeddings": ROWS * 1e300}, "beyond float32"),
        ({"embeddings": ROWS * 1j}, "dtype complex128, not numbers"),
        ({"embeddings": ROWS.astype(np.float16).view("V2")}, "bfloat16.*float32"),
        ({"embeddings": ROWS[:0], "ids": [0][:0]}, "is empty"),
        ({"logits": [[0, 1], [1, np.nan], [0, 1], [0, 1]]}, "logits has NaN in row 1"),
        ({"logits": [[0, 1], [1, np.inf], [0, 1], [0, 1]]}, "logits has infinity in row 1"),
        ({"logits": np.ones((4, 2)), "ids": np.array(list("abab"))}, "which column of logits"),
        ({"weights": [[1, np.nan, 1]]}, "class_weights has NaN in row 0"),
        ({"temp": np.nan}, "temp must be a number above 0"),
        ({"temp": 0.0}, "temp must be a number above 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value[:30],
)
def test_values_that_mean_nothing_are_refused_with_file_key_and_row(tmp_path, arrays, said):
    path = written(tmp_path, **arrays)
    with pytest.raises(ValueError, match=said) as caught:
        load_embeddings(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", ">f8", "i1", ">i8", "u2", "g", "?"])
@pytest.mark.parametrize("order", "CF")
def test_numbers_of_any_type_and_order_are_the_same_rows(tmp_path, dtype, order):
    rows = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]]).astype(dtype, order=order)
    found = load_embeddings(written(tmp_path, embeddings=rows)).embeddings
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert found.tolist() == rows.astype(float).tolist()


def test_flags_are_booleans_or_0_and_1(tmp_path):
    for flags in ([0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0], np.array([0, 1, 1, 0], bool)):
        assert load_embeddings(written(tmp_path, is_query=flags)).is_query.tolist() == [0, 1, 1, 0]


def test_logits_may_rule_a_class_out_by_minus_infinity(tmp_path):
    logits = np.array([[0, -np.inf]] * 4)
    assert load_embeddings(written(tmp_path, logits=logits)).logits[0, 1] == -np.inf


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2)])
def test_logits_may_not_rule_every_class_of_a_row_out(tmp_path, shape):
    logits = np.zeros(shape)
    logits[2, ..., 0] = logits[1, ..., 1] = -np.inf
    assert load_embeddings(written(tmp_path, logits=logits)).logits.shape == shape
    logits[(2,) if len(shape) == 2 else (2, 1)] = -np.inf
    with pytest.raises(ValueError, match=r"logits has infinity in row 2 .*1 of 4 rows"):
        load_embeddings(written(tmp_path, logits=logits))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_called_truncated(tmp_path, save, kept):
    path = tmp_path / "toy_test.npz"
    save(path, embeddings=np.ones((50, 8)), ids=np.zeros(50))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="toy_test.npz .*truncated"):
        load_embeddings(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_embeddings(path)
