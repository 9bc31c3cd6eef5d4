"""The whole command on run folders: 2021's lines, files written, exit codes."""

import csv
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.evaluation.runs import LONG_TAIL, make_file, make_run, scores_of, strip_meta
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import (
    parse_deterministic_script,
    parse_evaluate,
    parse_vmf_script,
)
from vmf_embeddings.embeddings import save_embeddings
from vmf_embeddings.evaluation import report
from vmf_embeddings.metrics import evaluate as evaluate_arrays

NUMBER = r"-?\d+\.\d{4}"


def run(parse, *words):
    return evaluate(parse([str(word) for word in words]))


def test_closed_set_prints_the_lines_of_2021(tmp_path, capsys):
    for seed in (1, 2, 3):
        make_run(tmp_path / f"s{seed}", {"name": "vmf"}, seed=seed, n_draws=4)
    assert run(parse_vmf_script, tmp_path, "--no-figures") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"\nPath {tmp_path}\nSplit: toy_test.npz\n\n=== softmax ===\n")
    line = re.search(
        rf"^Mean softmax: acc = ({NUMBER}) \+/- ({NUMBER}), ece = ({NUMBER}) \+/- ({NUMBER})$",
        out,
        re.MULTILINE,
    )
    found = [scores_of(tmp_path / f"s{seed}")["classification"] for seed in (1, 2, 3)]
    values = [f["accuracy"] for f in found], [f["ece_l2_equal_mass"] for f in found]
    error = [np.std(v) / np.sqrt(3) for v in values]
    expected = 100 * np.mean(values[0]), 100 * error[0], np.mean(values[1]), error[1]
    assert [float(text) for text in line.groups()] == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(
    ("geometry", "parse", "section"),
    [
        ("vmf", parse_vmf_script, "sampled_retrieval"),
        ("cosine", parse_deterministic_script, "retrieval"),
    ],
)
def test_open_set_prints_the_lines_of_2021(tmp_path, capsys, geometry, parse, section):
    make_run(tmp_path, {"name": geometry}, open_set=True)
    assert run(parse, tmp_path, "--no-figures") == 0
    out = capsys.readouterr().out
    scores = scores_of(tmp_path)[section]
    assert "\n=== retrieval ===\n" in out
    assert f"\nMean Recall@1: acc = {100 * scores['recall@1']:.4f} +/- 0.0000\n" in out
    assert f"\nMean mAP@R: val = {scores['map@r']:.4f} +/- 0.0000\n" in out


def test_2021_folder_with_hyperbolic_embeddings(tmp_path, capsys):
    folder = strip_meta(make_run(tmp_path, {"name": "poincare", "c": 0.1}, open_set=True))
    (folder / "main.train.log").write_text("{'c': 0.1}\n")
    assert run(parse_deterministic_script, folder, "hyperbolic", "--no-figures") == 0
    assert "Found c = 0.1" in capsys.readouterr().out
    from_log = scores_of(folder)["retrieval"]
    make_run(tmp_path / "new", {"name": "poincare", "c": 0.1}, open_set=True)
    run(parse_evaluate, tmp_path / "new", "--no-figures")
    assert scores_of(tmp_path / "new")["retrieval"] == from_log


@pytest.mark.parametrize(
    ("key", "field", "words"),
    [
        ("split_hash", "split hash", "hold embeddings of different images"),
        ("train_identity", "train identity", "were trained on different images"),
    ],
)
def test_runs_on_different_images_are_refused_unless_apart(tmp_path, capsys, key, field, words):
    make_run(tmp_path / "a", {"name": "cosine"}, **{**LONG_TAIL, key: "one"})
    # another method: it would not be averaged with the first, but compared
    make_run(tmp_path / "b", {"name": "cosine"}, **{**LONG_TAIL, key: "two"}, method="other")
    assert run(parse_evaluate, tmp_path, "--no-figures") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert "--apart" in captured.err
    assert not list(tmp_path.rglob("metrics.json"))
    assert run(parse_evaluate, tmp_path, "--no-figures", "--apart") == 0
    out = capsys.readouterr().out
    assert out.count("Mean softmax") == 2
    assert f"differ in {field}" in out


