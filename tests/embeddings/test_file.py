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

    def full_disk(stream, **arrays):
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
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
