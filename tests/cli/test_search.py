"""`search`: the nearest rows, exactly; a sheet and a page that show nothing they should not."""

import csv
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import vmf_embeddings as vmf
from tests.commands.run import ROOT
from tests.library.test_run import IMAGES, digests, saved_run
from vmf_embeddings.cli import commands
from vmf_embeddings.geometry import from_meta

N = len(IMAGES)


def search(*arguments) -> int:
    return commands.run_command(["search", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, its embeddings of a folder of images, and a new image."""
    folder = tmp_path_factory.mktemp("made")
    saved_run(folder / "run", "method=vmf_softmax", "arch.params.embedding_dim=5")
    (folder / "photos").mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / "photos" / f"{number}.png")
    Image.fromarray(IMAGES[0].T).save(folder / "new.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = vmf.load("run")
        paths = np.array([f"photos/{n}.png" for n in range(N)])
        file = vmf.EmbeddingFile(run.embed("photos"), paths=paths, meta=run.description())
        vmf.write(file, "photos.npz")
    return folder


@pytest.fixture(autouse=True)
def place(made, tmp_path, monkeypatch):
    """A copy of what was made, in which the commands are typed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(path="hits.csv") -> dict[str, list[tuple[int, float]]]:
    with open(path, newline="") as stream:
        hits: dict[str, list[tuple[int, float]]] = {}
        for line in csv.DictReader(stream):
            value = int(line["row"]), float(line["similarity"])
            hits.setdefault(line["query"], []).append(value)
    return hits


def wanted(queries: np.ndarray, leave_out=()) -> list[list[tuple[int, float]]]:
    """Every similarity, sorted: the slow search."""
    import torch

    file = vmf.read("photos.npz")
    how = from_meta(file.meta["geometry"])
    rows = [how.project(torch.from_numpy(each).double()) for each in (queries, file.embeddings)]
    table = how.similarity(*rows).numpy()
    return [
        [(int(i), line[i]) for i in np.argsort(-line, kind="stable") if i not in leave_out]
        for line in table
    ]


def same(hits, expected) -> bool:
    rows = [row for row, _ in hits] == [row for row, _ in expected]
    return rows and np.allclose([s for _, s in hits], [s for _, s in expected], rtol=1e-6)


def test_a_new_image_is_embedded_and_its_neighbours_are_exact(place, capsys):
    before = digests(place / "run")
    arguments = ("--in", "photos.npz", "--run", "run", "-k", N, "--csv", "hits.csv")
    assert search("new.png", *arguments) == 0
    (expected,) = wanted(vmf.load("run").embed(["new.png"]))
    assert same(found()["new.png"], expected)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["similarity: expected cosine of two draws; larger is nearer", "new.png"]
    assert printed[2].split()[0] == "1" and printed[2].endswith(f"photos/{expected[0][0]}.png")
    assert digests(place / "run") == before


def test_a_row_does_not_find_itself_nor_its_image_elsewhere(place):
    """A row by its number, the image by its path, and the same path written otherwise."""
    (expected,) = wanted(vmf.read("photos.npz").embeddings[2:3], leave_out={2})
    assert search("row:2", "--in", "photos.npz", "--csv", "a.csv") == 0
    assert same(found("a.csv")["photos/2.png"], expected)
    path = os.path.abspath("photos/../photos/2.png")
    assert search(path, "--in", "photos.npz", "--run", "run", "--csv", "b.csv") == 0
    assert [row for row, _ in found("b.csv")[path]] == [row for row, _ in expected]
    assert search("row:2", "--in", "photos.npz", "--keep-same", "--csv", "c.csv") == 0
    assert 2 in [row for row, _ in found("c.csv")["photos/2.png"]]


def test_a_file_of_embeddings_is_searched_for_row_by_row(place):
    assert search("photos.npz", "--in", "photos.npz", "-k", 2, "--csv", "hits.csv") == 0
    rows = vmf.read("photos.npz").embeddings
    for number, hits in enumerate(found().values()):
        (expected,) = wanted(rows[number : number + 1], leave_out={number})
        assert same(hits, expected[:2])


def test_queries_have_the_order_in_which_they_were_typed_all_images_where_the_first_is(place):
    typed = ("row:1", "photos/3.png", "row:1", "new.png")
    arguments = ("--in", "photos.npz", "--run", "run", "-k", 1, "--html", "a.html", "--quiet")
    assert search(*typed, *arguments) == 0
    names = re.findall(
        r'class="query">.*?class="name">([^<]*(?:<wbr>[^<]*)*)</span>',
        (place / "a.html").read_text(),
    )
    assert [name.replace("<wbr>", "") for name in names] == [
        "photos/1.png", "photos/3.png", "new.png", "photos/1.png",
    ]  # fmt: skip


def test_vectors_are_embedded_by_a_run_on_features(place):
    saved_run(
        place / "own", "method=arcface", "arch=linear", "arch.params.in_features=9",
        "arch.params.embedding_dim=4", transform=None,
    )  # fmt: skip
    np.savez("vectors.npz", X=np.random.default_rng(0).normal(size=(6, 9)))
    assert commands.run_command("embed own vectors.npz -o rows.npz --quiet".split()) == 0
    arguments = ("vectors.npz", "--in", "rows.npz", "--run", "own", "-k", 1)
    assert search(*arguments, "--csv", "hits.csv") == 0
    hits = found()
    assert [row for ((row, _),) in hits.values()] == list(range(6))  # each finds itself
    assert all(value == pytest.approx(1, abs=1e-6) for ((_, value),) in hits.values())
    assert search("vectors.npz", "--in", "photos.npz", "--run", "run") == 2
    assert commands.run_command("convert vectors.npz -o vectors.emb".split()) == 0
    assert commands.run_command("embed own vectors.emb -o again.npz --quiet".split()) == 0
    np.testing.assert_array_equal(vmf.read("again.npz").embeddings, vmf.read("rows.npz").embeddings)


def test_labels_queries_and_gallery_of_the_file_count(place, capsys):
    file = vmf.read("photos.npz")
    flags = np.array([True, False, True, True, False])
    labelled = vmf.EmbeddingFile(
        file.embeddings,
        ids=[0, 1, 0, 1, 0],
        is_gallery=flags,
        meta={**file.meta, "class_names": ["cat", "dog"]},
    )
    vmf.write(labelled, "labelled.npz")
    assert search("row:0", "--in", "labelled.npz", "--csv", "hits.csv") == 0
    assert sorted(row for row, _ in found()["row 0"]) == [2, 3]
    printed = capsys.readouterr().out
    assert "dog" in printed and "row 3" in printed


def test_files_of_other_programs_are_compared_by_cosine_and_say_so(place, capsys):
    np.savez("other.npz", feats=np.eye(4, 3) + 0.1, y=["a", "b", "c", "d"])
    assert search("row:1", "--in", "other.npz") == 0
    printed = capsys.readouterr()
    assert "compared by cosine" in printed.err
    np.save("bare.npy", np.eye(4, 3) + 0.1)
    assert search("row:1", "--in", "bare.npy", "--geometry", "euclidean") == 0
    assert search("row:1", "--in", "bare.npy", "--geometry", "poincare") == 2
    assert "needs curvature" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        ([], "minus the squared Euclidean distance"),
        (["--precision", "int8"], "minus the squared Euclidean distance"),
        (["--precision", "binary", "--rescore-multiplier", "0"], "minus the Hamming distance"),
        (["--rerank", "k_reciprocal"], "minus the k-reciprocal distance"),
    ],
)
def test_what_similarities_are_stands_beside_them(options, meaning, place, capsys):
    rows = np.random.default_rng(0).normal(size=(6, 8))
    vmf.write(vmf.EmbeddingFile(rows, meta={"geometry": {"name": "euclidean"}}), "l2.npz")
    command = ("row:1", "--in", "l2.npz", *options, "--html", "a.html", "--csv", "hits.csv")
    assert search(*command) == 0
    assert capsys.readouterr().out.startswith(f"similarity: {meaning}")
    assert f"similarity: {meaning}" in (place / "a.html").read_text()
    if not options or "int8" in options:
        for row, value in found()["row 1"]:
            assert value == pytest.approx(-np.square(rows[row] - rows[1]).sum(), rel=1e-5)


