"""Embedding files of others are data: no code, no bombs, no paths, no traces."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.commands.run import refused
from tests.evaluation.runs import make_run
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import read

N = 36


class Payload:
    """Writes a marker file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def score(path, *options):
    return evaluate(parse_evaluate([str(path), "--no-pictures", *options]))


def is_refused(path, capsys, *words, options=()):
    """The command says why on standard error, exits with 2 and writes nothing."""
    before = sorted(path.parent.rglob("*"))
    assert score(path, *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for word in words:
        assert word in said.err
    assert sorted(path.parent.rglob("*")) == before


@pytest.fixture
def file(tmp_path):
    return make_run(tmp_path / "run", {"name": "cosine"}) / "toy_test.npz"


def change(file, **arrays):
    with np.load(file) as archive:
        arrays = {**archive, **arrays}
    np.savez(file, **arrays)


def change_meta(file, **values):
    with np.load(file) as archive:
        meta = json.loads(str(archive["meta"]))
    change(file, meta=np.array(json.dumps({**meta, **values})))


KEYS = ("embeddings", "ids", "temp", "weights", "logits", "original_ids", "examples", "pictures",
        "paths", "is_query", "is_gallery", "meta")  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_object_arrays_are_refused_without_running_their_code(tmp_path, file, capsys, key):
    change(file, **{key: np.array([Payload(tmp_path / "marker")] * N, dtype=object)})
    is_refused(file, capsys, "Python objects are refused", f"'{key}.npy'")
    assert not (tmp_path / "marker").exists()


def pickled(marker):
    return pickle.dumps(Payload(marker))


def pickle_in_a_member(marker):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("embeddings.npy", "ids.npy", "data.pkl"):
            archive.writestr(name, pickle.dumps(Payload(marker)))
    return stream.getvalue()


def pickle_as_npy(marker):
    stream = io.BytesIO()
    np.save(stream, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("make", [pickled, pickle_in_a_member, pickle_as_npy])
def test_pickles_under_every_guise_are_refused_without_running_them(tmp_path, file, capsys, make):
    file.write_bytes(make(tmp_path / "marker"))
    is_refused(file, capsys, "cannot be read as an embedding file")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("door", ["compute_vmf", "compute_deterministic"])
def test_the_scripts_of_2021_refuse_pickles_too(tmp_path, file, door):
    file.write_bytes(pickled(tmp_path / "marker"))
    module = f"vmf_embeddings.third_party.pytorch_metric_learning.{door}_performance_metrics"
    said = refused(module, str(file.parent), "--no-pictures", cwd=tmp_path)
    assert "cannot be read as an embedding file" in said
    assert not (tmp_path / "marker").exists()


def test_members_that_no_score_needs_are_left_unread(tmp_path, file):
    change(file, extra=np.array([Payload(tmp_path / "marker")], dtype=object))
    assert score(file) == 0
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("key", ["embeddings", "logits", "examples", "meta"])
def test_bombs_are_refused_before_they_unpack(file, capsys, key):
    with np.load(file) as archive:
        arrays = {**archive, key: np.zeros(100 * 2**20, np.uint8)}
    np.savez_compressed(file, **arrays)
    is_refused(file, capsys, "would unpack to")


def test_a_header_that_claims_a_trillion_rows_is_refused(file, capsys):
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("embeddings.npy", stream.getvalue() + bytes(64))
        archive.writestr("ids.npy", stream.getvalue() + bytes(64))
    is_refused(file, capsys, "'embeddings.npy' holds", "takes 12000000000")


def test_pipes_and_devices_are_refused_without_waiting(tmp_path, capsys):
    os.mkfifo(tmp_path / "toy_test.npz")
    assert score(tmp_path / "toy_test.npz") == 2
    assert "neither a folder nor a regular file" in capsys.readouterr().err


WRONG = {
    "dataset": [3, ["a"], "a\nb", "x" * 1000, "\x1b[2J"],
    "split": ["../../x", "/etc/x", "foo", 3, ["test"], {}],
    "split_hash": [3, {"a": 1}, "\x1b[2J"],
    "train_identity": [3, ["x"], "a\nb"],
    "method": [3, ["a"], "\x1b", "x" * 1000],
    "objective": [3, ["a"], {"a\nb": 1}, {"a": "x" * 200_000}],
    "geometry": ["cosine", ["cosine"], {"name": 3}, {"name": "poincare", "c": "1"},
                 {"name": "poincare", "c": 10**400}, {"name": "poincare", "c": [1]}],
    "seed": ["1", 1.5, [1], 2**70, True],
    "epoch": ["1", 1.5],
    "selected_on": ["../x", 3, "test\x1b"],
    "open_set": ["no", 0, [], 1.0],
    "train_class_counts": [[], [1, "a"], [-1], [1.5], [2**60], "abc", {"a": 1}, 5],
    "class_names": ["abc", {"a": 1}, [None], [["a"]], ["x" * 5000]],
    "schema": ["1", [], 1.0, 99],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_meta_of_a_wrong_type_or_range_is_refused_by_name(file, capsys, key, value):
    change_meta(file, **{key: value})
    is_refused(file, capsys, str(file), "meta", key)


@pytest.mark.parametrize("key", ["versions", "objective", "anything"])
@pytest.mark.parametrize("depth", [101, 5000, 100_000])
def test_deeply_nested_meta_is_refused(file, capsys, key, depth):
    change(file, meta=np.array(f'{{"{key}": {"[" * depth + "]" * depth}}}'))
    is_refused(file, capsys, "meta is not usable JSON: nested")


@pytest.mark.parametrize(
    "meta",
    [np.array(["{}"]), np.array("[]"), np.array("null"), np.array(3), np.array("\x00"),
     np.frombuffer(b"{}", np.uint8)],
)  # fmt: skip
def test_meta_that_is_no_single_object_of_json_is_refused(file, capsys, meta):
    change(file, meta=meta)
    is_refused(file, capsys, "meta")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"ids": np.full(N, -1)}, "class numbers"),
        ({"ids": np.arange(N) * 10**12}, "is not in class_names"),
        ({"ids": np.arange(N)}, "ids go up to 35"),
        ({"ids": np.full(N, np.nan)}, "got nan; labels are whole numbers or text"),
        ({"ids": np.arange(N) / 2}, "row 1 (counted from 0): expected a class, got 0.5"),
        ({"ids": np.full(N, "z")}, "'z', which is not in class_names"),
        ({"ids": np.ones(N, "M8[s]")}, "dtype"),
        ({"embeddings": np.ones((N, 3), complex)}, "dtype"),
        ({"embeddings": np.ones((N, 0)), "weights": np.ones((3, 0))}, "is empty"),
        ({"logits": np.ones((N, 0, 3))}, "is empty"),
        ({"logits": np.ones((N, 0))}, "is empty"),
        ({"paths": np.ones(N)}, "dtype"),
        ({"temp": np.array("x")}, "dtype"),
        ({"is_query": np.zeros(N)}, "0 queries"),
    ],
)
def test_numbers_that_name_nothing_are_refused(file, capsys, arrays, words):
    change(file, **arrays)
    is_refused(file, capsys, str(file), words, options=["--recall", "1"])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("shape", [(N,), (N, 2), (N, 1, 1, 2, 2), (N, 0, 2, 2), (N, 1, 0, 2)])
