"""Embeddings of other programs: read, written, scored and searched."""

import json
from dataclasses import fields

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.embeddings import integer_labels, read_with_notes
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import score

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(24, 5)).astype(np.float32)
NUMBERS = np.arange(24) % 4
NAMES = np.array(["wolf", "ant", "cat", "bee"])[NUMBERS]


def equal(a: vmf.EmbeddingFile, b: vmf.EmbeddingFile) -> None:
    for field in fields(vmf.EmbeddingFile):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other, err_msg=field.name)
        else:
            assert mine == other, field.name


@pytest.mark.parametrize("rows", ("embeddings", "features", "feats", "X", "x", "vectors"))
@pytest.mark.parametrize("labels", ("labels", "y", "targets", "label"))
def test_usual_names_of_keys_are_found(rows, labels, tmp_path):
    np.savez(tmp_path / "a.npz", **{rows: ROWS, labels: NAMES, "other": np.ones(3)})
    file = vmf.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(file.embeddings, ROWS)
    assert [file.meta["class_names"][i] for i in file.ids] == NAMES.tolist()


def test_keys_can_be_named_and_unknown_ones_are_listed(tmp_path):
    np.savez(tmp_path / "a.npz", mine=ROWS, kinds=NUMBERS)
    file = vmf.read(tmp_path / "a.npz", embeddings="mine", labels="kinds")
    np.testing.assert_array_equal(file.ids, NUMBERS)
    with pytest.raises(ValueError, match="it holds kinds, mine"):
        vmf.read(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="expected the key 'minee'"):
        vmf.read(tmp_path / "a.npz", embeddings="minee")


LABELS = [
    (NUMBERS, NUMBERS, None),
    (NUMBERS.astype(np.uint8), NUMBERS, None),
    (NUMBERS - 7, NUMBERS - 7, None),
    (NUMBERS / 1, NUMBERS, None),
    (NUMBERS.astype(str), NUMBERS, None),
    (NUMBERS.astype(">f2"), NUMBERS, None),
    (NUMBERS * 2**40, NUMBERS, [str(n * 2**40) for n in range(4)]),
    (NUMBERS == 1, NUMBERS == 1, ["False", "True"]),
    (NAMES.astype(object), [3, 0, 2, 1] * 6, ["ant", "bee", "cat", "wolf"]),
    (NAMES.astype("S"), [3, 0, 2, 1] * 6, ["ant", "bee", "cat", "wolf"]),
]


@pytest.mark.parametrize(("labels", "numbers", "names"), LABELS)
def test_labels_of_any_type_become_class_numbers_that_keep_their_names(labels, numbers, names):
    found, kept = integer_labels(labels)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, numbers)
    assert kept == names


@pytest.mark.parametrize("labels", ([], [[1]], [np.nan], [None], [1 + 2j], [0.5], [np.inf]))
def test_what_is_no_label_is_refused_with_its_row(labels):
    with pytest.raises(ValueError, match=r"labels: row 0 \(counted from 0\): expected"):
        integer_labels(labels)


@pytest.mark.parametrize("suffix", (".npz", ".npy"))
@pytest.mark.parametrize("labels", (NUMBERS, NAMES), ids=("numbers", "texts"))
def test_what_is_written_is_read_back_equal(suffix, labels, tmp_path):
    np.savez(tmp_path / "a.npz", X=ROWS, y=labels)
    file = vmf.read(tmp_path / "a.npz")
    vmf.write(file, tmp_path / f"b{suffix}")
    again = vmf.read(tmp_path / f"b{suffix}")
    vmf.write(again, tmp_path / f"c{suffix}")
    equal(again, vmf.read(tmp_path / f"c{suffix}"))
    np.testing.assert_array_equal(again.embeddings, ROWS)
    np.testing.assert_array_equal(again.ids, file.ids)
    assert (again.meta or {}).get("class_names") == (file.meta or {}).get("class_names")


