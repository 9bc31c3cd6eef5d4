"""The commands of docs/new-images.md run as printed."""

import pytest

from tests.docs.test_pages import ROOT, SHELL, quick, run, write_files


@pytest.mark.slow
def test_the_commands_run_as_printed(tmp_path):
    text = (ROOT / "docs" / "new-images.md").read_text()
    write_files(text, tmp_path)
    (commands,) = SHELL.findall(text)
    alias = 'vmf-embeddings() { python -m vmf_embeddings "$@"; }\n'
    printed = run(alias + quick(commands), tmp_path)
    assert "Wrote embeddings [40, 3] of 40 images to photos.npz" in printed
    assert "Largest difference from torch on 5 inputs" in printed
    for name in ("neighbours.png", "neighbours.html", "neighbours.csv", "digits.pt2"):
        assert (tmp_path / name).stat().st_size > 500