def test_images_that_cannot_be_drawn_are_named_and_left_out(file, capsys, shape):
    change(file, examples=np.ones(shape))
    assert evaluate(parse_evaluate([str(file)])) == 0
    assert "examples have the shape" in capsys.readouterr().err
    assert not (file.parent / "neighbours.png").exists()


@pytest.mark.parametrize("name", ("all.npz", "rows_labels.npy"))
def test_a_billion_texts_of_no_characters_are_refused(tmp_path, name):
    header = io.BytesIO()
    claim = {"descr": "<U0", "fortran_order": False, "shape": (10**9,)}
    np.lib.format.write_array_header_1_0(header, claim)
    np.savez(tmp_path / "all.npz", X=np.eye(4))
    np.save(tmp_path / "rows.npy", np.eye(4))
    if name == "all.npz":
        with zipfile.ZipFile(tmp_path / name, "a") as archive:
            archive.writestr("y.npy", header.getvalue())
    else:
        (tmp_path / name).write_bytes(header.getvalue() + b"more")
    with pytest.raises(ValueError, match="no characters"):
        read(tmp_path / name.replace("_labels", ""))


@pytest.mark.parametrize("key", ("labels", "meta", "paths"))
@pytest.mark.parametrize("order", "<>")
def test_texts_of_no_characters_that_exist_are_refused(tmp_path, key, order):
    codes = np.full(4, 0x7FFFFFFF, f"{order}u4").view(f"{order}U1")
    arrays = {"embeddings": np.eye(4), "ids": np.zeros(4, int)}
    if key == "labels":
        del arrays["ids"]
    np.savez(tmp_path / "a.npz", **arrays, **{key: codes})
    with pytest.raises(ValueError, match="no character"):
        read(tmp_path / "a.npz")


def test_a_geometry_without_a_name_is_refused_by_the_library_too(file):
    change_meta(file, geometry={})
    with pytest.raises(ValueError, match="Unknown geometry"):
        vmf.evaluate(read(file))
