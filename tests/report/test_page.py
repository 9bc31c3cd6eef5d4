"""A report holds what a run folder records, for every kind of file, in one file of bounded size."""

import base64
import hashlib
import importlib.machinery
import importlib.util
import json
import re
import sys
import types

import numpy as np
import pytest

from tests.evaluation.runs import LONG_TAIL, make_file, make_run, strip_meta
from tests.report.page import Elements, data_of, record, write_report
from vmf_embeddings.cli.compare import compare
from vmf_embeddings.cli.compare_arguments import parse_compare
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.cli.report import report
from vmf_embeddings.cli.report_arguments import parse_report
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings
from vmf_embeddings.report import build

pytest.importorskip("plotly", reason="pip install 'vmf_embeddings[report]' brings plotly")


def points(page, number=0):
    """Places of the points of a map [n, 2] or [n, 3]."""
    own = data_of(page)["maps"][number]
    return np.frombuffer(base64.b64decode(own["points"]), "<f4").reshape(-1, own["dims"])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A run with all that it can record, and its report."""
    folder = tmp_path_factory.mktemp("one")
    run = record(make_run(folder, {"name": "vmf"}, n_draws=4, **LONG_TAIL))
    return run, write_report(folder / "page.html", run)


def test_everything_that_was_run_trained_and_scored_is_in_the_page(one):
    words = Elements(one[1]).words
    for text in (
        "a_method on toy (test), 3-D", "vmf-embeddings train experiment=demo", "learning_rate",
        "Training on 36 images", "Training loss", "Validation loss", "Validation accuracy",
        "Concentration kappa", "Accuracy %", "Recall@1 %", "Few-shot accuracy %", "AUROC %",
        "Reliability", "Risk and coverage", "Classes by accuracy, worst first", "few",
        "have a wrong first neighbour", "directions on the sphere", LONG_TAIL["train_identity"],
    ):  # fmt: skip
        assert text in words, text


def test_nothing_is_written_but_the_page(one):
    run, _ = one
    assert {path.name for path in run.iterdir()} == {
        ".hydra_train", "metrics.csv", "main.train.log", "toy_test.npz", "page.html",
    }  # fmt: skip


def test_scripts_are_those_of_the_policy_and_nothing_is_requested(one):
    elements = Elements(one[1])
    policy = next(m["content"] for m in elements.named("meta") if m.get("http-equiv") is not None)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", one[1], re.S)
    hashes = {
        f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
        for text in scripts
    }
    assert hashes == set(re.findall(r"'(sha256-[^']*)'", policy))
    addresses = [a[k] for _, a in elements.tags for k in ("src", "href", "action") if a.get(k)]
    assert addresses and all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not [a for _, a in elements.tags for key in a if key.startswith("on")]


def test_every_table_has_a_caption_scopes_and_every_image_a_text(one):
    elements = Elements(one[1])
    tables = elements.named("table")
    assert len(elements.named("caption")) == len(tables) > 5
    assert all(head.get("scope") in ("col", "row") for head in elements.named("th"))
    assert all(image.get("alt") for image in elements.named("img"))
    levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_points_of_a_sphere_have_length_one_and_the_hits_of_their_neighbours(one):
    run, page = one
    own = data_of(page)["maps"][0]
    assert own["kind"] == "sphere"
    lengths = np.linalg.norm(points(page), axis=1)
    np.testing.assert_allclose(lengths, own["rim"], rtol=1e-5)
    file = make_file({"name": "vmf"}, n_draws=4)
    rows = np.frombuffer(base64.b64decode(own["row"]), "<u4")
    near = np.frombuffer(base64.b64decode(own["nearRow"]), "<i4").reshape(len(rows), -1)
    hit = np.frombuffer(base64.b64decode(own["hit"]), "u1")
    assert sorted(rows) == list(range(36))
    np.testing.assert_array_equal(hit, file.ids[near[:, 0]] == file.ids[rows])


@pytest.mark.parametrize(
    ("geometry", "dim", "kind", "says"),
    [
        ({"name": "poincare", "c": 0.1}, 2, "plane", "boundary of the Poincaré ball"),
        ({"name": "poincare", "c": 1e-5}, 2, "plane", "far outside, at a radius of 316.2"),
        ({"name": "poincare", "c": 0.1}, 3, "ball", "in three dimensions"),
        ({"name": "euclidean"}, 2, "plane", "the embeddings themselves"),
        ({"name": "cosine"}, 2, "plane", "directions on the circle"),
        ({"name": "cosine"}, 5, "plane", "t-SNE"),
    ],
)
def test_every_geometry_has_its_map(tmp_path, geometry, dim, kind, says):
    run = make_run(tmp_path, geometry, dim=dim)
    page = write_report(tmp_path / "page.html", run)
    assert data_of(page)["maps"][0]["kind"] == kind
    assert np.isfinite(points(page)).all() and len(points(page)) == 36
    assert says in Elements(page).words


def test_the_two_directions_of_largest_variance_are_a_map_too(tmp_path):
    run = make_run(tmp_path, {"name": "euclidean"}, dim=5)
    page = write_report(tmp_path / "page.html", run, "--map", "components", "--points", "20")
    own, rows = data_of(page)["maps"][0], make_file({"name": "euclidean"}, dim=5).embeddings
    chosen = rows[np.frombuffer(base64.b64decode(own["row"]), "<u4")]
    assert points(page).shape == (20, 2)
    variances = np.linalg.eigvalsh(np.cov(chosen.T))[::-1][:2]
    ratio = points(page).var(axis=0, ddof=1) / variances
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-4)  # one scale for both
    assert "20 of 36 rows" in Elements(page).words


@pytest.mark.parametrize(("n", "dim"), [(1, 5), (2, 5), (3, 3), (1, 1), (2, 2)])
def test_files_of_few_rows_have_a_map(tmp_path, n, dim):
    meta = {"dataset": "toy", "split": "test", "geometry": {"name": "cosine"}, "open_set": True}
    rows = np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)
    file = EmbeddingFile(embeddings=rows, ids=np.zeros(n, np.int64), meta=meta)
    save_embeddings(tmp_path / "toy_test.npz", file)
    page = write_report(tmp_path / "page.html", tmp_path)
    assert points(page).shape == (n, 3 if dim == 3 else 2)
    assert np.isfinite(points(page)).all()


def test_umap_that_is_not_installed_is_named(tmp_path, capsys):
    if importlib.util.find_spec("umap") is not None:
        pytest.skip("UMAP is installed")
    words = ["run", "-o", str(tmp_path / "a.html"), "--map", "umap"]
    assert report(parse_report(words)) == 2
    assert "pip install umap-learn" in capsys.readouterr().err


def test_umap_is_asked_for_places_where_it_is_installed(tmp_path, monkeypatch):
    class UMAP:
        def __init__(self, random_state):
            assert random_state == 7

        def fit_transform(self, rows):
            return rows[:, 1:3]

    module = types.ModuleType("umap", "a stand-in")
    module.UMAP = UMAP
    module.__spec__ = importlib.machinery.ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    run = make_run(tmp_path, {"name": "euclidean"}, dim=5)
    page = write_report(tmp_path / "page.html", run, "--map", "umap", "--seed", "7")
    assert "UMAP: only near neighbours" in Elements(page).words
    rows = make_file({"name": "euclidean"}, dim=5).embeddings[:, 1:3]
    own = np.frombuffer(base64.b64decode(data_of(page)["maps"][0]["row"]), "<u4")
    np.testing.assert_allclose(points(page), rows[own] / np.abs(rows).max(), rtol=1e-5)


def test_runs_on_different_images_are_not_compared(tmp_path):
    for name, split_hash in (("a", "abc"), ("b", "abd")):
        (tmp_path / name).mkdir()
        make_run(tmp_path / name, {"name": "cosine"}, split_hash=split_hash, method=name)
    page = write_report(tmp_path / "page.html", tmp_path / "a", tmp_path / "b")
    words = Elements(page).words
    assert "They were scored on different images: their scores cannot be compared." in words
    assert "b − a" not in words and "(best)" not in words
    assert [one["sheet"] for one in data_of(page)["maps"]] == [0, 1]


def test_points_of_the_hyperbolic_disc_lie_inside_its_circle(tmp_path):
    run = make_run(tmp_path, {"name": "poincare", "c": 0.1}, dim=2)
    page = write_report(tmp_path / "page.html", run)
    own = data_of(page)["maps"][0]
    assert np.linalg.norm(points(page), axis=1).max() < own["rim"]


def test_an_open_set_is_judged_by_its_neighbours(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    words = Elements(write_report(tmp_path / "page.html", run)).words
    assert "Classes by Recall@1, worst first" in words
    assert "unseen in training" in words
    assert "Reliability" not in words


def differences(folder) -> dict:
    """Those that the command `compare` finds of the runs a and b."""
    paths = [str(folder / name) for name in "ab"]
    assert compare(parse_compare([*paths, "--json", str(folder / "compared.json")])) == 0
    (found,) = json.loads((folder / "compared.json").read_text())["comparisons"]
    return found["scores"]


def test_several_runs_stand_side_by_side_with_their_differences(tmp_path):
    for name, rate in (("a", 0.1), ("b", 0.5)):
        (tmp_path / name).mkdir()
        record(make_run(tmp_path / name, {"name": "cosine"}, seed=int(name == "b")), rate)
    page = write_report(tmp_path / "page.html", tmp_path / "a", tmp_path / "b")
    words, data = Elements(page).words, data_of(page)
    assert "2 runs on toy (test)" in words
    assert "The configurations differ in mode.learning_rate" in words
    assert "All were scored on the same images." in words
    for label, key in (("Accuracy", "classification/accuracy"), ("Recall@1", "retrieval/recall@1")):
        minus = f"{label}: a_method, learning_rate=0.5 minus a_method, learning_rate=0.1 is"
        assert minus in words
        compared = differences(tmp_path)[key]
        ends = "{low:+.2f} to {high:+.2f}".format_map(
            {end: 100 * compared["rows"][end] for end in ("low", "high")}
        )
        n = compared["n_rows"]
        assert (
            f"{100 * compared['difference']:+.2f} points on {n} rows (95 % interval over other "
            f"rows {ends}): {compared['verdict']}" in words
        )
    assert data["runs"] == ["a_method, learning_rate=0.1", "a_method, learning_rate=0.5"]
    assert len(data["charts"]["training-0"]["lines"]) == 2
    assert [one["sheet"] for one in data["maps"]] == [0, 0]
    assert list(data["sheets"]) == ["0"]


def test_columns_of_a_training_have_plain_titles(tmp_path):
    run = record(make_run(tmp_path, {"name": "cosine"}))
    (run / "metrics.csv").write_text(
        "epoch,valid_metric,valid_nll,kappa_min,train/recall@4,test/top_5_accuracy,else_where\n"
        "0,0.5,0.9,3,0.1,0.2,1\n1,0.6,0.7,4,0.2,0.3,2\n2,0.6,0.8,5,0.2,0.3,2\n"
    )
    page = write_report(tmp_path / "page.html", run)
    titles = [chart["title"] for key, chart in data_of(page)["charts"].items() if "training" in key]
    assert titles == [
        "Validation accuracy", "Validation NLL, nats", "Concentration kappa of the classes, least",
        "Else where", "Test top-5 accuracy, for information",
        "Training Recall@4, for information",
    ]  # fmt: skip
    assert "0.9 at epoch 0, 0.8 at epoch 2, best 0.7 at epoch 1" in page


def test_scores_of_evaluate_are_taken_and_those_of_another_state_are_not(tmp_path, capsys):
    run = make_run(tmp_path, {"name": "cosine"})
    evaluate(parse_evaluate([str(run), "metrics=uncertainty", "--no-figures"]))
    path = run / "metrics.json"
    content = json.loads(path.read_text())
    content["toy_test.npz"]["retrieval"]["recall@1"] = 0.12345
    path.write_text(json.dumps(content))
    words = Elements(write_report(tmp_path / "a.html", run)).words
    assert "12.35" in words and "Risk and coverage" in words
    content["toy_test.npz"]["n_rows"] = 7
    path.write_text(json.dumps(content))
    words = Elements(write_report(tmp_path / "b.html", run)).words
    assert "12.35" not in words and "n_rows differs" in words
    assert json.loads(path.read_text()) == content


def test_sections_that_are_unknown_are_shown_by_their_names(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"})
    evaluate(parse_evaluate([str(run), "--no-figures"]))
    path = run / "metrics.json"
    content = json.loads(path.read_text())
    content["toy_test.npz"] |= {
        "of_tomorrow": {"a/b/score": 0.25, "a/b/score_low": 0.125, "a/b/score_high": 0.5},
        "of_tomorrow_about": {"draws": 17},
        "plain": {"number": 3, "other": None},
        "no_scores": [1, 2],
        "significance": {"classification/accuracy": {"low": 0.0625, "high": 0.9375}},
    }
    path.write_text(json.dumps(content))
    words = Elements(write_report(tmp_path / "page.html", run)).words
    assert "Of tomorrow" in words and "0.2500 (0.1250 to 0.5000)" in words and "draws: 17" in words
    assert "(6.25 to 93.75)" in words
    assert "Plain" in words


def test_curves_of_any_section_are_drawn(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"})
    evaluate(parse_evaluate([str(run), "--no-figures"]))
    places = np.linspace(0, 1, 9)
    curves = {
        "verify/fpr": places, "verify/tpr": places**0.5,
        "verification/far": places, "verification/tar": places,
        "ood/other/energy/edges": places, "ood/other/energy/n_in": np.arange(8),
        "ood/other/energy/n_out": np.arange(8)[::-1],
        "odd/fpr": places, "odd/tpr": places[:4], "odd/other": np.eye(3),
        "odd/energy/edges": places, "odd/energy/n_in": np.full(8, np.nan),
        "odd/energy/n_out": np.arange(8), "odd/norm/edges": places * np.nan,
        "odd/norm/n_in": np.arange(8), "odd/norm/n_out": np.arange(8),
    }  # fmt: skip
    np.savez(run / "toy_test_curves.npz", **curves)
    scores = json.loads((run / "metrics.json").read_text())
    scores["toy_test.npz"]["verify"] = ["no", "table"]
    (run / "metrics.json").write_text(json.dumps(scores))
    charts = data_of(write_report(tmp_path / "page.html", run))["charts"].values()
    shown = {chart["title"]: chart for chart in charts}
    assert {"ROC, verify", "ROC, verification", "ood, other, energy"} <= shown.keys()
    assert not [title for title in shown if "odd" in title]
    np.testing.assert_allclose(shown["ROC, verify"]["lines"][0]["y"], places**0.5, rtol=1e-5)
    assert shown["ROC, verification"]["lines"][0]["x"][0] > 0  # its axis is logarithmic
    assert [sum(one["y"]) for one in shown["ood, other, energy"]["lines"]] == pytest.approx([1, 1])


def test_files_of_2021_and_of_other_programs_are_shown(tmp_path):
    run = strip_meta(make_run(tmp_path, {"name": "cosine"}))
    words = Elements(write_report(tmp_path / "a.html", run, "--geometry", "cosine")).words
    assert "Recall@1 %" in words
    rows = make_file({"name": "cosine"})
    np.savez(tmp_path / "theirs.npz", features=rows.embeddings, labels=rows.ids)
    words = Elements(write_report(tmp_path / "b.html", tmp_path / "theirs.npz")).words
    assert "compared by cosine" in words and "no images" in words


def test_a_file_without_images_says_so_and_shows_its_rows(tmp_path):
    file = make_file({"name": "cosine"})
    bare = EmbeddingFile(embeddings=file.embeddings, ids=file.ids, meta=file.meta)
    save_embeddings(tmp_path / "toy_test.npz", bare)
    page = write_report(tmp_path / "page.html", tmp_path)
    assert "no images: the file holds neither images nor their paths" in Elements(page).words
    assert data_of(page)["sheets"] == {}
    assert not Elements(page).named("img")


def test_thousands_of_points_with_images_fit_in_ten_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "MOST_BYTES", 5_500_000)  # so that not all images fit
    rng = np.random.default_rng(0)
    n = 1500
    file = EmbeddingFile(
        embeddings=rng.normal(size=(n, 3)).astype(np.float32),
        ids=np.arange(n) % 40,
        examples=rng.random((n, 3, 32, 32)).astype(np.float32),
        meta={"dataset": "toy", "split": "test", "geometry": {"name": "cosine"},
              "class_names": [f"class number {k}" for k in range(40)]},
    )  # fmt: skip
    save_embeddings(tmp_path / "toy_test.npz", file)
    page = write_report(tmp_path / "page.html", tmp_path)
    own = data_of(page)["maps"][0]
    assert len(page.encode()) <= 5_500_000
    assert 100 < own["pictures"] < n
    assert f"{own['pictures']:,} of the points show their image" in Elements(page).words
    assert len(points(page)) == n


def test_mistakes_are_refused_before_work_begins(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path, {"name": "cosine"})
    out = tmp_path / "page.html"
    out.write_text("mine")
    assert report(parse_report([str(run), "-o", str(out)])) == 2
    assert "--force" in capsys.readouterr().err and out.read_text() == "mine"
    assert report(parse_report([str(tmp_path / "none"), "-o", str(tmp_path / "a.html")])) == 2
    assert "there is no" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert report(parse_report([str(run), "-o", str(tmp_path / "a.html")])) == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_the_file_must_end_in_html():
    with pytest.raises(SystemExit):
        parse_report(["run", "-o", "page.pdf"])
