"""The examples of two pages run as printed, in an empty folder and inside a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quick_cases import mostly_slow

ROOT = Path(__file__).parents[2]
# "`path` …:", a blank line, a block of code
FILE = re.compile(r"^`([\w/.]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def section(page: str, heading: str) -> str:
    """The text below a heading of a page, up to the next one of its level or a higher one."""
    level, inside, fenced, lines = heading.index(" "), False, False, []
    for line in (ROOT / "docs" / f"{page}.md").read_text().splitlines():
        fenced ^= line.startswith("```")
        if not fenced and re.match(rf"#{{1,{level}}} ", line):
            inside = line == heading
        elif inside:
            lines.append(line)
    assert lines, f"{page}.md has no section {heading!r}"
    return "\n".join([*lines, ""])


def run(commands: str, folder: Path) -> str:
    """What bash commands print in a folder; they find this package and this Python."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VMF_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT) if not (folder / "vmf_embeddings").exists() else "",
        "VMF_EMBEDDINGS_NATIVE": "0",  # no minutes of compilation for two batches
        "OMP_NUM_THREADS": "1",
    }
    words = ["bash", "-ec", commands]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_files(text: str, folder: Path) -> list[Path]:
    """Writes every file that a text shows; their paths in the folder."""
    paths = []
    for name, code in FILE.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        paths.append(path)
    return paths


def quick(commands: str) -> str:
    """The same commands with two batches an epoch."""
    commands = commands.replace("sampler.n_episodes=20", "sampler.n_episodes=2")
    return commands.replace("experiment=demo", "experiment=demo sampler.n_episodes=2")


def copy_of_the_package(folder: Path) -> Path:
    """The package's files in a folder, as in a checkout."""
    unwanted = shutil.ignore_patterns("runs", "sweeps", "__pycache__")
    shutil.copytree(ROOT / "vmf_embeddings", folder / "vmf_embeddings", ignore=unwanted)
    return folder / "vmf_embeddings"


PAGES = {
    "add-a-method": "## In a folder of your own",
    "add-a-dataset": "### In a folder of your own",
}


@pytest.mark.parametrize("page", mostly_slow(PAGES, ["add-a-method"]))
def test_an_example_trains_from_a_folder_of_its_own(page, tmp_path):
    text = section(page, PAGES[page])
    assert len(write_files(text, tmp_path)) >= 2
    (commands,) = SHELL.findall(text)
    assert "Best epoch" in run(quick(commands), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_an_example_moved_into_the_package_trains_and_is_scored(page, tmp_path):
    package = copy_of_the_package(tmp_path)
    inside = PAGES[page].replace("a folder of your own", "the package").replace("In a", "In")
    inside = section(page, inside)
    write_files(section(page, PAGES[page]), tmp_path)
    moves = re.findall(r"^\| `([\w/.]+)` \| `([\w/.]+)`(?:, with `([^`]+)`)? \|$", inside, re.M)
    assert len(moves) == 2
    for old, new, line in moves:
        text = (tmp_path / old).read_text()
        text = re.sub(r"_target_: .*", line, text) if line else text
        (tmp_path / new).write_text(text)
        (tmp_path / old).unlink()
    if (tmp_path / "make_archive.py").exists():
        run("python make_archive.py", tmp_path)
    (commands,) = SHELL.findall(inside)
    run(quick(commands), tmp_path)
    assert list(package.glob("runs/*/*/3dim/first/metrics.json"))


def test_a_data_set_of_a_yaml_file_alone_trains(tmp_path):
    text = (ROOT / "docs" / "add-a-dataset.md").read_text()
    script = re.search(r"^```python\n(import colorsys.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "draw.py").write_text(script.group(1))
    alone = section("add-a-dataset", "## A yaml file alone")
    (colours,) = re.findall(r"^```yaml\n(.*?)^```$", alone, re.DOTALL | re.MULTILINE)
    (tmp_path / "configs" / "dataset").mkdir(parents=True)
    (tmp_path / "configs" / "dataset" / "colours.yaml").write_text(colours)
    (commands,) = SHELL.findall(alone)
    printed = run("python draw.py\n" + commands.replace("n_episodes=5", "n_episodes=1"), tmp_path)
    assert "Best epoch" in printed


@pytest.mark.slow
def test_the_test_file_of_the_page_passes_inside_the_package(tmp_path):
    package = copy_of_the_package(tmp_path)
    text = (ROOT / "docs" / "add-a-method.md").read_text()
    write_files(section("add-a-method", PAGES["add-a-method"]), tmp_path)
    shutil.move(tmp_path / "mylab" / "cosface.py", package / "methods" / "cosface.py")
    (code,) = re.findall(r'^```python\n("""CosFace: .*?)^```$', text, re.DOTALL | re.MULTILINE)
    shutil.copytree(ROOT / "tests" / "methods", tmp_path / "tests" / "methods")
    (tmp_path / "tests" / "methods" / "test_cosface.py").write_text(code)
    (tmp_path / "tests" / "__init__.py").touch()
    run("python -m pytest -q -n 0 tests/methods/test_cosface.py", tmp_path)
