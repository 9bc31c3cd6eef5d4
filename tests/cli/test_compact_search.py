"""`search` among codes and with re-ranking gives what `vmf.search` does."""

import csv

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli import commands

ROWS = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)


def search(*arguments: object) -> int:
    return commands.run_command(["search", *map(str, arguments)])


@pytest.mark.parametrize(
    ("typed", "keywords"),
    [
        (["--precision", "binary"], {"precision": "binary"}),
        (
            ["--precision", "int8", "--rescore-multiplier", 0],
            {"precision": "int8", "rescore_multiplier": 0},
        ),
        (
            ["--rerank", "k_reciprocal", "--k1", 6, "--k2", 2, "--lambda", 0.5],
            {"rerank": "k_reciprocal", "rerank_options": {"k1": 6, "k2": 2, "lambda": 0.5}},
        ),
        (
            ["--rerank", "alpha_qe", "--expand-n", 3, "--expand-alpha", 1],
            {"rerank": "alpha_qe", "rerank_options": {"n": 3, "alpha": 1.0}},
        ),
    ],
)
def test_the_command_finds_what_the_library_does(tmp_path, monkeypatch, typed, keywords):
    monkeypatch.chdir(tmp_path)
    vmf.write(vmf.EmbeddingFile(ROWS, meta={"geometry": {"name": "cosine"}}), "rows.npz")
    assert search("row:4", "--in", "rows.npz", "-k", 3, "--csv", "hits.csv", *typed) == 0
    with open("hits.csv", newline="") as stream:
        found = [(int(line["row"]), float(line["similarity"])) for line in csv.DictReader(stream)]
    wanted = vmf.search(ROWS[4:5], ROWS, 3, exclude=[4], **keywords)
    assert [row for row, _ in found] == wanted.indices[0].tolist()
    np.testing.assert_allclose([s for _, s in found], wanted.similarities[0], rtol=1e-6)


def test_codes_and_re_ranking_at_once_are_refused(capsys):
    with pytest.raises(SystemExit):
        search("row:4", "--in", "rows.npz", "--precision", "int8", "--rerank", "dba")
    assert "give one of them" in capsys.readouterr().err
