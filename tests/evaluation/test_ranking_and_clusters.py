"""The sections `ranking` and `clusters` of an evaluation."""

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.evaluation.runs import make_run, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.metrics import retrieval


def rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.r_[rng.integers(0, 5, n - 1), 99]
    return np.eye(8)[labels % 8] + 0.5 * rng.normal(size=(n, 8)), labels


def test_ranking_averages_queries_with_a_positive_and_ignores_labels():
    embeddings, labels = rows()
    found = vmf.evaluate(embeddings, labels, metrics=["ranking"], ks=[1, 3], ignore_labels=[4])[
        "ranking"
    ]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = retrieval(unit, labels, metric="ip", ks=[1, 3], ranking_ks=[3], ignore_labels=[4])
    values = expected.rows.ranking[3].ndcg
    assert int(values.isnan().sum()) == 1
    assert found["k=3/ndcg"] == pytest.approx(float(values.nanmean()), abs=1e-12)
    answerable = expected.rows.n_relevant > 0
    hits = float(expected.rows.recall[3][answerable].mean())
    assert found["k=3/hit_rate"] == pytest.approx(hits, abs=1e-12)


def test_ranking_also_scores_what_retrieval_leaves_out_by_default(monkeypatch):
    from vmf_embeddings.evaluation import scores

    embeddings, labels = rows()
    usual = vmf.evaluate(embeddings, labels, metrics=["ranking"])["ranking"]
    monkeypatch.setattr(scores, "_wants_retrieval", lambda *_: False)
    assert vmf.evaluate(embeddings, labels, metrics=["ranking"])["ranking"] == usual


def test_scores_of_queries_have_intervals(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"})
    words = [str(folder), "metrics=ranking", "--resample", "50", "--no-figures"]
    assert evaluate(parse_evaluate(words)) == 0
    stored = scores_of(folder)
    found = stored["significance"]["ranking/k=5/ndcg"]
    assert found["low"] <= stored["ranking"]["k=5/ndcg"] <= found["high"]


def test_the_command_prints_both_sections(tmp_path, capsys):
    pytest.importorskip("faiss")
    folder = make_run(tmp_path, {"name": "cosine"})
    options = parse_evaluate([str(folder), "metrics=[ranking,clusters]", "--no-figures"])
    assert evaluate(options) == 0
    printed, stored = capsys.readouterr().out, scores_of(folder)
    for word in ("nDCG@k %", "mAP@k % over min(R, k)", "AMI %", "BCubed F %"):
        assert word in printed
    assert f"{100 * stored['clusters']['normalised/ami']:.2f}" in printed
    assert stored["clusters_about"]["n_clusters"] == 3
    about = {"exclude_same": None, "n_queries": 36, "n_queries_without_positive": 0}
    assert stored["ranking_about"] == about


def test_the_clusters_are_those_of_nmi():
    pytest.importorskip("faiss")
    embeddings, labels = rows(seed=1)
    found = vmf.evaluate(embeddings, labels, metrics=["nmi", "clusters"])
    for space in ("as_output", "normalised"):
        expected = found[space]["nmi"]
        assert found["clusters"][f"{space}/v_measure"] == pytest.approx(expected, abs=1e-12)


def test_ranks_of_an_index_are_refused():
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="metrics=ranking needs exact ranks"):
        vmf.evaluate(*rows(), metrics=["ranking"], index="hnsw", index_recall=0.95)
