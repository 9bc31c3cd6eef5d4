"""Rows of one image, rows without a class, tied rows: what is scored, and what is said about it."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_deterministic_script, parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import METRICS, EvaluationOptions
from vmf_embeddings.evaluation.rows import notes_on_rows
from vmf_embeddings.evaluation.scores import score
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.library.evaluate import evaluate as evaluate_arrays
from vmf_embeddings.metrics import retrieval

GEOMETRIES = (
    {"name": "cosine"}, {"name": "euclidean"}, {"name": "vmf"}, {"name": "poincare", "c": 0.5}
)  # fmt: skip
OPTIONS = EvaluationOptions(paths=(Path("x"),), metrics=("recall", "map"), samples=2)


def noise(n=60, n_classes=4, dim=8, **fields):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, n_classes, n)
    meta = {"dataset": "toy", "split": "test", "open_set": True, "geometry": {"name": "cosine"}}
    return EmbeddingFile(
        embeddings=rng.normal(size=(n, dim)), ids=ids, meta=meta,
        paths=np.asarray([f"x/{i}.png" for i in range(n)]), **fields,
    )  # fmt: skip


def scored(file, geometry=GEOMETRIES[0], options=OPTIONS):
    return score(EvaluatedFile(Path("x"), Path("x"), file, from_meta(geometry)), options)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: g["name"])
def test_an_image_that_is_query_and_gallery_row_never_finds_itself(geometry):
    """Every image once as a query and once in the gallery scores as every image once as both."""
    one = noise()
    spelled = np.char.add("./", one.paths.astype(str))
    two = EmbeddingFile(
        embeddings=np.concatenate([one.embeddings] * 2), ids=np.concatenate([one.ids] * 2),
        paths=np.concatenate([one.paths, spelled]), meta=one.meta,
        is_query=np.arange(120) < 60, is_gallery=np.arange(120) >= 60,
    )  # fmt: skip
    once, twice = (scored(file, geometry) for file in (one, two))
    for section in {"retrieval", "as_output", "normalised"}:
        assert twice.sections[section] == pytest.approx(once.sections[section], abs=1e-12)
    assert (once.rows.n_same_image, twice.rows.n_same_image) == (0, 60)
    assert any("60 queries are not compared" in note for note in notes_on_rows([twice.rows]))
    itself = scored(dataclasses.replace(two, paths=None), geometry)
    assert itself.sections["retrieval"]["recall@1"] > twice.sections["retrieval"]["recall@1"]


def test_rows_of_one_image_under_two_labels_are_not_compared():
    file = noise(6, 2)
    file.ids[:] = [0, 1, 0, 0, 1, 1]
    file.embeddings[1] = file.embeddings[0]
    file.paths[1] = file.paths[0]
    found = scored(file)
    rest = np.array([0, 2, 3, 4, 5])  # what the first row is compared with, and itself
    unit = from_meta({"name": "cosine"}).project
    expected = retrieval(file.embeddings[rest], file.ids[rest], similarity=lambda q, g: (
        unit(q) @ unit(g).T
    ))  # fmt: skip
    whole = retrieval(
        file.embeddings, file.ids, similarity=lambda q, g: unit(q) @ unit(g).T, paths=file.paths
    )
    assert whole.rows.average_precision[0] == expected.rows.average_precision[0]
    assert found.rows.n_same_image == 2


def test_rows_to_ignore_are_negatives_in_the_gallery_and_nothing_else():
    file = noise(80, 5)
    file.ids[file.ids == 2] = -1
    has_class = file.ids >= 0
    options = dataclasses.replace(OPTIONS, ignore_labels=("-1",), metrics=METRICS[:1] + METRICS[2:])
    found = scored(file, options=options)
    rows = file.embeddings / np.linalg.norm(file.embeddings.astype(float), axis=1, keepdims=True)
    # a class of its own for each of them: then they are positives of no query
    apart = np.where(has_class, file.ids, 100 + np.arange(80))
    expected = retrieval(rows, apart, metric="ip", is_query=has_class)
    assert found.sections["retrieval"]["recall@1"] == expected.recall[1]
    assert found.sections["retrieval"]["map@r"] == pytest.approx(expected.map_at_r, abs=1e-12)
    without = dataclasses.replace(
        file, embeddings=file.embeddings[has_class], ids=file.ids[has_class],
        paths=file.paths[has_class],
    )  # fmt: skip
    left = scored(without, options=dataclasses.replace(OPTIONS, metrics=("spectrum", "spread")))
    for name, value in left.sections["normalised"].items():
        assert found.sections["normalised"][name] == pytest.approx(value, abs=1e-12)
    assert found.rows.n_ignored == int((~has_class).sum())


def test_rows_that_are_all_to_be_ignored_are_refused():
    options = dataclasses.replace(OPTIONS, ignore_labels=("0", "1"))
    file = noise(6, 2)
    file.ids[:] = [0, 1, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"every row has a label .*\(0, 1\): nothing is left"):
        scored(file, options=options)


def test_rows_to_ignore_are_not_classified():
    file = noise(90, 3, logits=np.random.default_rng(1).normal(size=(90, 3)))
    closed = dataclasses.replace(file, meta={**file.meta, "open_set": False})
    kept = closed.ids != 1
    found = scored(closed, options=dataclasses.replace(OPTIONS, ignore_labels=("1",)))
    expected = np.mean(closed.logits[kept].argmax(1) == closed.ids[kept])
    assert found.sections["classification"]["accuracy"] == pytest.approx(expected)
    assert len(found.confidence) == kept.sum()
    closed.ids[:10] = -1
    with pytest.raises(ValueError, match="--ignore-label -1"):
        scored(closed)
    assert scored(closed, options=dataclasses.replace(OPTIONS, ignore_labels=("-1",))).rows


@pytest.mark.parametrize("name", ["-1", "none", "Unknown", "junk", "-2", ""])
def test_a_label_that_may_mean_no_class_is_named_with_what_to_type(name):
    labels = ["cat", name, "dog", name, "cat", "dog"]
    rows = np.random.default_rng(0).normal(size=(6, 3))
    numbers = np.unique(labels, return_inverse=True)
    file = EmbeddingFile(rows, numbers[1], meta={"class_names": numbers[0].tolist()})
    found = scored(file)
    (note,) = notes_on_rows([found.rows])
    assert "2 rows" in note
    typed = next(w for w in shlex.split(note.split(", add ")[1]) if w.startswith("--ignore-label"))
    ignore = parse_evaluate(["x", typed]).ignore_labels
    assert ignore == (name,)
    quiet = scored(file, options=dataclasses.replace(OPTIONS, ignore_labels=ignore))
    assert quiet.rows.n_ignored == 2
    assert quiet.rows.unlabelled == {}


def test_coinciding_rows_and_rows_without_direction_are_counted():
    file = noise()
    file.embeddings[10:15] = file.embeddings[0]
    file.embeddings[20:22] = 0
    rows = scored(file).rows
    assert (rows.n_coinciding, rows.n_zero) == (8, 2)
    assert rows.n_tied_queries >= 8
    notes = " ".join(notes_on_rows([rows]))
    assert "8 rows coincide with another row" in notes
    assert "2 rows have length 0" in notes
    assert scored(file, {"name": "euclidean"}).rows.n_zero is None
    assert notes_on_rows([scored(noise()).rows]) == []


def written(folder, **fields):
    file = dataclasses.replace(noise(), **fields)
    file.embeddings[:] = 1
    save_embeddings(folder / "toy_test.npz", file)
    return folder


def test_the_command_shares_ties_and_the_scripts_of_2021_do_not(tmp_path, capsys):
    folder = written(tmp_path, ids=np.sort(noise().ids))
    recalls = {}
    for name, options in {
        "expected": parse_evaluate([str(folder), "--no-figures"]),
        "index": parse_evaluate([str(folder), "ties=index", "--no-figures"]),
        "2021": parse_deterministic_script([str(folder), "l2", "--no-figures"]),
    }.items():
        assert evaluate(options) == 0
        entry = json.loads((folder / "metrics.json").read_text())["toy_test.npz"]
        recalls[name] = entry["retrieval"]["recall@1"], entry["ties"]
        assert entry["n_rows_coinciding"] == 60
    counts = np.bincount(noise().ids)
    assert recalls["expected"][0] == pytest.approx((counts * (counts - 1)).sum() / 60 / 59)
    assert recalls["index"] == recalls["2021"]
    assert recalls["index"][0] == pytest.approx(counts[0] / 60)
    assert (recalls["expected"][1], recalls["index"][1]) == ("expected", "index")
    assert "means over all orders of tied rows" in capsys.readouterr().out


def test_a_label_to_ignore_that_does_not_occur_is_refused(tmp_path, capsys):
    assert evaluate(parse_evaluate([str(written(tmp_path)), "--ignore-label", "-1"])) == 2
    assert "no row has the label '-1'" in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()


def test_arrays_are_scored_alike_with_names_of_images_and_labels_to_ignore(caplog):
    file = noise(40, 3)
    labels = np.array(["cat", "dog", "none"])[file.ids]
    names = np.array([f"{i % 20}.png" for i in range(40)])
    found = evaluate_arrays(
        file.embeddings, labels, paths=names, ignore_labels=["none"], ties="index", ks=[1]
    )
    options = dataclasses.replace(OPTIONS, ignore_labels=("2",), ties="index", metrics=())
    expected = scored(dataclasses.replace(file, paths=names), options=options)
    assert found["retrieval"]["map@r"] == expected.sections["retrieval"]["map@r"]
    assert "not compared with other rows of the same image path" in caplog.text
    assert evaluate_arrays(np.eye(4), [-1, -1, 3, 3], ignore_labels=[-1])["retrieval"]
    with pytest.raises(ValueError, match="no row has the label 'mouse'"):
        evaluate_arrays(file.embeddings, labels, ignore_labels=["mouse"])
    with pytest.raises(ValueError, match="ignore_labels: expected a list"):
        evaluate_arrays(file.embeddings, labels, ignore_labels="none")
    with pytest.raises(ValueError, match="known: expected, index"):
        evaluate_arrays(file.embeddings, labels, ties="lowest")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"ks": 3}, "ks: expected a list, got '3'"),
        ({"ks": [1.5]}, r"ks: expected whole numbers >= 1, got \[1.5\]"),
        ({"ks": [0]}, "ks: expected whole numbers >= 1"),
        ({"ignore_labels": 1}, "ignore_labels: expected a list, got '1'"),
        ({"merge": noise(6, 2)}, "merge: expected a list"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(argument, words):
    with pytest.raises(ValueError, match=words):
        evaluate_arrays(np.eye(4), [0, 0, 1, 1], **argument)


def test_numbers_of_numpy_are_whole_numbers_too():
    found = evaluate_arrays(np.eye(4), [0, 0, 1, 1], ks=np.array([1, 3]))
    assert found["retrieval"]["recall@3"] == 1
