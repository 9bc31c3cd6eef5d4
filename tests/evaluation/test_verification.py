"""The section `verification`: all pairs of a file, and the pairs of a table."""

import itertools

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.evaluation.runs import make_file, make_run, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import save_embeddings
from vmf_embeddings.evaluation.pairs_file import read_pairs
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.metrics.binary import roc
from vmf_embeddings.metrics.standard_errors import error_of_ratio
from vmf_embeddings.metrics.verification import equal_error_rate, tar_at_far


def rows(n=70, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, n)
    return np.eye(8)[labels] + 0.6 * rng.normal(size=(n, 8)), labels


def all_pairs(embeddings, labels, taken=lambda i, j: True):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    kept = [(i, j) for i, j in itertools.combinations(range(len(labels)), 2) if taken(i, j)]
    i, j = np.array(kept).T
    return (unit[i] * unit[j]).sum(1), labels[i] == labels[j], i


def test_every_two_rows_are_a_pair():
    embeddings, labels = rows()
    embeddings = embeddings.astype(np.float32)
    found = vmf.evaluate(embeddings, labels, metrics=["verification"])["verification"]
    curve = roc(*all_pairs(embeddings.astype(float), labels)[:2])
    assert found["all/eer"] == pytest.approx(equal_error_rate(curve), abs=1e-9)
    for far in (0.1, 0.01):
        assert found[f"far={far}/tar"] == tar_at_far(curve, far).tar
    assert np.isnan(found["far=1e-06/tar"])


def test_rows_without_a_class_and_of_one_image_make_no_pairs():
    embeddings, labels = rows()
    embeddings = embeddings.astype(np.float32)
    paths = np.array([f"{i // 2}.png" for i in range(70)])
    found = vmf.evaluate(
        embeddings, labels, metrics=["verification"], paths=paths, ignore_labels=[3]
    )["verification"]
    scores, same, _ = all_pairs(
        embeddings.astype(float), labels,
        lambda i, j: paths[i] != paths[j] and 3 not in (labels[i], labels[j]),
    )  # fmt: skip
    assert found["all/eer"] == pytest.approx(equal_error_rate(roc(scores, same)), abs=1e-9)


def test_queries_are_paired_with_gallery_rows():
    embeddings, labels = rows()
    is_query = np.arange(70) < 20
    found = vmf.evaluate(
        embeddings, labels, metrics=["verification"], is_query=is_query, is_gallery=~is_query
    )["verification"]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = (unit[:20] @ unit[20:].T).ravel()
    same = (labels[:20, None] == labels[20:]).ravel()
    assert found["all/eer"] == pytest.approx(equal_error_rate(roc(scores, same)), abs=1e-6)


def test_the_interval_of_a_tar_is_over_classes():
    embeddings, labels = rows()
    embeddings = embeddings.astype(np.float32)
    found = vmf.evaluate(embeddings, labels, metrics=["verification"])["verification"]
    scores, same, left = all_pairs(embeddings.astype(float), labels)
    at = tar_at_far(roc(scores, same), 0.1)
    accepted = [np.sum(scores[same & (labels[left] == c)] >= at.threshold) for c in range(6)]
    counts = [np.sum(same & (labels[left] == c)) for c in range(6)]
    reach = 1.959964 * error_of_ratio(accepted, counts)
    assert found["far=0.1/tar_low"] == pytest.approx(at.tar - reach, abs=1e-6)


@pytest.mark.parametrize("geometry", [{"name": "euclidean"}, {"name": "poincare", "c": 0.3}])
def test_other_geometries_compare_by_their_own_similarity(tmp_path, geometry):
    folder = make_run(tmp_path, geometry)
    assert evaluate(parse_evaluate([str(folder), "metrics=verification", "--no-figures"])) == 0
    file = make_file(geometry)
    space = from_meta(geometry)
    points = space.project(torch.from_numpy(file.embeddings).double())
    i, j = np.triu_indices(len(file.ids), 1)
    scores = space.similarity(points, points)[i, j]
    expected = equal_error_rate(roc(scores, file.ids[i] == file.ids[j]))
    assert scores_of(folder)["verification"]["all/eer"] == pytest.approx(expected, abs=1e-9)


def pairs_file(path, n_pairs=200, n_rows=36, header="row_a,row_b,same"):
    file = make_file({"name": "cosine"})
    rng = np.random.default_rng(0)
    lines = [header]
    for a, b in rng.integers(0, n_rows, (n_pairs, 2)):
        lines.append(f"{a},{b},{int(file.ids[a] == file.ids[b])}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pairs_of_a_file_are_scored_in_its_order(tmp_path, capsys):
    folder = make_run(tmp_path / "run", {"name": "cosine"})
    path = pairs_file(tmp_path / "pairs.csv")
    assert evaluate(parse_evaluate([str(folder), "--pairs", str(path)])) == 0
    stored = scores_of(folder)
    assert (
        stored["verification_about"]["n_same"] + stored["verification_about"]["n_different"] == 200
    )
    folds = stored["verification_about"]["folds"]["accuracy"]
    assert stored["verification"]["all/fold_accuracy"] == pytest.approx(np.mean(folds))
    assert "ten folds %" in capsys.readouterr().out
    assert (folder / "verification.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "expected a header with row_a, row_b, same, got a, b"),
        ("row_a,row_b,same\n0,36,1\n", "line 2: row_b must be a row from 0 to 35, got '36'"),
        ("row_a,row_b,same\n0,-1,1\n", "got '-1'"),
        ("row_a,row_b,same\n0,1,2\n", "line 2: same must be 1 or 0, got '2'"),
        ("row_a,row_b,same\n0,1\n", "same must be 1 or 0, got ''"),
        ("row_a,row_b,same\n", "has no pair"),
        ("", "got an empty file"),
        ("row_a,row_b,same\n0,1,1\n" + "9" * 200_000 + ",1,1\n", "line 3: field larger than"),
        ("row_a,row_b,same\n0,1,1\n1,2,1\n", "all 2 pairs are of one kind"),
    ],
)
def test_unusable_pairs_are_refused_with_their_line(tmp_path, capsys, text, words):
    folder = make_run(tmp_path / "run", {"name": "cosine"})
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    assert evaluate(parse_evaluate([str(folder), "--pairs", str(path), "--no-figures"])) == 2
    assert words in capsys.readouterr().err


def test_columns_may_stand_in_any_order_and_pairs_twice(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("same, ROW_B,row_a,note\ntrue,1,0,x\ntrue,1,0,x\n\nfalse,2,0,y\n")
    found = read_pairs(path, 3)
    assert found.left.tolist() == [0, 0, 0]
    assert found.right.tolist() == [1, 1, 2]
    assert found.same.tolist() == [True, True, False]


def test_a_file_of_one_row_per_class_is_refused(tmp_path):
    save_embeddings(tmp_path / "x_test.npz", make_file({"name": "cosine"}))
    with pytest.raises(ValueError, match="there are 0 and 6"):
        vmf.evaluate(np.eye(4), np.arange(4), metrics=["verification"])
