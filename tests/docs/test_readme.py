"""The README: its length, its Python, its measurements."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_it_has_fewer_than_900_words():
    assert 300 < len(README.split()) < 900


def test_its_python_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(code, names)
    assert 0 <= names["scores"]["normalised"]["recall@1"] <= 1
    assert all(p.grad is not None for p in names["net"].parameters())


def test_its_ratios_are_measured_ones():
    results = (ROOT / "benchmarks" / "results" / "README.md").read_text()
    measured = [float(ratio) for ratio in re.findall(r"\((\d+\.?\d*)x [<≥]", results)]
    measured += [float(ratio) for ratio in re.findall(r"met \((\d+\.?\d*)x", results)]
    table = README.split("| task | compared with | ratio |")[1].split("\n\n")[0]
    ratios = re.findall(r"\| (\d+\.?\d*) \|$", table, re.MULTILINE)
    assert len(ratios) >= 8
    for ratio in ratios:
        digits = len(ratio.partition(".")[2])
        assert ratio in {f"{value:.{digits}f}" for value in measured}, ratio


def test_its_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]
