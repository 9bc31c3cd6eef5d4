"""Every family of benchmarks runs at tiny sizes and leaves what the README of results promises.

No figure and no ratio is asserted: how fast things are depends on the machine and its load.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import FAMILIES
from benchmarks.goals import GOALS, TARGETS
from benchmarks.measure import compare
from benchmarks.report import WORST_FIRST

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--rounds", "1", "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("family", [*FAMILIES, "gpu"])
def test_family_leaves_figures_and_checks(results, family):
    record = json.loads((results / f"{family}.json").read_text())
    assert record["machine"]["torch"] and record["seconds"] > 0
    assert record["entries"] and (results / f"{family}.md").read_text().startswith(f"# {family}")
    for entry in record["entries"]:
        assert entry["name"] and entry["workload"] and entry["figures"]
        ours = [f for name, f in entry["figures"].items() if name.startswith("ours")]
        if family not in ("latency", "scaling", "start", "gpu"):
            assert any("failure" not in f for f in ours), entry
        for check in entry["checks"]:
            assert check["verdict"] in WORST_FIRST
            assert (check["value"] is None) == (check["verdict"] == "not measurable")
            assert check["value"] is not None or check["why"]


def test_every_target_is_reported_once(results):
    records = [json.loads(p.read_text()) for p in results.glob("*.json")]
    keys = [c["key"] for r in records for e in r["entries"] for c in e["checks"]]
    assert len(keys) == len(set(keys))
    only_at_real_size = {"L8 iNat", "L8 C=1e5"}
    assert set(TARGETS) - only_at_real_size == set(keys)


def test_every_goal_has_its_row(results):
    page = (results / "README.md").read_text()
    for goal in GOALS:
        assert f"\n| {goal.id} | " in page
    assert (results / "scaling.png").stat().st_size > 1000


def test_every_target_belongs_to_a_goal():
    assert {key.split()[0] for key in TARGETS} == {goal.id for goal in GOALS}


def test_cases_take_turns_and_a_failing_one_drops_out():
    calls = []

    def broken():
        raise KeyError("missing peer")

    cases = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b"), "broken": broken}
    result = compare(cases, rounds=3, warmup=0, units={"a": 2.0})
    assert "".join(calls) == "ab" + "ba" + "ab" or "".join(calls) == "abbaab"
    assert "KeyError" in result.failures["broken"]


@pytest.mark.parametrize("better", [True, False])
def test_verdicts_follow_the_direction_of_the_target(better):
    from benchmarks.goals import Target

    target = Target(2.0, 4.0) if better else Target(4.0, 2.0, at_least=False)
    low, high = target.verdict(1.0), target.verdict(5.0)
    assert (low, high) == (("missed", "stretch") if better else ("stretch", "missed"))
    assert target.verdict(3.0) == "met" and target.verdict(None) == "not measurable"
