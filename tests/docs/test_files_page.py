"""What the page on files prints about the table of rows runs as printed; its lists are whole."""

import re
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.evaluation.runs import make_run
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.embeddings import open_embeddings
from vmf_embeddings.embeddings.names import EMBEDDING_KEYS, LABEL_KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COLUMNS = re.search(r"^\| column \| type \| content \|$.*?^$", PAGE, re.DOTALL | re.MULTILINE)[0]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    make_run(folder / "run", {"name": "vmf"}, n_draws=4)
    words = [str(folder / "run"), "--no-figures", "--table", str(folder / "rows.parquet")]
    assert evaluate(parse_evaluate(words)) == 0
    return folder / "rows.parquet"


def test_every_query_runs_and_finds_rows(table, monkeypatch):
    monkeypatch.chdir(table.parent)
    assert len(QUERIES) == 5
    found = [duckdb.sql(query).fetchall() for query in QUERIES]
    by_class, confused, by_confidence, mistakes, nearest = found
    assert {name for name, *_ in by_class} == {"a", "b", "c"}
    assert [rate for _, _, rate, _ in by_class] == sorted(rate for _, _, rate, _ in by_class)
    rows = pq.read_table(table).to_pydict()
    assert sum(n for *_, n in confused) == rows["hit"].count(False)
    assert [n for _, n, *_ in by_confidence] == [9, 9, 9, 9]
    assert len(mistakes) == rows["correct"].count(False)
    assert nearest[0][0] == 17 and nearest[0][2] == pytest.approx(1)


def test_the_columns_of_the_table_are_those_that_the_page_lists(table):
    listed = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]*) \|", COLUMNS, re.M))))
    assert set(pq.read_schema(table).names) <= listed


def test_the_table_opens_with_its_columns(table):
    opened = open_embeddings(table)
    assert opened.embeddings.shape == (36, 3) and set(opened.labels) == {"a", "b", "c"}
    assert {"x", "y", "hit", "kappa", "split", "row"} <= set(opened.columns)


def test_the_usual_keys_are_those_of_the_code():
    lists = re.findall(r"the first key of `([^`]+)`", PAGE)
    assert lists[0].split() == list(EMBEDDING_KEYS)
    assert lists[1].split() == [key for key in LABEL_KEYS if key != "Y"]