def test_an_npy_refuses_what_it_cannot_hold(tmp_path):
    file = vmf.EmbeddingFile(ROWS, NUMBERS, logits=ROWS[:, :4], temperature=2.0)
    with pytest.raises(ValueError, match="also has logits, temperature"):
        vmf.write(file, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


def test_an_npy_takes_its_labels_from_beside_it_or_as_given(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    assert vmf.read(tmp_path / "a.npy").ids is None
    with pytest.raises(FileNotFoundError, match="a_labels.npy"):
        read_with_notes(tmp_path / "a.npy")
    np.save(tmp_path / "y.npy", NAMES)
    wanted = vmf.read(tmp_path / "a.npy", labels=NAMES)
    equal(wanted, vmf.read(tmp_path / "a.npy", labels=str(tmp_path / "y.npy")))


def test_objects_and_wrong_sizes_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no usable .npy"):
        vmf.read(tmp_path / "a.npy", labels=[1])
    np.save(tmp_path / "b.npy", ROWS)
    content = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(content.replace(b"(24, 5)", b"(99, 5)"))
    with pytest.raises(ValueError, match="no usable .npy"):
        vmf.read(tmp_path / "b.npy", labels=NUMBERS)
    with pytest.raises(ValueError, match=r"expected a file .npz, .npy, .parquet"):
        vmf.read(tmp_path / "a.txt")


@pytest.mark.parametrize("geometry", ("cosine", "euclidean", "vmf"))
def test_scores_are_those_of_the_command_on_a_file(geometry, tmp_path):
    meta = {"geometry": {"name": geometry}, "open_set": True}
    path = tmp_path / "x_test.npz"
    vmf.write(vmf.EmbeddingFile(ROWS, NUMBERS, meta=meta), path)
    options = EvaluationOptions(paths=(path,), metrics=("recall", "map"))
    wanted = score(load_evaluated_file(path, path, options), options).sections
    found = vmf.evaluate(ROWS, NAMES, metrics=["recall", "map"], geometry=geometry)
    assert json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    assert vmf.evaluate(vmf.read(path), metrics=["recall", "map"]) == found


def test_queries_and_gallery_are_told_apart():
    flags = np.arange(24) < 8
    found = vmf.evaluate(ROWS, NUMBERS, is_query=flags, is_gallery=~flags, ks=[1])
    hits = vmf.search(ROWS[:8], ROWS[8:], k=1)
    correct = NUMBERS[8:][hits.indices[:, 0]] == NUMBERS[:8]
    assert found["retrieval"]["recall@1"] == pytest.approx(correct.mean())


def test_search_finds_what_sorting_finds():
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    similarity = unit.astype(np.float64) @ unit.T.astype(np.float64)
    hits = vmf.search(ROWS, ROWS, k=3, exclude=np.arange(24))
    np.fill_diagonal(similarity, -2)
    np.testing.assert_array_equal(hits.indices, np.argsort(-similarity, axis=1)[:, :3])
    assert hits.similarities.shape == (24, 3) and hits.similarities.dtype == np.float64
    assert vmf.search(ROWS[:2], ROWS[:2], k=3).indices[:, 2].tolist() == [-1, -1]


@pytest.mark.parametrize("dtype", ("float16", "float64", "bfloat16"))
def test_tensors_are_scored_whatever_they_hold_and_wherever_they_are(dtype):
    torch = pytest.importorskip("torch")
    rows = torch.from_numpy(ROWS).to(getattr(torch, dtype)).requires_grad_()
    wanted = vmf.evaluate(rows.detach().float().numpy(), NUMBERS)
    assert vmf.evaluate(rows, torch.from_numpy(NUMBERS)) == wanted


WRONG = [
    (lambda: vmf.search(ROWS[0], ROWS), "queries: expected numbers"),
    (lambda: vmf.search(ROWS, ROWS, geometry="cosin"), "cosin"),
    (lambda: vmf.search(ROWS, ROWS, geometry="poincare"), "curvature"),
    (lambda: vmf.evaluate(ROWS), "labels: expected one class"),
    (lambda: vmf.evaluate(ROWS, NUMBERS, metrics=["recal"]), "metrics: expected some of"),
    (lambda: vmf.evaluate(ROWS, NUMBERS[:5]), "differ in rows"),
    (lambda: vmf.evaluate(ROWS, NUMBERS, is_query=NUMBERS), "is_query must be True or False"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_mistake_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