def test_a_sheet_and_a_page_show_images_and_similarities(place):
    arguments = ("--in", "photos.npz", "--run", "run", "-k", 3, "-o", "a.png", "--html", "a.html")
    assert search("new.png", "row:1", *arguments, "--csv", "hits.csv", "--quiet") == 0
    assert Image.open("a.png").size[0] > 400
    text = (place / "a.html").read_text()
    assert text.count("<img ") == 2 * (1 + 3) and "not shown" not in text
    for hits in found().values():
        for rank, (_, similarity) in enumerate(hits, 1):
            assert f"{rank}: {similarity:.4f}" in text
    assert not re.search(r"https?:|//|<script|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))


def test_names_are_escaped_in_the_page_the_table_and_the_terminal(place, capsys):
    file = vmf.read("photos.npz")
    evil = '"><script>alert(1)</script>\x1b[2J'
    names = np.array([evil, "=cmd|' /C calc'!A0", *file.paths[2:]])
    vmf.write(vmf.EmbeddingFile(file.embeddings, paths=names, meta=file.meta), "evil.npz")
    outputs = ("--html", "a.html", "--csv", "hits.csv", "-o", "a.png")
    assert search("row:2", "--in", "evil.npz", *outputs) == 0
    text, printed = (place / "a.html").read_text(), capsys.readouterr()
    assert "<script" not in text and "\x1b" not in text and "&lt;script" in text
    assert "\x1b" not in printed.out + printed.err
    assert "'=cmd" in (place / "hits.csv").read_text()


def test_no_image_outside_of_what_was_given_is_opened(place, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Image.fromarray(IMAGES[0]).save(elsewhere / "secret.png")
    file = vmf.read("photos.npz")
    names = np.array([str(elsewhere / "secret.png"), *file.paths[1:]])
    vmf.write(vmf.EmbeddingFile(file.embeddings, paths=names, meta=file.meta), "other.npz")
    assert search("row:1", "--in", "other.npz", "--html", "a.html", "-k", N) == 0
    assert "1 images are not shown" in capsys.readouterr().err
    assert (place / "a.html").read_text().count("not shown") == 1
    given = ("--images-from", elsewhere)
    assert search("row:1", "--in", "other.npz", "--html", "b.html", "-k", N, *given) == 0
    assert (place / "b.html").read_text().count("not shown") < N


def test_a_gallery_without_a_hash_of_weights_is_searched_with_one_note(place, capsys):
    file = vmf.read("photos.npz")
    meta = {key: value for key, value in file.meta.items() if key != "weights"}
    vmf.write(vmf.EmbeddingFile(file.embeddings, paths=file.paths, meta=meta), "older.npz")
    hits = []
    for name, n_notes in (("photos.npz", 0), ("older.npz", 1)):
        assert search("new.png", "--in", name, "--run", "run", "--csv", "a.csv", "--force") == 0
        assert capsys.readouterr().err.count("no hash of the weights") == n_notes
        hits.append(found("a.csv"))
    assert hits[0] == hits[1]
    assert search("row:1", "--in", "older.npz") == 0
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Runs that did not make the embeddings: of another length, and with other weights."""
    place = tmp_path_factory.mktemp("others")
    saved_run(place / "other", "method=vmf_softmax", "arch.params.embedding_dim=6")
    saved_run(place / "twin", "method=vmf_softmax", "arch.params.embedding_dim=5", "random_seed=5")
    import torch

    from vmf_embeddings.training import checkpoint

    state = torch.load(place / "twin" / "model_3.pt", weights_only=True)
    state["method_state_dict"]["kappa_scale"].mul_(2)
    checkpoint.save(place / "twin" / "model_3.pt", state)
    return place


MISTAKES = [
    (["row:5", "--in", "photos.npz"], "has the rows row:0 to row:4"),
    (["row:-1", "--in", "photos.npz"], "has the rows"),
    (["new.png", "--in", "photos.npz"], "add --run RUN"),
    (["nowhere.png", "--in", "photos.npz"], "nowhere.png does not exist"),
    (["new.png", "--in", "photos.npz", "--run", "other"], "not of one run"),
    (["new.png", "--in", "photos.npz", "--run", "twin"], "made by another run"),
    (["row:1", "--in", "nowhere.npz"], "--in: there is no file"),
    (["row:1", "--in", "photos.npz", "--geometry", "euclidean"], "states vmf, got euclidean"),
    (["row:1", "--in", "photos.npz", "-o", "a.txt"], "expected a file .png, got a.txt"),
    (["row:1", "--in", "photos.npz", "--csv", "old.csv"], "replace it with --force"),
    (["row:1", "--in", "photos.npz", "--run", "run", "--csv", "run/a.csv"], "lies in run"),
    (["row:1", "--in", "photos.npz", "--kk=2"], "unknown argument"),
    (["row:1"], "required: --in"),
    (["new.png", "--in", "broken.npz", "--run", "run"], "broken.npz"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_named_and_exit_with_2(arguments, message, place, others, capsys):
    shutil.copytree(others, place, dirs_exist_ok=True)
    (place / "old.csv").write_text("as it was")
    (place / "broken.npz").write_bytes((place / "photos.npz").read_bytes()[:200])
    try:
        code = search(*arguments)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and "Traceback" not in error
    assert (place / "old.csv").read_text() == "as it was"


def test_rows_of_a_file_are_searched_without_hydra_matplotlib_and_the_like(place):
    code = (
        "import sys\nfrom vmf_embeddings.cli.commands import run_command\n"
        "assert run_command(['search', 'row:1', '--in', 'photos.npz', '--csv', 'a.csv']) == 0\n"
        "print(sorted({'hydra', 'omegaconf', 'matplotlib', 'sklearn', 'PIL', 'rich', 'accelerate',"
        " 'torchvision', 'pyarrow', 'safetensors'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_image_under_another_name_has_the_embedding_of_its_row(place):
    Image.fromarray(IMAGES[3]).save("copy.png")
    outputs = ("--csv", "hits.csv", "--quiet")
    arguments = ("--in", "photos.npz", "-k", N, "--keep-same")
    assert search("copy.png", *arguments, "--run", "run", *outputs) == 0
    hits = found()["copy.png"]
    assert search("row:3", *arguments, *outputs, "--force") == 0
    assert same(hits, found()["photos/3.png"])
