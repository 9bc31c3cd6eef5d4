"""Merged galleries of several files."""

import dataclasses

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.runs import make_file, make_run, scores_of
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

GOLDEN = load_golden("ranking_clustering")


def golden_file(number):
    return EmbeddingFile(
        embeddings=GOLDEN[f"merged/embeddings_{number}"],
        ids=GOLDEN[f"merged/labels_{number}"],
        meta={"dataset": f"set {number}"},
    )


def test_golden_numbers():
    found = vmf.evaluate(golden_file(0), merge=[golden_file(1)], geometry="cosine")["merged"]
    for number in (0, 1):
        for name in ("recall@1", "mmp@5"):
            for kind, ending in (("merged", ""), ("separate", "_separate")):
                expected = float(GOLDEN[f"merged/{kind}_{number}/exact_{name}"])
                value = found[f"set {number}/{name}{ending}"]
                assert value == pytest.approx(expected, abs=1e-12), (number, name, kind)
        foreign = float(GOLDEN[f"merged/merged_{number}/exact_nearest_of_other_data_set"])
        assert found[f"set {number}/nearest_of_other_data_set"] == pytest.approx(foreign)
    mean = float(GOLDEN["merged/exact_mean_recall@1"])
    assert found["mean of data sets/recall@1"] == pytest.approx(mean)


def test_more_rows_in_the_way_never_help():
    rng = np.random.default_rng(0)
    files = [
        EmbeddingFile(embeddings=rng.normal(size=(40, 4)), ids=rng.integers(0, 5, 40))
        for _ in range(3)
    ]
    found = vmf.evaluate(files[0], metrics=["merged"], merge=files[1:])["merged"]
    rows = {name.rpartition("/")[0] for name in found}
    assert len(rows) == 4
    for row in rows:
        assert found[f"{row}/recall@1"] <= found[f"{row}/recall@1_separate"]


def test_the_command_names_data_sets_and_refuses_other_networks(tmp_path, capsys):
    folder = make_run(tmp_path / "run", {"name": "cosine"}, weights="aa" * 32)
    other = dataclasses.replace(
        make_file({"name": "cosine"}, seed=0, weights="aa" * 32, dataset="things",
                  split_hash="def"), is_query=np.arange(36) < 12,
    )  # fmt: skip
    save_embeddings(tmp_path / "other.npz", other)
    words = [str(folder), "--merge", str(tmp_path / "other.npz"), "--no-figures"]
    assert evaluate(parse_evaluate(words)) == 0
    assert "things" in capsys.readouterr().out
    about = scores_of(folder)["merged_about"]
    assert about["things"] == {"n_queries": 12, "n_gallery": 36}
    meta = {**other.meta, "weights": "bb" * 32}
    save_embeddings(tmp_path / "other.npz", dataclasses.replace(other, meta=meta))
    assert evaluate(parse_evaluate(words)) == 2
    assert "from another network than the rows that are scored" in capsys.readouterr().err


def test_without_another_file_there_is_nothing_to_merge(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"})
    assert evaluate(parse_evaluate([str(folder), "metrics=merged"])) == 2
    assert "--merge FILE" in capsys.readouterr().err
