"""The section `uncertainty`: confidences of a file, and how well they tell right from wrong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, make_run, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation.confidences import confidences
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.nearest_hits import wrong_nearest
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.sections import uncertainty
from vmf_embeddings.geometry import Cosine, from_meta

GOLDEN = load_golden("uncertainty")
CASE = "u1"


def context_of(file, geometry=None) -> Context:
    space = Cosine() if geometry is None else from_meta(geometry)
    evaluated = EvaluatedFile(Path("x"), Path("x"), file, space)
    return Context(evaluated, EvaluationOptions(paths=()))


def golden_file(**changes) -> EmbeddingFile:
    file = EmbeddingFile(
        embeddings=GOLDEN[f"{CASE}/embeddings"],
        ids=GOLDEN[f"{CASE}/labels"],
        logits=GOLDEN[f"{CASE}/logits"],
    )
    return dataclasses.replace(file, **changes)


def test_confidences_and_scores_are_the_golden_ones():
    found = confidences(context_of(golden_file()))
    scores = vmf.evaluate(golden_file(), metrics=["uncertainty"], geometry="cosine")["uncertainty"]
    for name in {key.split("/")[1] for key in GOLDEN if key.endswith("/confidence")}:
        place = f"{CASE}/{name}"
        if f"{place}/confidence" not in GOLDEN:
            continue
        own = {"nearest_cosine": "nearest_similarity"}.get(name, name)
        np.testing.assert_allclose(
            found[own], GOLDEN[f"{place}/confidence"], rtol=1e-9, atol=1e-11, err_msg=name
        )
        for kind in ("retrieval", "classification"):
            for score in ("auroc", "aurc", "e_aurc", "normalised_aurc", "augrc"):
                value = scores[f"{own}/{kind}/{score}"]
                expected = GOLDEN[f"{place}/{kind}/exact_{score}"]
                assert value == pytest.approx(float(expected), rel=1e-9), (name, kind, score)


def test_draws_average_probabilities_and_what_they_disagree_on_counts_against():
    logits = np.random.default_rng(0).normal(size=(40, 5, 8)) * 3
    file = EmbeddingFile(
        embeddings=np.random.default_rng(1).normal(size=(40, 4)),
        ids=np.arange(40) % 8,
        logits=logits,
    )
    found = confidences(context_of(file))
    draws = torch.from_numpy(file.logits).double().softmax(-1)
    mean = draws.mean(1)
    entropy = -(draws * draws.log()).sum(-1).mean(1)
    torch.testing.assert_close(found["max_probability"], mean.amax(1))
    expected = entropy + (mean * mean.log()).sum(1)
    torch.testing.assert_close(found["negative_information"], expected)
    assert float(found["negative_information"].max()) <= 0


def test_the_margin_is_to_the_nearest_row_of_another_class_than_the_nearest():
    rng = np.random.default_rng(2)
    ids = np.repeat([0, 1], 40)  # more rows of the class than neighbours that are looked at first
    rows = rng.normal(size=(80, 6)) + 4 * np.eye(2, 6)[ids]
    file = EmbeddingFile(embeddings=rows, ids=ids)
    unit = torch.from_numpy(file.embeddings).double()
    unit = unit / unit.norm(dim=1, keepdim=True)
    scores = (unit @ unit.T).fill_diagonal_(-torch.inf)
    first, nearest = scores.max(1)
    other = torch.from_numpy(ids)[None] != torch.from_numpy(ids)[nearest][:, None]
    expected = first - torch.where(other, scores, -torch.inf).fill_diagonal_(-torch.inf).amax(1)
    torch.testing.assert_close(
        confidences(context_of(file))["neighbour_margin"], expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("geometry", "name"),
    [
        ({"name": "vmf"}, "kappa"),
        ({"name": "euclidean"}, "norm"),
        ({"name": "poincare", "c": 0.1}, "distance_to_origin"),
    ],
)
def test_every_geometry_offers_its_own_confidence(tmp_path, capsys, geometry, name):
    draws = 4 if geometry["name"] == "vmf" else None
    folder = make_run(tmp_path, geometry, n_draws=draws)
    options = parse_evaluate([str(folder), "--metrics", "uncertainty", "--no-figures"])
    assert evaluate(options) == 0
    assert f"{name}/retrieval/auroc" in scores_of(folder)["uncertainty"]
    assert name in capsys.readouterr().out


def test_a_file_with_neither_logits_nor_pairs_is_refused():
    file = EmbeddingFile(embeddings=np.eye(4), ids=np.arange(4))
    with pytest.raises(ValueError, match="needs logits, or queries with another row"):
        vmf.evaluate(file, metrics=["uncertainty"], geometry="cosine")


def test_queries_without_a_row_of_their_class_are_left_out_and_counted():
    file = golden_file(ids=np.r_[GOLDEN[f"{CASE}/labels"][:-1], 999], logits=None)
    context = context_of(file)
    table = uncertainty.score(context)
    n = len(file.ids)
    relevant = (file.ids[:, None] == file.ids[None]).sum(1) - 1
    assert context.n_relevant.tolist() == relevant.tolist()
    assert table.about["retrieval"]["n_rows"] == int((relevant > 0).sum())
    assert table.about["retrieval"]["n_left_out"] == n - int((relevant > 0).sum())


def test_class_means_come_from_the_training_file_beside(tmp_path):
    save_embeddings(tmp_path / "toy_train.npz", make_file({"name": "cosine"}, split="train", seed=5,
                                                         split_hash="other"))  # fmt: skip
    folder = make_run(tmp_path, {"name": "cosine"}, seed=5)
    options = parse_evaluate([str(folder), "--metrics", "uncertainty"])
    assert evaluate(options) == 0
    assert "class_mean_cosine/retrieval/auroc" in scores_of(folder)["uncertainty"]
    assert (folder / "risk_coverage.png").stat().st_size > 10_000
    with np.load(folder / "toy_test_curves.npz") as curves:
        name = "uncertainty/norm/classification/risk"
        assert curves[name][-1] == pytest.approx(
            scores_of(folder)["uncertainty_about"]["classification"]["error"]
        )


def test_rows_of_one_class_have_scores_and_nothing_is_told_apart():
    rng = np.random.default_rng(0)
    file = EmbeddingFile(
        rng.normal(size=(12, 3)), np.zeros(12, int), logits=rng.normal(size=(12, 4)),
        meta={"open_set": False, "geometry": {"name": "cosine"}},
    )  # fmt: skip
    table = uncertainty.score(context_of(file))
    assert 0 < table.rows["norm/classification"]["auroc"] < 1
    about = table.about["classification"]
    others = {row.split("/")[0] for row in table.rows if row.endswith("/classification")}
    assert set(about["not_worse_at_5_percent"]) == others - {about["best"]}


def test_no_score_depends_on_the_order_of_rows_where_neighbours_tie():
    rng = np.random.default_rng(4)
    ids = np.repeat(np.arange(4), 12)
    rows = np.sign(rng.normal(size=(48, 5)) + 2 * np.eye(4, 5)[ids])
    scores = []
    for order in (np.arange(48), rng.permutation(48)):
        found = vmf.evaluate(rows[order], ids[order], ["uncertainty"], geometry="cosine")
        scores.append(found["uncertainty"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-9, nan_ok=True)


def test_rows_that_tie_as_the_nearest_are_right_by_the_share_that_recall_counts():
    rng = np.random.default_rng(5)
    ids = np.arange(60) % 3
    file = EmbeddingFile(embeddings=np.sign(rng.normal(size=(60, 3))), ids=ids)
    unit = file.embeddings.astype(float)
    similarity = np.round(unit @ unit.T, 9)
    np.fill_diagonal(similarity, -np.inf)
    nearest = similarity == similarity.max(1, keepdims=True)
    expected = (nearest & (ids[:, None] != ids)).sum(1) / nearest.sum(1)
    np.testing.assert_allclose(wrong_nearest(context_of(file)), expected, rtol=1e-12)
    error = uncertainty.score(context_of(file)).about["retrieval"]["error"]
    recall = vmf.evaluate(file, geometry="cosine")["retrieval"]["recall@1"]
    assert error == pytest.approx(1 - recall, rel=1e-12)
