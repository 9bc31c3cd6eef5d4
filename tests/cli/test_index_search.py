"""`search --index` finds what `vmf.search` does, and names the index and its recall."""

import csv
import re

import numpy as np
import pytest

import vmf_embeddings as vmf
from vmf_embeddings.cli import commands

pytest.importorskip("faiss")
ROWS = np.random.default_rng(0).normal(size=(120, 16)).astype(np.float32)
SAID = r"index ivf, recall@3 \d\.\d{4} \(95 % interval [\d.]+ to [\d.]+, 120 queries\), nlist 3, n"


def search(*arguments: object) -> int:
    return commands.run_command(["search", *map(str, arguments)])


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vmf.write(vmf.EmbeddingFile(ROWS, meta={"geometry": {"name": "cosine"}}), "rows.npz")


def found() -> list[int]:
    with open("hits.csv", newline="") as stream:
        return [int(line["row"]) for line in csv.DictReader(stream)]


def test_every_output_names_the_index_and_its_recall(capsys):
    words = "rows.npz", "--in", "rows.npz", "-k", 3, "--index", "ivf", "--seed", 5
    assert search(*words, "--csv", "hits.csv", "--html", "hits.html") == 0
    assert re.search(SAID, capsys.readouterr().out)
    with open("hits.html", encoding="utf-8") as page:
        assert re.search(SAID, page.read())
    own = np.arange(len(ROWS))
    hits = vmf.search(ROWS, ROWS, 3, exclude=own, index="ivf", seed=5)
    assert found() == hits.indices.flatten().tolist()
    assert search(*words, "--index-recall", 1, "--csv", "hits.csv", "--force", "--quiet") == 0
    assert re.search(SAID, capsys.readouterr().err)
    assert found() == vmf.search(ROWS, ROWS, 3, exclude=own).indices.flatten().tolist()
    assert search(*words[:5]) == 0
    assert "index" not in "".join(capsys.readouterr())


def test_a_recall_below_the_lowest_is_one_line_and_writes_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("vmf_embeddings.search.approximate.ApproximateIndex.searches_all", True)
    words = "rows.npz", "--in", "rows.npz", "--index", "ivf", "--csv", "hits.csv"
    assert search(*words) == 2
    message = capsys.readouterr().err
    assert "below 0.95" in message and message.count("\n") == 1
    assert not (tmp_path / "hits.csv").exists()


@pytest.mark.parametrize("other", ["--precision int8", "--rerank dba"])
def test_an_index_and_another_way_to_search_are_refused(other, capsys):
    with pytest.raises(SystemExit) as ended:
        search("rows.npz", "--in", "rows.npz", "--index", "ivf", *other.split())
    assert ended.value.code == 2 and "--index: give one of them" in capsys.readouterr().err
