"""Rows of a query's class from its own camera or sequence are not compared with it."""

import dataclasses

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings, save_embeddings
from vmf_embeddings.metrics import retrieval
from vmf_embeddings.metrics.ties import reciprocal_rank

GOLDEN = load_golden("reid_rerank")


def golden_file(case, **changes):
    file = EmbeddingFile(
        embeddings=GOLDEN[f"{case}/embeddings"],
        ids=GOLDEN[f"{case}/labels"],
        is_query=GOLDEN[f"{case}/is_query"],
        is_gallery=GOLDEN[f"{case}/is_gallery"],
        camera=GOLDEN[f"{case}/cameras"],
    )
    return dataclasses.replace(file, **changes)


@pytest.mark.parametrize("case", ["m0", "m1"])
@pytest.mark.parametrize("exclude_same", ["camera", None])
def test_golden_numbers(case, exclude_same):
    if f"{case}/exact_map" not in GOLDEN:
        pytest.skip("these keys are in the full golden file alone")
    place = case if exclude_same else f"{case}/no_exclusion"
    found = vmf.evaluate(
        golden_file(case), metrics=["ranking"], geometry="cosine", exclude_same=exclude_same,
        ks=range(1, 21),
    )["ranking"]  # fmt: skip
    assert found["all/map"] == pytest.approx(float(GOLDEN[f"{place}/exact_map"]), rel=1e-9)
    assert found["all/minp"] == pytest.approx(float(GOLDEN[f"{place}/exact_minp"]), rel=1e-9)
    if f"{place}/exact_cmc" in GOLDEN:
        cmc = [found[f"k={k}/hit_rate"] for k in range(1, 21)]
        np.testing.assert_allclose(cmc, GOLDEN[f"{place}/exact_cmc"], rtol=1e-9)


def some_file(n=80, seed=0, **changes):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 6, n)
    rows = np.eye(8)[ids] + 0.7 * rng.normal(size=(n, 8))
    file = EmbeddingFile(embeddings=rows, ids=ids, camera=rng.integers(0, 3, n))
    return dataclasses.replace(file, **changes)


def test_other_cameras_alone_are_no_exclusion():
    file = some_file(camera=np.arange(80))
    usual = vmf.evaluate(file, metrics=["ranking", "verification"])
    found = vmf.evaluate(file, metrics=["ranking", "verification"], exclude_same="camera")
    for section, scores in usual.items():
        assert found[section] == pytest.approx(scores, abs=0, nan_ok=True)


def test_sequences_exclude_as_cameras_do():
    file = some_file()
    turned = dataclasses.replace(file, camera=None, sequence=file.camera)
    by_camera = vmf.evaluate(file, exclude_same="camera", dims=[4], precision=["int8"])
    assert vmf.evaluate(turned, exclude_same="sequence", dims=[4], precision=["int8"]) == by_camera


def test_excluded_rows_are_neither_hits_nor_in_the_way():
    file = some_file()
    unit = torch.nn.functional.normalize(torch.from_numpy(file.embeddings).double())
    scores = unit @ unit.T
    same = (file.ids[:, None] == file.ids) & (file.camera[:, None] == file.camera)
    scores[torch.from_numpy(same)] = -torch.inf
    hit = file.ids[scores.argmax(1)] == file.ids
    found = vmf.evaluate(file, exclude_same="camera")["retrieval"]["recall@1"]
    assert found == pytest.approx(hit.mean(), abs=1e-12)


def test_a_file_without_cameras_is_refused(tmp_path, capsys):
    save_embeddings(tmp_path / "toy_test.npz", make_file({"name": "cosine"}))
    assert evaluate(parse_evaluate([str(tmp_path), "--exclude-same", "camera"])) == 2
    assert "the file has no camera of its rows" in capsys.readouterr().err


def test_cameras_are_stored_and_noted(tmp_path, capsys):
    file = dataclasses.replace(make_file({"name": "cosine"}), camera=["a", "b", "a"] * 12)
    save_embeddings(tmp_path / "toy_test.npz", file)
    assert load_embeddings(tmp_path / "toy_test.npz").camera.tolist() == [0, 1, 0] * 12
    options = parse_evaluate([str(tmp_path), "--exclude-same=camera", "--no-figures"])
    assert evaluate(options) == 0
    assert "not compared with other rows of their class and camera" in capsys.readouterr().out
    assert scores_of(tmp_path)["n_queries_with_rows_of_same_image"] == 36


def test_the_last_of_tied_positives_is_the_mean_over_orders():
    # two positives and two negatives tied after one other row
    found = reciprocal_rank(*(torch.tensor([x]) for x in (1, 2, 2)), last=True)
    places = [(i, j) for i in range(4) for j in range(i)]
    assert float(found) == pytest.approx(np.mean([1 / (2 + max(p)) for p in places]), abs=1e-14)


def test_minp_is_the_share_of_positives_up_to_the_last_one():
    file = some_file()
    unit = torch.nn.functional.normalize(torch.from_numpy(file.embeddings).double())
    rows = retrieval(unit, file.ids, metric="ip", ranking_ks=[1]).rows
    scores = (unit @ unit.T).fill_diagonal_(-torch.inf)
    for query in range(10):
        order = file.ids[scores[query].argsort(descending=True)[:-1]] == file.ids[query]
        expected = order.sum() / (np.flatnonzero(order)[-1] + 1)
        assert float(rows.inverse_negative_penalty[query]) == pytest.approx(expected)
