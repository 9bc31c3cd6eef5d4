"""The studies of von Mises-Fisher methods: commands that compose, tables of the stored runs."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import closed_confidence, elk
from tests.cli.test_second_stage import composed

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def stored(name):
    text = (RESULTS / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("recipe", closed_confidence.RECIPES)
@pytest.mark.parametrize("dataset", ("digits", "mnist"))
def test_commands_of_closed_sets_compose(recipe, dataset):
    for start in closed_confidence.STARTS:
        job = closed_confidence.Job(dataset, recipe, 3, start, 1)
        config = composed(closed_confidence.command(job, "data"))
        assert str(config.arch.params.kappa_confidence) == start[0]
        assert str(config.method.params.kappa_learning_rate or "null") == start[1]
        assert (config.dataset.name, config.mode.epochs) == (dataset, 6)


def test_commands_of_expected_likelihood_compose():
    for title, words in elk.ROWS.items():
        config = composed(["experiment=digits_open", *words])
        assert (config.method.name == "elk") == title.startswith("elk")


def test_an_interval_is_students():
    mean, half = closed_confidence.interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_the_stored_tables_are_those_of_the_stored_runs():
    lines = (RESULTS / "elk" / "elk.md").read_text(encoding="utf-8").splitlines()
    assert lines == list(elk.table(stored("elk/elk.jsonl")))


def test_the_page_has_the_stored_figures_of_expected_likelihood():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").replace("−", "-")
    rows = dict(
        re.findall(r"^\| `(?:elk|vmf_softmax)`, `?([\w.]+)`? \| (.*) \|$", page, re.MULTILINE)
    )
    assert set(rows) == {"auto", "0.4", "0.7", "0.95"}
    for line in (RESULTS / "elk" / "elk.md").read_text(encoding="utf-8").splitlines()[3:]:
        title, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        cosine, by_map, likelihood, _, law, _, difference = cells
        printed = [cell.strip() for cell in rows[title.split(", ")[1]].split("|")]
        assert printed == [cosine, difference, by_map, likelihood, law]


def test_the_page_has_the_stored_figures_of_closed_sets():
    page = (ROOT / "docs" / "metric-learning.md").read_text(encoding="utf-8").replace("−", "-")
    found = stored("closed_confidence/closed_confidence.jsonl")
    lines = list(closed_confidence.table(found))
    assert len(lines) > 14 and all(f"{line}\n" in page for line in lines)
    written = (RESULTS / "closed_confidence" / "closed_confidence.md").read_text(encoding="utf-8")
    assert lines == written.splitlines()
