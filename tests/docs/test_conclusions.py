"""Intervals of differences in the docs are those of the stored results, and words follow them."""

import json
import re
from pathlib import Path

import pytest
from scipy.stats import t

ROOT = Path(__file__).parents[2]
PAGES = {"long-tail": "long_tail", "metric-learning": "metric_learning"}
RESULTS = ROOT / "benchmarks" / "results"
ROW = re.compile(r"\| (\w+) \| (\S+) \| (.+?) \| (.+?) \| (\S+) \| (\S+) to (\S+) \| ([\d.]+) \|")


def intervals(page: str) -> list[tuple[str, ...]]:
    found = ROW.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    return [tuple(cell.replace("−", "-") for cell in row) for row in found]


def welch(first: dict, second: dict) -> tuple[float, float, float, float]:
    """Difference of two means, Welch's 95 % interval, and its degrees of freedom."""
    a, b = (one["standard_error"] ** 2 for one in (first, second))
    freedom = (a + b) ** 2 / (a**2 / (first["n"] - 1) + b**2 / (second["n"] - 1))
    half = float(t.ppf(0.975, freedom)) * (a + b) ** 0.5
    difference = first["mean"] - second["mean"]
    return difference, difference - half, difference + half, freedom


@pytest.mark.parametrize("page", PAGES)
def test_differences_and_intervals_are_those_of_the_stored_results(page):
    results = json.loads((RESULTS / PAGES[page] / f"{PAGES[page]}.json").read_text())
    rows = intervals(page)
    assert len(rows) > 20
    for data, score, first, second, *printed in rows:
        expected = welch(results[data][first][score], results[data][second][score])
        assert [float(p) for p in printed] == pytest.approx(expected, abs=0.051), (first, second)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_judges_by_a_number_of_standard_errors(page):
    """Three seeds leave 2 to 4 degrees of freedom, for which two standard errors are too few."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    judged = r"(within|than|by) (one|two|three|seven|a|the)( and a half)? standard errors?"
    assert not re.search(judged, text)


def test_what_the_page_on_long_tails_calls_supported_leaves_out_zero():
    signs = {}
    for data, score, first, second, _, low, high, _ in intervals("long-tail"):
        signs[data, score, first, second] = float(low) * float(high) > 0
    supported = {key[1:] for key, leaves_out_zero in signs.items() if leaves_out_zero}
    glmc = "FSGL without feature scaling"
    assert supported == {
        *(
            ("few", "balanced softmax", "cross-entropy"),
            ("many", "balanced softmax", "cross-entropy"),
        ),
        *(("few", "LDAM-DRW", "cross-entropy"), ("many", "LDAM-DRW", "cross-entropy")),
        *(("few", glmc, "cross-entropy"), ("many", glmc, "cross-entropy")),
        *(("all", f"{glmc}, SAM", glmc), ("few", f"{glmc}, SAM", glmc)),
        ("few", "t-vMF, two stages", "balanced softmax"),
    }
    assert not any(value for key, value in signs.items() if key[0] == "digits_lt")


def test_the_table_of_confidences_has_the_stored_figures():
    results = json.loads((RESULTS / "kappa_confidence" / "kappa_confidence.json").read_text())
    text = (ROOT / "docs" / "metric-learning.md").read_text(encoding="utf-8").replace("−", "-")
    rows = re.findall(r"^\| (16|128|512) \| ([\w.]+) \| [\d.]+ \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 18
    for dim, confidence, cells in rows:
        printed = [float(n) for n in re.findall(r"[-+]?\d+\.\d", cells)]
        expected = []
        for data in ("digits_open", "mnist_open"):
            name = f"D={dim}, vMF, {confidence}"
            by_cosine, by_law = results[data][name], results[data][f"{name}, expected cosine"]
            difference = by_cosine["difference (95 %)"]
            mean, half = difference["mean"], difference["half_width"]
            expected += [by_cosine["R@1"]["mean"], by_cosine["R@1"]["standard_error"]]
            expected += [mean, mean - half, mean + half]
            expected += [by_law["R@1"]["mean"], by_law["R@1"]["standard_error"]]
            if confidence == "auto":
                assert mean > -2 and mean - half < 0 < mean + half
            elif float(confidence) <= 0.9:
                assert mean + half < 0
        assert printed == pytest.approx(expected, abs=0.051), (dim, confidence)
