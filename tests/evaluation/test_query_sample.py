"""Queries drawn at random: their scores are exact, and intervals from their errors hold."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_rows import noise, scored
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.evaluation import query_sample
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.geometry import from_meta
from vmf_embeddings.library.evaluate import evaluate as evaluate_arrays
from vmf_embeddings.metrics import retrieval

OPTIONS = EvaluationOptions(paths=(Path("x"),))


def unequal(n=600, n_classes=60):
    """Classes from easy to hopeless, and some queries without a positive."""
    rng = np.random.default_rng(1)
    ids = np.arange(n) % n_classes
    ids[-20:] = n_classes + np.arange(20)
    centres, spread = rng.normal(size=(n_classes + 20, 16)), np.linspace(0.1, 4, n_classes + 20)
    rows = centres[ids] + spread[ids, None] * rng.normal(size=(n, 16))
    meta = {"dataset": "toy", "split": "test", "open_set": True, "geometry": {"name": "cosine"}}
    return EmbeddingFile(embeddings=rows.astype(np.float32), ids=ids, meta=meta)


def drawn(file, **options):
    evaluated = EvaluatedFile(Path("x"), Path("x"), file, from_meta({"name": "cosine"}))
    return query_sample.drawn_queries(evaluated, dataclasses.replace(OPTIONS, **options))


def exact(file):
    rows = torch.nn.functional.normalize(torch.from_numpy(file.embeddings).double(), dim=1)
    return retrieval(rows, file.ids, metric="ip", ks=(1, 2, 4, 8))


def of_queries(found, mask):
    """The scores of every drawn query, from those of all."""
    rows = found.rows
    some = {
        f.name: value[mask] for f in dataclasses.fields(rows)
        if isinstance(value := getattr(rows, f.name), torch.Tensor)
    }  # fmt: skip
    recall = {k: values[mask] for k, values in rows.recall.items()}
    return dataclasses.replace(found, rows=dataclasses.replace(rows, **some, recall=recall))


def test_scores_are_those_of_the_drawn_queries_against_the_whole_gallery():
    file = unequal()
    every = exact(file)
    for seed in (0, 1):
        mask = drawn(file, queries=100, seed=seed).is_query
        assert mask.sum() == 100
        found = scored(file, options=dataclasses.replace(OPTIONS, queries=100, seed=seed))
        rows = every.rows
        assert found.sections["retrieval"] == pytest.approx({
            **{f"recall@{k}": float(rows.recall[k][mask].mean()) for k in (1, 2, 4, 8)},
            "map@r": float(rows.average_precision_at_r[mask].nanmean()),
            "r_precision": float(rows.r_precision[mask].nanmean()),
            "mean_average_precision": float(rows.average_precision[mask].nanmean()),
            "mean_reciprocal_rank": float(rows.reciprocal_rank[mask].mean()),
        }, abs=1e-12)  # fmt: skip
        assert found.sampling["queries"] == 600 and found.sampling["queries_drawn"] == 100


def test_intervals_of_two_standard_errors_hold_the_scores_of_all_queries():
    file = unequal()
    every = exact(file)
    truth = {"recall@1": every.recall[1], "map@r": every.map_at_r}
    held = dict.fromkeys(truth, 0)
    for seed in range(400):
        mask = drawn(file, queries=150, seed=seed).is_query
        some = of_queries(every, torch.from_numpy(mask))
        means = {"recall@1": float(some.rows.recall[1].mean()),
                 "map@r": float(some.rows.average_precision_at_r.nanmean())}  # fmt: skip
        errors = query_sample.standard_errors(some, 600)
        for name in truth:
            held[name] += abs(means[name] - truth[name]) <= 1.96 * errors[name]
    assert all(0.92 <= n / 400 <= 0.98 for n in held.values()), held  # 95 % +- 3 sigma


def test_all_are_ranked_unless_that_takes_long(monkeypatch):
    file = noise()
    for queries in (None, "all", 60, 1000):
        found = scored(file, options=dataclasses.replace(OPTIONS, queries=queries))
        assert found.sampling is None
    monkeypatch.setattr(query_sample, "MOST_ON_CPU", 60 * 60 * 8 - 1)
    monkeypatch.setattr(query_sample, "MOST_ON_GPU", 60 * 60 * 8 - 1)
    monkeypatch.setattr(query_sample, "DRAWN", 25)
    assert scored(file, options=OPTIONS).sampling["queries_drawn"] == 25
    assert scored(file, options=dataclasses.replace(OPTIONS, queries="all")).sampling is None


def test_only_queries_are_drawn():
    file = dataclasses.replace(noise(), is_query=np.arange(60) % 2 == 0)
    sample = drawn(file, queries=20)
    assert sample.n_queries == 30 and not (sample.is_query & ~file.is_query).any()
    rest = drawn(file, queries=20, ignore_labels=(str(file.ids[0]),))
    assert rest.n_queries == int((file.is_query & (file.ids != file.ids[0])).sum())
    assert not (rest.is_query & (file.ids == file.ids[0])).any()


def test_the_command_says_what_was_drawn(tmp_path, capsys):
    file = unequal()
    save_embeddings(tmp_path / "toy_test.npz", file)
    words = [str(tmp_path / "toy_test.npz"), "--no-figures", "--queries", "100", "--seed", "3"]
    assert evaluate(parse_evaluate(words)) == 0
    printed = capsys.readouterr().out
    assert "Retrieval by cosine, 100 queries drawn" in printed
    assert "100 of 600 queries, drawn with seed 3" in printed
    entry = json.loads((tmp_path / "metrics.json").read_text())["toy_test.npz"]
    about = entry["retrieval_about"]
    assert about["ranks"] == "exact, of queries drawn at random" and about["queries_drawn"] == 100
    error = about["standard_error"]["recall@1"]
    assert f"own class nearest, sampling error {100 * error:.2f}" in printed
    assert evaluate(parse_evaluate([*words[:2], "--queries", "all"])) == 0
    assert "drawn" not in capsys.readouterr().out
    entry = json.loads((tmp_path / "metrics.json").read_text())["toy_test.npz"]
    assert entry["retrieval_about"] == {"ranks": "exact"}


def test_of_one_query_no_error_is_known(tmp_path, capsys):
    save_embeddings(tmp_path / "toy_test.npz", unequal())
    words = [str(tmp_path / "toy_test.npz"), "--no-figures", "--queries", "1"]
    assert evaluate(parse_evaluate(words)) == 0
    printed = capsys.readouterr().out
    assert "own class nearest, sampling error unknown" in printed
    assert "sampling error nan" not in printed


@pytest.mark.parametrize("word", ["0", "-3", "some", "2.5"])
def test_other_numbers_are_refused(word, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_evaluate(["x", "--queries", word])
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and f"{word!r}; or all" in printed
    with pytest.raises(ValueError, match="queries"):
        evaluate_arrays([[1.0, 0.0], [0.0, 1.0]], [0, 0], queries=word)
