"""Scores from an approximate index: exact where everything is searched, and always named."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluation.test_rows import OPTIONS as ROW_OPTIONS
from tests.evaluation.test_rows import scored
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.cli.summarize import summarize
from vmf_embeddings.cli.summarize_arguments import parse_summarize
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation import indexed, options, query_sample
from vmf_embeddings.library.evaluate import evaluate as evaluate_arrays
from vmf_embeddings.search import index_recall
from vmf_embeddings.search.approximate import INDEXES

pytest.importorskip("faiss")
OPTIONS = dataclasses.replace(ROW_OPTIONS, metrics=())
OF_NEAREST = {"recall@1", "recall@2", "recall@4", "recall@8", "map@r", "r_precision"}
GEOMETRIES = ({"name": "cosine"}, {"name": "euclidean"}, {"name": "vmf"})


def toy(n=600, n_classes=40, dim=8, spread=0.4, **fields):
    """Classes of unequal size, copies of rows in other classes, images with two rows."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, n_classes, n) * rng.integers(1, 3, n) // 2
    rows = rng.normal(size=(n_classes, dim))[ids] + spread * rng.normal(size=(n, dim))
    rows[50:90] = rows[10:50]
    rows[90:140] = rows[0]
    meta = {"dataset": "toy", "split": "test", "open_set": True, "geometry": {"name": "cosine"}}
    paths = np.asarray([f"{i // 2 if i < 20 else i}.png" for i in range(n)])
    return EmbeddingFile(rows.astype(np.float32), ids, meta=meta, paths=paths, **fields)


def noise(n=2000, dim=32):
    rng = np.random.default_rng(0)
    meta = {"dataset": "toy", "split": "test", "open_set": True, "geometry": {"name": "cosine"}}
    rows = rng.normal(size=(n, dim)).astype(np.float32)
    return EmbeddingFile(rows, np.arange(n) % 200, meta=meta)


def by_index(file, geometry=GEOMETRIES[0], **fields):
    return scored(file, geometry, dataclasses.replace(OPTIONS, **{"index": "ivf", **fields}))


