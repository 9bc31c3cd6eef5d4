"""`embed`: rows in the order of the input, nothing changed in the run, nothing half written."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import vmf_embeddings as vmf
from tests.library.test_run import GREY, IMAGES, NAMES, digests, saved_run
from vmf_embeddings.cli import commands
from vmf_embeddings.cli import embed as module
from vmf_embeddings.extract import ExtractionJob, extract
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.execution import ExecutionSettings

N = len(IMAGES)


def embed(*arguments) -> int:
    return commands.run_command(["embed", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs, and a folder of images whose order by name is not that of their numbers."""
    folder = tmp_path_factory.mktemp("made")
    saved_run(folder / "run", "method=vmf_softmax", "arch.params.embedding_dim=5")
    saved_run(folder / "dml", "method=dml", "criterion=triplet")
    for number, image in enumerate(IMAGES):
        path = folder / "photos" / f"b{N - number}" / "image.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture(autouse=True)
def place(made, tmp_path, monkeypatch):
    """A copy of what was made, in which the commands are typed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image_of(number: int) -> str:
    return f"photos/b{N - number}/image.png"


@pytest.mark.parametrize("ending", ["npz", "parquet", "safetensors"])
def test_the_file_holds_what_the_run_says_and_the_run_stays_as_it_was(ending, place):
    before = digests(place / "run")
    assert embed("run", "photos", "-o", f"out.{ending}", "--predict", "--batch-size", 2) == 0
    assert digests(place / "run") == before
    file, run = vmf.read(f"out.{ending}"), vmf.load("run")
    np.testing.assert_array_equal(file.embeddings, run.embed("photos", batch_size=2))
    assert file.paths.tolist() == [image_of(n) for n in reversed(range(N))]
    assert file.ids is None
    np.testing.assert_array_equal(file.confidence, run.confidence(file.embeddings))
    probabilities = run.predict("photos", batch_size=2)
    assert file.predicted.tolist() == [NAMES[c] for c in probabilities.argmax(1)]
    np.testing.assert_array_equal(file.probability, probabilities.max(1))
    assert file.meta["geometry"] == {"name": "vmf"} and file.meta["confidence_name"] == "kappa"
    assert file.meta["weights"] == run.weights_hash


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_tables_and_bare_arrays_hold_the_rows(ending):
    assert embed("run", "photos", "-o", f"out.{ending}") == 0
    rows = vmf.load("run").embed("photos")
    if ending == "npy":
        np.testing.assert_array_equal(np.load("out.npy"), rows)
    else:
        text = (open("out.csv").read()).splitlines()
        assert text[0].startswith("path,") and text[1].startswith(f"{image_of(N - 1)},")


def test_rows_have_the_order_of_the_arguments(monkeypatch):
    names = [image_of(3), image_of(0)]
    stream = io.TextIOWrapper(io.BytesIO(f"{image_of(1)}\n\n{image_of(2)}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    open("photos/list.csv", "w").write(f"Path;note\n{image_of(4)[7:]};x\n")
    assert embed("run", *names, "-", "photos/list.csv", "-o", "out.npz") == 0
    file = vmf.read("out.npz")
    order = [3, 0, 1, 2, 4]
    assert file.paths.tolist() == [image_of(n) for n in order]
    wanted = vmf.load("run").embed(IMAGES[order])
    np.testing.assert_array_equal(file.embeddings, wanted)


def test_rows_are_those_of_the_mode_get_embeddings(place):
    """The same images as a split of a data set, extracted as the command does."""
    from vmf_embeddings.datasets.folder import Folder

    for split in ("train", "test"):
        for number, image in enumerate(IMAGES):
            path = place / "data" / split / NAMES[number % 2] / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.stack([image] * 3, -1)).save(path)
    data = Folder(
        place / "data", open_set=False, valid_share=0.2, test_share=0.2, image_size=28,
        augment="none", mean=(0.5,) * 3, std=(0.25,) * 3, margin_warmup_epochs=0,
    )  # fmt: skip
    method = saved_run(
        place / "own", "arch=resnet18", "arch.params.embedding_dim=4",
        transform=data.image_transform,
    )  # fmt: skip
    state = checkpoint.load_best(place / "own")
    job = ExtractionJob(
        method, data, state, ("test",), place / "own", "vmf_softmax", 1, 2, 0,
        ExecutionSettings("no", True, 1, False, False, False),
    )  # fmt: skip
    (path,) = extract(job)
    extracted = vmf.read(path)
    assert embed("own", "data/test", "-o", "out.npz", "--batch-size", 2) == 0
    file = vmf.read("out.npz")
    here = [os.path.relpath(name) for name in extracted.paths]
    order = [here.index(name) for name in file.paths]
    np.testing.assert_allclose(file.embeddings, extracted.embeddings[order], rtol=1e-4, atol=1e-5)


def broken(place) -> None:
    (place / image_of(1)).write_bytes(b"\x89PNG\r\n\x1a\n")
    (place / "photos" / "note.gif").write_text("no image")


def test_broken_images_are_named_and_nothing_is_written(place, capsys):
    broken(place)
    assert embed("run", "photos", "-o", "out.npz") == 2
    error = capsys.readouterr().err
    assert "note.gif" in error and "b4/image.png" in error and "--skip-broken" in error
    assert not (place / "out.npz").exists()


def test_broken_images_are_left_out_where_that_is_wanted(place, capsys):
    broken(place)
    assert embed("run", "photos", "-o", "out.npz", "--skip-broken", "--batch-size", 2) == 0
    printed = capsys.readouterr()
    assert "left out: " in printed.err and "note.gif" in printed.err
    assert "2 of 6 images left out" in printed.err
    assert "of 4 images" in printed.out and "2 left out" in printed.out
    file = vmf.read("out.npz")
    assert file.paths.tolist() == [image_of(n) for n in (4, 3, 2, 0)]
    np.testing.assert_allclose(
        file.embeddings, vmf.load("run").embed(IMAGES[[4, 3, 2, 0]]), rtol=1e-5, atol=1e-6
    )


def test_where_everything_is_broken_nothing_is_written(place, capsys):
    (place / "a.png").write_text("no image")
    assert embed("run", "a.png", "-o", "out.npz", "--skip-broken") == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not (place / "out.npz").exists()


def test_many_broken_images_end_the_command_soon(place, capsys, monkeypatch):
    monkeypatch.setattr(module, "MOST_BROKEN", 3)
    names = [place / f"x{n}.png" for n in range(50)]
    for name in names:
        name.write_text("no image")
    assert embed("run", *names, "-o", "out.npz") == 2
    assert capsys.readouterr().err.count("cannot decode") == 3


MISTAKES = [
    (["run", "photos", "-o", "run/x.npz"], "lies in run"),
    (["run", "photos", "-o", "photos"], "got no ending"),
    (["run", "photos", "-o", "no/x.npz"], "there is no folder no"),
    (["run", "photos", "-o", "x.csv", "--predict"], "a .csv holds embeddings alone"),
    (["run", "nowhere", "-o", "x.npz"], "nowhere does not exist"),
    (["nowhere", "photos", "-o", "x.npz"], "no run nowhere"),
    (["run", "-o", "x.npz"], "required: INPUT"),
    (["run", "photos"], "required: -o/--out"),
    (["run", "photos", "-o", "x.npz", "--bach-size=3"], "did you mean --batch-size?"),
    (["run", "photos", "-o", "x.npz", "--batch-size", "0"], "whole number of 1 or more"),
    (["run", "photos", "-o", "x.npz", "--device", "gpu"], "device: expected auto, cpu, cuda"),
    (["run", "photos", "-o", "x.npz", "--device", "cuda:99"], "device: cuda:99 is not there"),
    (["run", "run/model_3.pt", "-o", "x.npz"], "cannot decode run/model_3.pt"),
    (["run", "table.csv", "-o", "x.npz"], "has no column of paths"),
    (["run", "outside.csv", "-o", "x.npz"], "--images-from FOLDER"),
    (["run", "features.npz", "-o", "x.npz"], "this run takes images"),
    (["dml", "photos", "-o", "x.npz", "--predict"], "predicts no classes"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_named_and_exit_with_2(arguments, message, place, capsys):
    (place / "table.csv").write_text("label,x\n1,2\n")
    (place / "outside.csv").write_text("path\n/etc/passwd\n")
    np.savez(place / "features.npz", X=np.ones((2, 3)))
    try:
        code = embed(*arguments)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and "Traceback" not in error
    assert not list(place.glob("x.*")) and not (place / "run" / "x.npz").exists()


def test_a_file_is_replaced_only_by_force(place):
    (place / "out.npz").write_text("as it was")
    assert embed("run", "photos", "-o", "out.npz") == 2
    assert (place / "out.npz").read_text() == "as it was"
    assert embed("run", "photos", "-o", "out.npz", "--force") == 0
    assert len(vmf.read("out.npz").embeddings) == N
    vmf.load("run").export("run.zip")
    assert embed("run.zip", "photos", "-o", "run.npz", "--quiet") == 0


def test_vectors_are_embedded_from_files_of_features(place, capsys):
    rows = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float64)
    np.savez(place / "a.npz", X=rows[:4], paths=np.array(list("abcd")))
    np.savez(place / "b.npz", feats=rows[4:], filenames=np.array(["e", "f"]))
    saved_run(
        place / "own", "method=arcface", "arch=linear", "arch.params.in_features=9",
        "arch.params.embedding_dim=4", transform=None,
    )  # fmt: skip
    assert embed("own", "a.npz", "b.npz", "-o", "out.npz", "--predict") == 0
    file = vmf.read("out.npz")
    assert "".join(file.paths) == "abcdef"
    wanted = vmf.load("own").embed(torch.from_numpy(rows).float())
    np.testing.assert_array_equal(file.embeddings, wanted)
    assert embed("own", "photos", "-o", "out.npz", "--force") == 2
    rows[3, 2] = np.nan
    np.savez(place / "a.npz", X=rows)
    capsys.readouterr()
    assert embed("own", "b.npz", "a.npz", "-o", "nan.npz") == 2
    assert "a.npz: row 3 (counted from 0) holds NaN" in capsys.readouterr().err


def test_names_that_steer_a_terminal_are_written_out(place, capsys):
    name = place / "photos" / "a\x1b[2J.png"
    name.write_text("no image")
    assert embed("run", "photos", "-o", "out.npz", "--skip-broken") == 0
    assert "\x1b" not in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_not_written(place, capsys):
    state = torch.load(place / "run" / "model_3.pt", weights_only=True)
    state["method_state_dict"]["kappa_scale"].fill_(float("nan"))
    checkpoint.save(place / "run" / "model_3.pt", state)
    assert embed("run", "photos", "-o", "out.npz") == 2
    assert "NaN or infinity" in capsys.readouterr().err and not (place / "out.npz").exists()


def test_meta_data_are_json(place):
    assert embed("run", "photos", "-o", "out.npz", "--quiet") == 0
    with np.load("out.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
    assert meta["image_transform"] == GREY.to_meta() and meta["epoch"] == 3