def test_long_tails_are_scored_by_groups_of_classes(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"}, **LONG_TAIL)
    assert run(parse_evaluate, folder, "--no-figures", "--many-above", "400") == 0
    out = capsys.readouterr().out
    table = out[out.index("a_method on") : out.index("Wrote")]
    assert "many > 400, medium 20 to 400, few < 20" in table
    assert max(len(line) for line in table.splitlines()) <= 80
    shots = scores_of(folder)["shots"]
    assert shots["train_pictures"] == {"many": "> 400", "medium": "20 to 400", "few": "< 20"}
    with open(folder / "per_class.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["group"] for row in rows] == ["many", "medium", "few"]
    assert [row["train_count"] for row in rows] == ["500", "60", "5"]
    assert {row["test_count"] for row in rows} == {"12"}
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx(shots[row["group"]], abs=1e-6)
        assert f"{100 * shots[row['group']]:.2f}  mean of 1 class, sampling error" in table


def test_groups_of_classes_are_averaged_over_replications(tmp_path, capsys):
    for seed in (1, 2, 3):
        make_run(tmp_path / f"s{seed}", {"name": "cosine"}, seed=seed, **LONG_TAIL)
    run(parse_evaluate, tmp_path, "--no-figures", "--json", tmp_path / "all.json")
    values = [scores_of(tmp_path / f"s{seed}")["shots"]["few"] for seed in (1, 2, 3)]
    mean, error = 100 * np.mean(values), 100 * np.std(values, ddof=1) / np.sqrt(3)
    line = re.search(r"Few-shot accuracy % +(\S+) \+/- (\S+)", capsys.readouterr().out)
    assert [float(text) for text in line.groups()] == pytest.approx([mean, error], abs=5.1e-3)
    collected = json.loads((tmp_path / "all.json").read_text())["groups"][0]["means"]["shots"]
    assert set(collected) == {"many", "medium", "few"}
    assert collected["few"]["mean"] == pytest.approx(np.mean(values))


def test_groups_without_a_class_are_left_out_and_said_so(tmp_path, capsys):
    counts = {**LONG_TAIL, "train_class_counts": [5000, 500, 200]}
    folder = make_run(tmp_path, {"name": "cosine"}, **counts)
    run(parse_evaluate, folder, "--no-figures")
    out = capsys.readouterr().out
    assert "there is no class with few training images" in out
    assert "Few-shot" not in out
    assert "few" not in scores_of(folder)["shots"]


@pytest.mark.parametrize(("split", "flatters"), [("test", True), ("valid", False), (None, False)])
def test_scores_of_the_split_that_chose_the_epoch_are_labelled(tmp_path, capsys, split, flatters):
    run(parse_evaluate, make_run(tmp_path, {"name": "cosine"}, selected_on=split), "--no-figures")
    assert ("best on test" in capsys.readouterr().out) == flatters
    assert scores_of(tmp_path)["selected_on"] == split


@pytest.mark.parametrize("counts", [None, [60, 60, 60], [60, 50, 40]])
def test_even_or_unknown_training_counts_make_no_groups(tmp_path, capsys, counts):
    folder = make_run(tmp_path, {"name": "cosine"}, train_class_counts=counts)
    run(parse_evaluate, folder, "--no-figures")
    assert "training images" not in capsys.readouterr().out
    assert "shots" not in scores_of(folder)
    assert not (folder / "per_class.csv").exists()


def test_metrics_of_other_splits_stay_and_json_collects_all(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"})
    make_run(folder, {"name": "cosine"}, split="valid")
    run(parse_evaluate, folder, "--no-figures", "--json", tmp_path / "all" / "scores.json")
    run(parse_evaluate, folder, "--no-figures", "--split", "valid")
    assert {"toy_test.npz", "toy_valid.npz"} <= set(
        json.loads((folder / "metrics.json").read_text())
    )
    collected = json.loads((tmp_path / "all" / "scores.json").read_text())["groups"][0]
    assert collected["n_replications"] == 1
    mean = collected["means"]["classification"]["accuracy"]["mean"]
    assert mean == scores_of(folder)["classification"]["accuracy"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_scores_without_value_are_null_in_json(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    path = folder / "toy_test.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["ids"] = np.arange(len(arrays["ids"]))
    np.savez(path, **arrays)
    assert run(parse_evaluate, folder, "--no-figures") == 0
    scores = scores_of(folder)
    assert scores["retrieval"]["map@r"] is None
    assert scores["retrieval"]["recall@1"] == 0
    assert scores["n_queries_without_positive"] == len(arrays["ids"])


ALL = "metrics=[recall,nmi,map,spectrum,spread]"


def test_metrics_are_scored_in_both_spaces_beside_the_usual_ones(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    run(parse_evaluate, folder, "--no-figures")
    plain, plain_out = scores_of(folder), capsys.readouterr().out
    assert run(parse_evaluate, folder, "--no-figures", ALL) == 0
    scores, out = scores_of(folder), capsys.readouterr().out
    assert {key: scores[key] for key in plain} == plain
    for line in plain_out.splitlines():
        assert line in out
    added = {"as_output", "normalised", "clustering", "log_spectra"}
    assert set(scores) - set(plain) == added
    file = make_file({"name": "cosine"}, open_set=True)
    expected = evaluate_arrays(file.embeddings, file.ids)
    assert scores["as_output"] == pytest.approx(expected.as_output, rel=1e-12)
    assert scores["normalised"] == pytest.approx(expected.normalised, rel=1e-12)
    assert scores["normalised"]["recall@1"] == scores["retrieval"]["recall@1"]
    assert scores["clustering"]["n_clusters"] == 3 and "against classes, k = 3\n" in out
    assert len(scores["log_spectra"]["as_output"]) == 3
    table = out[out.index("a_method on") : out.index("Wrote")]
    assert max(len(line) for line in table.splitlines()) <= 80
    line = re.search(r"mAP@1000 reference % +(\S+)", table)
    assert float(line[1]) == pytest.approx(
        100 * expected.as_output["map_at_1000_reference"], abs=5e-3
    )


def test_embeddings_of_length_1_are_not_scored_twice_over_in_the_table(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    file = make_file({"name": "cosine"}, open_set=True)
    unit = file.embeddings / np.linalg.norm(file.embeddings, axis=1, keepdims=True)
    save_embeddings(folder / "toy_test.npz", dataclasses.replace(file, embeddings=unit))
    assert run(parse_evaluate, folder, "--no-figures", ALL) == 0
    out = capsys.readouterr().out
    assert "Embeddings as output, of length 1: as below" in out
    assert out.count("Recall@10 %") == out.count("rho  ") == 1
    assert scores_of(folder)["as_output"]["recall@10"] == 1
    rows = [("NMI %", "99.00", "", "k-means"), ("rho", "0.1", "", "decay")]
    heading, kept = report._rows_that_differ(rows, [rows[1], ("NMI %", "98.00", "", "k-means")])
    assert heading.endswith("as below except") and kept == rows[:1]


def test_queries_and_gallery_are_said_so(tmp_path, capsys):
    file = make_file({"name": "cosine"}, open_set=True)
    asks = np.arange(len(file.ids)) % 3 == 0
    save_embeddings(
        tmp_path / "toy_test.npz", dataclasses.replace(file, is_query=asks, is_gallery=~asks)
    )
    words = "12 queries are compared with 24 gallery rows"
    run(parse_evaluate, tmp_path, "--no-figures")
    assert f"{words}.\n" in capsys.readouterr().out
    run(parse_evaluate, tmp_path, "--no-figures", "metrics=spread")
    assert f"{words}; clusters, spectrum and spread are of all 36 rows" in capsys.readouterr().out


@pytest.mark.parametrize("geometry", ["euclidean", "vmf", "poincare"])
def test_metrics_do_not_depend_on_the_geometry(tmp_path, geometry):
    constants = {"c": 0.1} if geometry == "poincare" else {}
    folder = make_run(tmp_path, {"name": geometry, **constants}, open_set=True)
    run(parse_evaluate, folder, "--no-figures", "metrics=[recall,map]", "--recall", "3")
    file = make_file({"name": "cosine"}, open_set=True)
    expected = evaluate_arrays(file.embeddings, file.ids, metrics=["recall", "map"], ks=[3])
    assert scores_of(folder)["as_output"] == pytest.approx(expected.as_output, rel=1e-12)
    assert scores_of(folder)["normalised"] == pytest.approx(expected.normalised, rel=1e-12)


def test_metrics_are_averaged_over_replications_with_standard_errors(tmp_path, capsys):
    for seed in (1, 2, 3):
        make_run(tmp_path / f"s{seed}", {"name": "cosine"}, seed=seed, open_set=True)
    run(parse_evaluate, tmp_path, "--no-figures", "metrics=[spread]", "--json", tmp_path / "a.json")
    values = [scores_of(tmp_path / f"s{seed}")["normalised"]["pi_ratio"] for seed in (1, 2, 3)]
    line = re.search(r"\n +pi +(\S+) \+/- (\S+)", capsys.readouterr().out)
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(3)
    assert [float(text) for text in line.groups()] == pytest.approx([mean, error], abs=5.1e-5)
    collected = json.loads((tmp_path / "a.json").read_text())["groups"][0]["means"]["normalised"]
    assert collected["pi_ratio"]["standard_error"] == pytest.approx(error)


def test_rows_left_out_of_k_means_are_said_so(tmp_path, capsys, monkeypatch):
    from vmf_embeddings.evaluation import spaces

    monkeypatch.setattr(spaces, "MOST_PAIRS", 50)
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    run(parse_evaluate, folder, "--no-figures", "metrics=nmi")
    assert "NMI and F1 over 24 of 36 rows" in capsys.readouterr().out
    assert scores_of(folder)["clustering"]["n_clusters"] == 2
    run(parse_evaluate, folder, "--no-figures", "metrics=nmi", "--nmi-all-rows")
    assert "NMI and F1 over" not in capsys.readouterr().out
    assert scores_of(folder)["clustering"]["n_clusters"] == 3


def test_without_faiss_nmi_exits_with_two_before_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    assert run(parse_evaluate, folder, "--no-figures", "metrics=nmi") == 2
    assert "pip install faiss-cpu" in capsys.readouterr().err


def test_runs_of_other_objectives_are_not_replications(tmp_path, capsys):
    for name in ("margin", "triplet"):
        make_run(
            tmp_path / name, {"name": "cosine"}, objective={"criterion": name, "miner": "none"}
        )
    run(parse_evaluate, tmp_path, "--no-figures")
    out = capsys.readouterr().out
    assert "a_method criterion=margin on toy" in out
    assert "they differ in objective" in out
    assert scores_of(tmp_path / "margin")["objective"] == {"criterion": "margin", "miner": "none"}


def test_search_backends_give_the_same_numbers(tmp_path):
    folder = make_run(tmp_path, {"name": "cosine"}, dim=40, open_set=True)
    found = []
    for backend in ("torch", "faiss"):
        run(parse_evaluate, folder, "--no-figures", f"search={backend}", "--recall", "1", "10")
        found.append(scores_of(folder)["retrieval"])
    assert found[0] == found[1]
    assert "recall@10" in found[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["."], "mode=get_embeddings run=."),
    ],
)
def test_what_cannot_be_found_exits_with_two(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(parse_evaluate, *words) == 2
    assert message in capsys.readouterr().err


def test_a_file_with_nan_is_named_and_exits_with_two(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"})
    path = folder / "toy_test.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["embeddings"][3, 1] = np.nan
    np.savez(path, **arrays)
    assert run(parse_evaluate, folder, "--no-figures") == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "NaN" in error


def test_faiss_for_the_poincare_ball_exits_with_two(tmp_path, capsys):
    make_run(tmp_path, {"name": "poincare", "c": 0.1}, open_set=True)
    assert run(parse_evaluate, tmp_path, "search=faiss", "--no-figures") == 2
    assert "search=torch" in capsys.readouterr().err


def test_the_table_fits_eighty_columns(tmp_path, capsys):
    for seed in (1, 2):
        make_run(tmp_path / f"s{seed}", {"name": "vmf"}, seed=seed, n_draws=4)
    run(parse_evaluate, tmp_path, "--no-figures")
    out = capsys.readouterr().out
    table = out[out.index("a_method on") : out.index("Wrote")]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "Brier" in table
    assert "\x1b" not in out


def test_a_script_of_2021_runs_as_a_program(tmp_path):
    make_run(tmp_path, {"name": "cosine"})
    done = subprocess.run(
        [sys.executable, "-m", "vmf_embeddings.third_party.pytorch_metric_learning."
         "compute_deterministic_performance_metrics", str(tmp_path), "l2", "--no-figures"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Mean softmax: acc = " in done.stdout


def test_the_standard_error_of_one_run_is_printed_by_the_scripts_of_2021_alone(tmp_path, capsys):
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    run(parse_evaluate, folder, "--no-figures", "--json", tmp_path / "all.json")
    out = capsys.readouterr().out
    assert "+/-" not in out
    assert re.search(rf"^Mean Recall@1: acc = {NUMBER} \(n=1\)$", out, re.MULTILINE)
    means = json.loads((tmp_path / "all.json").read_text())["groups"][0]["means"]
    assert means["retrieval"]["recall@1"]["standard_error"] is None
    run(parse_deterministic_script, folder, "--no-figures")
    assert "+/- 0.0000" in capsys.readouterr().out


def test_results_that_cannot_be_written_exit_with_one_after_all_others(tmp_path, capsys):
    folder = make_run(tmp_path / "run", {"name": "cosine"}, open_set=True)
    (tmp_path / "file").write_text("")
    assert run(parse_evaluate, folder, "--no-figures", "--json", tmp_path / "file" / "x.json") == 1
    printed = capsys.readouterr()
    assert "=== retrieval ===" in printed.out
    assert "not everything could be written" in printed.err
    assert f"Wrote metrics.json in {folder}" in printed.out
    assert scores_of(folder)["retrieval"]


def test_figures_that_cannot_be_written_exit_with_one(tmp_path, capsys, monkeypatch):
    from vmf_embeddings.evaluation import figures

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(figures, "draw_all", full)
    folder = make_run(tmp_path, {"name": "cosine"}, open_set=True)
    assert run(parse_evaluate, folder) == 1
    assert "No space left" in capsys.readouterr().err
    assert scores_of(folder)["retrieval"]


def test_a_file_that_cannot_be_read_exits_with_two(tmp_path, capsys, monkeypatch):
    from vmf_embeddings.evaluation import loading

    def denied(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(loading, "read_with_notes", denied)
    assert run(parse_evaluate, make_run(tmp_path, {"name": "cosine"})) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_sweep_is_averaged_by_settings_which_stand_above_the_scores(tmp_path, capsys):
    for rate in (0.1, 0.01):
        for seed in (1, 2):
            folder = tmp_path / f"mode.learning_rate={rate},random_seed={seed}"
            make_run(folder, {"name": "cosine"}, seed=seed + int(rate * 100), open_set=True)
    assert run(parse_evaluate, tmp_path, "--no-figures", "--json", tmp_path / "all.json") == 0
    out = capsys.readouterr().out
    head = "4 files in 2 groups, which differ in mode.learning_rate:"
    assert out.startswith(head)
    assert out.count("mode.learning_rate=0.1: 2 replications") == 1
    assert out.count("mode.learning_rate=0.01: 2 replications") == 1
    groups = json.loads((tmp_path / "all.json").read_text())["groups"]
    assert [one["settings"]["mode.learning_rate"] for one in groups] == ["0.01", "0.1"]
    assert [one["n_replications"] for one in groups] == [2, 2]
