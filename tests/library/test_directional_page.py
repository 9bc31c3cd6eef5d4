"""The examples of docs/directional.md run as they stand, and its figures are the stored ones."""

import doctest
import json
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "directional.md"
RESULTS = ROOT / "benchmarks" / "results" / "distributions" / "distributions.json"


def test_the_examples_give_what_the_page_shows():
    torch.manual_seed(0)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 30 and failed == 0


def test_its_figures_are_the_stored_ones():
    from benchmarks.distributions import accuracy_table, speed_table

    results, text = json.loads(RESULTS.read_text()), PAGE.read_text()
    assert accuracy_table(results) in text and speed_table(results) in text


@pytest.mark.parametrize("dim, kappa", [(3, 1e3), (128, 1e5), (10_000, 30.0)])
def test_errors_are_as_small_as_the_table_says(dim, kappa):
    from benchmarks.distributions import exact, found

    row = re.search(rf"^\| {dim:,} \| (\S+) \|.*\| (\S+) \|.*$", PAGE.read_text(), re.MULTILINE)
    wanted, given = exact(dim, kappa), found(dim, kappa)["ours"]
    for name in ("log_normalizer", "entropy"):
        assert abs(given[name] - wanted[name]) < 1e-9
    assert abs(given["log_normalizer"] - wanted["log_normalizer"]) <= 1.05 * float(row[1])
