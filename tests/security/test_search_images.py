"""What a file shows of the machine that searches with it: nothing beside its own folder."""

import numpy as np
import pytest
from PIL import Image

from tests.library.test_run import IMAGES, saved_run
from vmf_embeddings.cli import commands
from vmf_embeddings.evaluation.figures.hits import Tile, captions

ON_FEATURES = ("method=arcface", "arch=linear", "arch.params.in_features=9",
               "arch.params.embedding_dim=4")  # fmt: skip


@pytest.fixture
def vectors(tmp_path, monkeypatch, tmp_path_factory):
    """A run on vectors, and files of them that name an image beside them, and one elsewhere."""
    monkeypatch.chdir(tmp_path)
    saved_run(tmp_path / "own", *ON_FEATURES, transform=None)
    (tmp_path / "got").mkdir()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for folder, name in ((tmp_path / "got", "mine.png"), (elsewhere, "secret.png")):
        Image.fromarray(IMAGES[0]).save(folder / name)
    (tmp_path / "got/link.png").symlink_to(elsewhere / "secret.png")
    for name, paths in {
        "mine": ["got/mine.png"] * 2,
        "secret": [str(elsewhere / "secret.png"), "got/link.png"],
        "up": [f"got/../../{elsewhere.name}/secret.png", ""],
    }.items():
        rows = np.random.default_rng(0).normal(size=(2, 9))
        np.savez(tmp_path / "got" / f"{name}.npz", X=rows, paths=np.array(paths))
    assert commands.run_command("embed own got/mine.npz -o rows.npz --quiet".split()) == 0
    return elsewhere


@pytest.mark.parametrize(("name", "shown"), [("mine", 2), ("secret", 0), ("up", 0)])
def test_vectors_of_queries_show_no_image_elsewhere(vectors, name, shown, tmp_path):
    command = f"search got/{name}.npz --in rows.npz --run own -k 1 --keep-same --html a.html"
    assert commands.run_command(command.split()) == 0
    queries = (tmp_path / "a.html").read_text().split('<li class="query">')[1:]
    assert sum("<img" in one.partition("</li>")[0] for one in queries) == shown


def test_images_of_a_folder_that_was_typed_are_shown(vectors, tmp_path):
    command = f"search got/secret.npz --in rows.npz --run own --html a.html --images-from {vectors}"
    assert commands.run_command(command.split()) == 0
    queries = (tmp_path / "a.html").read_text().split('<li class="query">')[1:]
    assert ["<img" in one.partition("</li>")[0] for one in queries] == [True, False]


def test_a_name_of_millions_of_characters_is_cut_at_once():
    for text in ("x" * 3_000_000, "\u0301" * 3_000_000, "猫" * 3_000_000):
        lines = captions(Tile(None, name=text, label=text, similarity=0.5))
        assert all(len(line) < 100 for line in lines)
