"""The site of the documentation builds without a warning; its notebook was executed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = [m for m in ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter") if not find_spec(m)]


@pytest.mark.skipif(bool(MISSING), reason=f"pip install '.[docs]' brings {', '.join(MISSING)}")
def test_the_site_builds_without_a_warning(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").is_file()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert pages
    assert not {page for page in pages if f" {page}\n" not in navigation}


def test_the_tour_was_executed_from_top_to_bottom_without_an_error():
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds and kinds & {"display_data", "execute_result"}


def test_the_tour_has_the_cells_of_its_script():
    jupytext = pytest.importorskip("jupytext", reason="pip install '.[docs]' brings jupytext")
    script, notebook = (jupytext.read(ROOT / "docs" / f"tour.{end}") for end in ("py", "ipynb"))
    assert [c.source for c in script.cells] == [c.source for c in notebook.cells]