@pytest.fixture
def everything(monkeypatch):
    """Indexes search all that they can before their recall is measured."""

    def reach(index, *arguments):
        while not index.searches_all:
            index.double_effort()
        return index_recall.reach_recall(index, *arguments)

    monkeypatch.setattr(indexed, "reach_recall", reach)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("ties", ["expected", "index"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: g["name"])
@pytest.mark.parametrize("kind", INDEXES)
def test_scores_are_the_exact_ones_where_everything_is_searched(kind, geometry, ties):
    file = toy()
    exact = scored(file, geometry, dataclasses.replace(OPTIONS, ties=ties))
    found = by_index(file, geometry, index=kind, ties=ties)
    wanted = {name: exact.sections["retrieval"][name] for name in OF_NEAREST}
    assert found.sections == {"retrieval": pytest.approx(wanted, abs=1e-15)}
    assert found.index.recall.recall == 1 and found.index.recall.searches_all
    assert set(found.index.differences) == OF_NEAREST
    assert np.abs([*found.index.differences.values()]).max() < 1e-15
    assert found.n_without_positive == exact.n_without_positive
    assert found.rows.n_same_image == exact.rows.n_same_image == 20
    assert found.rows.n_coinciding == exact.rows.n_coinciding > 0


@pytest.mark.usefixtures("everything")
def test_queries_gallery_and_ignored_labels_are_those_of_exact_scores():
    file = toy(is_query=np.arange(600) % 3 == 0, is_gallery=np.arange(600) % 3 != 1)
    for fields in ({}, {"ignore_labels": ("3",)}, {"queries": 50, "seed": 5}):
        exact = scored(file, options=dataclasses.replace(OPTIONS, **fields))
        found = by_index(file, **fields)
        wanted = {name: exact.sections["retrieval"][name] for name in OF_NEAREST}
        assert found.sections["retrieval"] == pytest.approx(wanted, abs=1e-15)
        if "queries" in fields:
            errors = {name: exact.sampling["standard_error"][name] for name in OF_NEAREST}
            assert found.sampling["standard_error"] == pytest.approx(errors, abs=1e-15)


def test_differences_are_those_of_the_measured_queries_scored_both_ways(monkeypatch):
    monkeypatch.setattr(indexed, "MOST_MEASURED", 150)
    monkeypatch.setattr(index_recall, "LOWEST_RECALL", 0.0)
    file = noise()
    found = by_index(file, index_recall=0.3)
    assert 0.3 <= found.index.recall.recall < 0.9 and found.index.recall.n_queries == 150
    rng = np.random.default_rng(OPTIONS.seed)
    mask = np.zeros(len(file.ids), bool)
    mask[rng.choice(len(file.ids), 150, replace=False)] = True
    some = dataclasses.replace(file, is_query=mask)
    exact = scored(some, options=OPTIONS)
    again = by_index(some, index_recall=0.3)
    assert again.index.recall.recall == found.index.recall.recall
    for name, (mean, error) in found.index.differences.items():
        here, there = again.sections["retrieval"][name], exact.sections["retrieval"][name]
        assert mean == pytest.approx(here - there, abs=1e-12)
        assert error > 0 and again.index.differences[name] == (pytest.approx(mean), 0.0)
    truth = scored(file, options=OPTIONS).sections["retrieval"]
    for name, (mean, error) in found.index.differences.items():
        assert abs(found.sections["retrieval"][name] - truth[name] - mean) < 4 * error


def test_the_same_seed_gives_the_same_scores_and_another_one_another_index():
    file = noise()
    first, again, other = (by_index(file, seed=seed) for seed in (1, 1, 2))
    assert (first.sections, first.index) == (again.sections, again.index)
    assert first.index.recall.seed == 1 and other.index.recall.seed == 2


def test_the_command_names_the_index_and_its_recall_wherever_it_writes(tmp_path, capsys):
    save_embeddings(tmp_path / "toy_test.npz", toy())
    words = [str(tmp_path / "toy_test.npz"), "--no-figures"]
    assert evaluate(parse_evaluate([*words, "--index", "ivf", "--queries", "300"])) == 0
    printed = capsys.readouterr().out
    entry = json.loads((tmp_path / "metrics.json").read_text())["toy_test.npz"]
    about, recall = entry["retrieval_about"], entry["retrieval_about"]["index"]["recall"]
    assert about["ranks"] == "approximate, by an index, of queries drawn at random"
    assert about["index"]["name"] == "ivf" and about["index"]["queries_measured"] == 300
    assert about["index"]["recall_interval"][0] < recall <= about["index"]["recall_interval"][1]
    assert set(about["difference_to_exact"]) == OF_NEAREST == set(entry["retrieval"])
    k = about["index"]["k"]
    assert f"Retrieval by cosine, 300 queries drawn, index ivf, recall@{k} {recall:.4f}" in printed
    assert f"Note: ranks are approximate: index ivf, recall@{k} {recall:.4f}" in printed
    assert f"=== retrieval, index ivf, recall@{k} {recall:.4f} ===" in printed
    assert "nprobe" in printed and ", minus exact " in printed
    assert evaluate(parse_evaluate(words)) == 0
    assert "index" not in capsys.readouterr().out
    entry = json.loads((tmp_path / "metrics.json").read_text())["toy_test.npz"]
    assert entry["retrieval_about"] == {"ranks": "exact"}


def test_a_summary_names_the_index_and_never_averages_its_scores_with_exact_ones(tmp_path, capsys):
    for folder, words in (("r_s1", ["--index", "ivf"]), ("r_s2", [])):
        (tmp_path / folder).mkdir()
        file = toy()
        save_embeddings(tmp_path / folder / "toy_test.npz", file)
        assert evaluate(parse_evaluate([str(tmp_path / folder), "--no-figures", *words])) == 0
    capsys.readouterr()
    words = [str(tmp_path), "--no-figures", "--out", str(tmp_path / "summary")]
    assert summarize(parse_summarize(words)) == 0
    printed = capsys.readouterr().out
    assert "2 runs of 2 recipes" in printed and "recall of the index" in printed
    assert "index ivf, " in printed
    assert "index_recall" in (tmp_path / "summary" / "runs.csv").read_text().splitlines()[0]


def test_arrays_get_the_recall_beside_the_scores(caplog):
    file = toy()
    found = evaluate_arrays(file, index="hnsw")
    assert set(found) == {"retrieval", "index"}
    assert 0.99 <= found["index"]["recall"] <= found["index"]["recall_high"]
    assert "map@r-exact" in found["index"]
    assert "index hnsw, recall@" in caplog.text


def test_a_class_of_more_rows_than_an_index_can_find_is_refused():
    file = noise()
    large = dataclasses.replace(file, ids=np.minimum(np.arange(2000), 500))
    with pytest.raises(ValueError, match=r"1,500 gallery rows needs .*--queries 10000"):
        by_index(large)
    with pytest.raises(ValueError, match="Recall@1025 needs 1,025 neighbours"):
        by_index(file, recall=(1025,))


def test_a_recall_below_the_lowest_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(index_recall.ApproximateIndex, "searches_all", True)
    file = noise()
    save_embeddings(tmp_path / "toy_test.npz", file)
    words = [str(tmp_path / "toy_test.npz"), "--no-figures", "--index", "ivf"]
    assert evaluate(parse_evaluate(words)) == 2
    message = capsys.readouterr().err
    assert "below 0.95" in message and "leave index out" in message
    assert not (tmp_path / "metrics.json").exists()


def test_all_queries_are_ranked_where_exact_search_would_draw_some(monkeypatch):
    monkeypatch.setattr(query_sample, "MOST_ON_CPU", 0)
    monkeypatch.setattr(query_sample, "MOST_ON_GPU", 0)
    monkeypatch.setattr(query_sample, "DRAWN", 100)
    assert scored(toy(), options=OPTIONS).sampling["queries_drawn"] == 100
    found = by_index(toy())
    assert found.sampling is None and found.index.recall.n_queries == 600


def test_the_note_says_what_was_not_reached_and_where_exact_search_is_faster(monkeypatch):
    monkeypatch.setattr(index_recall, "LOWEST_RECALL", 0.0)
    monkeypatch.setattr(index_recall.ApproximateIndex, "searches_all", True)
    note = indexed.note_on_index(by_index(noise()).index)
    assert "index_recall=0.99 was asked for" in note and "longer than exact search" in note
    assert "mAP, MRR and scores over draws" in note


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"metrics": ("map", "nmi")}, "metrics=map"), ({"dims": (4,)}, "dims=4"),
     ({"precision": ("int8",)}, "precision=int8"), ({"rerank": ("dba",)}, "rerank=dba"),
     ({"index_recall": 0.9}, "index_recall: expected 0.95 to 1"),
     ({"index": "flat"}, "index=flat is unknown; known: ivf, ivfpq, hnsw")],
)  # fmt: skip
def test_what_an_index_cannot_do_is_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        by_index(toy(), **fields)


def test_other_geometries_and_several_processes_are_refused():
    with pytest.raises(ValueError, match="not in the geometry poincare: leave index out"):
        by_index(toy(), {"name": "poincare", "c": 0.5})
    two = SimpleNamespace(rank=0, size=2)
    file = SimpleNamespace(geometry=SimpleNamespace(name="cosine", faiss_metric="ip"))
    with pytest.raises(ValueError, match="without torchrun"):
        indexed.refuse_index(file, dataclasses.replace(OPTIONS, index="ivf"), two)


@pytest.mark.parametrize("word", ["0.9", "1.1", "much"])
def test_the_command_line_takes_recalls_from_095_to_1(word, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_evaluate(["x", "--index", "ivf", "--index-recall", word])
    assert ended.value.code == 2 and "0.95 to 1" in capsys.readouterr().err


def test_names_and_limits_of_the_command_line_are_those_of_the_search():
    assert (*options.INDEXES, options.LOWEST_RECALL) == (*INDEXES, index_recall.LOWEST_RECALL)
