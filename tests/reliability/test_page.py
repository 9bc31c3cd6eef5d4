"""Every row of docs/reliability.md names tests that exist."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"


def functions_of(name: str) -> set[str]:
    """Names of the test functions of a module of this folder."""
    nodes = ast.parse((HERE / name).read_text()).body
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


def test_every_row_of_the_page_names_tests_that_exist():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.rstrip().endswith("| test |")]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        assert all(test in functions_of(module) for module, test in named), row
