"""The case of docs/features.md runs as printed."""

import pytest

from tests.docs.test_pages import SHELL, run, section, write_files


@pytest.mark.slow
def test_the_case_without_images_runs_as_printed(tmp_path):
    text = section("features", "## A case without images")
    assert {path.name for path in write_files(text, tmp_path)} == {"docstrings.py", "ask.py"}
    train, ask, retrieve = SHELL.findall(text)
    printed = run(train.replace("mode.epochs=60", "mode.epochs=30"), tmp_path)
    assert "docstrings of 11 packages, 128 features" in printed
    accuracy = next(line for line in printed.splitlines() if "Accuracy %" in line)
    assert float(accuracy.split()[2]) > 85
    assert "['linalg', 'stats']" in run(ask, tmp_path)
    assert "Recall@1 %" in run(retrieve, tmp_path)
