"""Summaries: tables over recipes, correlations over runs, figures, mistakes."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import yaml

from vmf_embeddings.cli.summarize import summarize
from vmf_embeddings.cli.summarize_arguments import parse_summarize
from vmf_embeddings.evaluation.summary.correlation import line, matrix, pearson
from vmf_embeddings.evaluation.summary.figures import (
    draw_correlations,
    draw_ranking,
    draw_structure,
)
from vmf_embeddings.evaluation.summary.runs import Run, find_runs
from vmf_embeddings.evaluation.summary.table import table

STRUCTURE = ("rho@1", "rho@2", "pi_ratio", "intra", "inter", "uniformity_g2")


def write(folder, hits, *, split="test", dataset="toy", seed=0, **meta):
    """A `metrics.json` whose measures of structure are known functions of Recall@1."""
    structure = dict(zip(STRUCTURE, (1 - hits, hits**2, 2 - hits, 0.5, hits, 0.1), strict=True))
    entry = {
        "dataset": dataset, "split": split, "method": "a_method", "seed": seed,
        "split_hash": "abc" * 20, "train_identity": None,
        "retrieval": {"recall@1": hits, "map@r": hits / 2},
        "as_output": {"nmi": 0.1, "rho@1": 0.9}, "normalised": {"nmi": hits / 3, **structure},
        **meta,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.json"
    content = json.loads(path.read_text()) if path.exists() else {"schema": 1}
    path.write_text(json.dumps(content | {f"{dataset}_{split}.npz": entry}))


def write_two_recipes(root):
    for recipe, start in (("margin", 0.6), ("softmax", 0.5)):
        for seed in (1, 2, 3):
            write(root / "toy" / "dml" / f"{recipe}_s{seed}", start + 0.01 * seed, seed=seed)


def run(*words):
    return summarize(parse_summarize([str(word) for word in words]))


def found(*words):
    return find_runs(parse_summarize([str(word) for word in words]))


def test_the_table_has_means_and_errors_of_recipes_best_first(tmp_path, capsys):
    write_two_recipes(tmp_path / "runs")
    assert run(tmp_path / "runs", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "6 runs of 2 recipes" in out
    first, second = (line.split() for line in out.splitlines() if "±" in line and "." in line)
    error = 100 * np.std([0.61, 0.62, 0.63], ddof=1) / math.sqrt(3)
    half = 4.302652729911275 * error  # of Student's 95 % interval for three runs
    assert first[:4] == ["margin", "3", f"62.00±{half:.2f}", f"31.00±{half / 2:.2f}"]
    assert second[0] == "softmax"
    with open(tmp_path / "out" / "recipes.csv", newline="") as stream:
        rows = {(r["recipe"], r["score"]): r for r in csv.DictReader(stream)}
    assert float(rows["margin", "recall@1"]["mean"]) == pytest.approx(0.62)
    assert float(rows["margin", "recall@1"]["standard_error"]) == pytest.approx(error / 100)
    ends = [100 * float(rows["margin", "recall@1"][end]) for end in ("low", "high")]
    assert ends == pytest.approx([62 - half, 62 + half])
    assert rows["softmax", "nmi"]["n"] == "3"
    with open(tmp_path / "out" / "runs.csv", newline="") as stream:
        single = list(csv.DictReader(stream))
    assert [float(row["recall@1"]) for row in single] == [0.61, 0.62, 0.63, 0.51, 0.52, 0.53]
    assert {row["seed"] for row in single} == {"1", "2", "3"}
    for name in ("ranking.png", "structure.png", "correlations.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_recipes_are_what_paths_share_without_their_seeds(tmp_path):
    jobs = "experiment=demo,method=dml,random_seed={}"
    for seed in (1, 2):
        write(tmp_path / "sweep" / jobs.format(seed), 0.5)
        write(tmp_path / "sweep" / f"random_seed={seed},criterion=npair", 0.5)
        write(tmp_path / "sweep" / f"pa-seed{seed}", 0.5)
    labels = {r.label for r in found(tmp_path / "sweep")}
    assert labels == {"experiment=demo,method=dml", "criterion=npair", "pa"}
    # jobs of one sweep are called by what tells them apart
    for seed in (1, 2):
        for rate in (0.1, 0.2):
            write(tmp_path / "sweep2" / f"miner=distance,lr={rate},random_seed={seed}", 0.5)
    assert {r.label for r in found(tmp_path / "sweep2")} == {"lr=0.1", "lr=0.2"}
    assert {r.label for r in found(tmp_path / "sweep" / "pa-seed1")} == {"pa"}
    for seed in (1, 2):
        write(tmp_path / "plain" / f"random_seed={seed}", 0.5)
    assert {r.label for r in found(tmp_path / "plain")} == {"a_method"}
    # a number at the end is the seed where it is the run's own
    for seed in (1, 2):
        for name in (f"margin_{seed}", f"margin-06_{seed}", "pool_2"):
            write(tmp_path / "named" / f"{seed}" / name, 0.5, seed=seed)
    labels = {r.folder.name: r.label for r in found(tmp_path / "named" / "1")}
    assert labels == {"margin_1": "margin", "margin-06_1": "margin-06", "pool_2": "pool_2"}
    for name in ("toy", "margin"):  # a run may have the name of its data set
        write(tmp_path / "alike" / "toy" / "dml" / name, 0.5, dataset="toy")
    assert {r.label for r in found(tmp_path / "alike")} == {"toy", "margin"}


def test_jobs_whose_names_were_cut_are_known_by_their_record(tmp_path):
    for seed, digest in ((1, "0a1b2c3d"), (2, "4e5f6a7b")):
        for method in ("dml", "nir"):
            job = tmp_path / method / f"optimizer=adam,schedule.params.miles~{digest}"
            write(job, 0.5, seed=seed)
            (job / ".hydra_train").mkdir()
            words = ["optimizer=adam", "schedule.params.milestones=[1,2]", f"random_seed={seed}"]
            (job / ".hydra_train" / "overrides.yaml").write_text(yaml.safe_dump(words))
    assert [r.label for r in found(tmp_path)] == ["dml", "dml", "nir", "nir"]


def test_structure_may_be_that_of_another_split_and_space_is_chosen(tmp_path, capsys):
    write(tmp_path / "a", 0.5)
    write(tmp_path / "a", 0.9, split="train")
    (own,) = found(tmp_path)
    assert (own.scores["recall@1"], own.scores["rho@1"]) == (0.5, 0.5)
    (other,) = found(tmp_path, "--structure-split", "train")
    assert (other.scores["recall@1"], other.scores["nmi"]) == (0.5, 0.5 / 3)
    assert other.scores["rho@1"] == pytest.approx(0.1)
    (raw,) = found(tmp_path, "--space", "as_output")
    assert (raw.scores["rho@1"], raw.scores["nmi"], raw.scores["pi_ratio"]) == (0.9, 0.1, 1.5)
    assert run(tmp_path, "--structure-split", "valid") == 2
    assert "--split valid" in capsys.readouterr().err


def runs_of(**columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [
        Run(None, f"r{i % 2}", "toy", i, dict(zip(names, row, strict=True)))
        for i, row in enumerate(rows)
    ]


def test_pearson_and_line_equal_an_independent_fit_and_know_their_limits():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-14)
    assert pearson(3 * x - 1, -2 * y) == pytest.approx(-pearson(x, y), abs=1e-14)
    assert line(x, y) == pytest.approx(tuple(np.polyfit(x, y, 1)), abs=1e-12)
    assert pearson(x, 2 * x + 1) == pytest.approx(1)
    assert math.isnan(pearson(x[:2], y[:2]))
    assert math.isnan(pearson(x, np.full(20, 0.1)))
    x[3] = math.nan
    kept = np.arange(20) != 3
    assert pearson(x, y) == pytest.approx(np.corrcoef(x[kept], y[kept])[0, 1], abs=1e-14)


def test_the_ranking_has_the_best_recipe_above_with_the_interval_of_its_mean():
    runs = runs_of(**{"recall@1": [0.5, 0.51, 0.9, 0.89]})
    runs = [dataclasses.replace(run, label="ab"[i // 2]) for i, run in enumerate(runs)]
    axes = draw_ranking(runs, "title").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]  # from below
    whiskers = [container[2][0].get_segments()[0] for container in axes.containers]
    error = 12.706204736432095 * 100 * np.std([0.5, 0.51], ddof=1) / math.sqrt(2)
    assert [line.tolist() for line in whiskers] == [
        pytest.approx(np.array([[mean - error, place], [mean + error, place]]))
        for place, mean in enumerate((50.5, 89.5))
    ]
    assert draw_ranking(runs[:2], "title") is None


def test_recipes_of_a_sweep_over_methods_have_different_names_that_fit():
    runs = runs_of(**{"recall@1": [0.5, 0.9]})
    job = "3dim/demo/experiment=demo,mode.epochs=1"
    labels = [f"{method}/{job}" for method in ("arcface", "normalized_sce")]
    runs = [dataclasses.replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
    names = [line.split()[0] for line in table(runs)[1:]]
    assert [name.partition("…")[0][:7] for name in names] == ["normali", "arcface"]
    figure = draw_ranking(runs, "title")
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(set(ticks)) == 2
    figure.canvas.draw()
    extent = figure.get_tightbbox()
    assert extent.x0 >= 0 and extent.x1 <= figure.get_figwidth()


def test_structure_shows_every_run_and_its_correlation():
    hits = [0.5, 0.6, 0.9, 0.7]
    runs = runs_of(**{"recall@1": hits, "rho@1": [4.0, 3.0, 2.5, 1.0], "pi_ratio": [1.0] * 4})
    decay, ratio = draw_structure(runs, "title").axes
    points = [line.get_xydata() for line in decay.lines if line.get_linestyle() == "None"]
    shown = np.concatenate(points)
    shown = shown[shown[:, 0].argsort()]
    np.testing.assert_allclose(shown, [[1.0, 70], [2.5, 90], [3.0, 60], [4.0, 50]])
    r = np.corrcoef([4, 3, 2.5, 1], hits)[0, 1]
    assert decay.get_title() == f"r = −{-r:.2f}"
    assert ratio.get_title() == "r is undefined"
    assert draw_structure(runs[:2], "title") is None


def test_correlations_stand_below_the_diagonal_and_skip_what_nobody_has():
    runs = runs_of(**{
        "recall@1": [0.5, 0.6, 0.7], "nmi": [0.1, 0.2, 0.3], "rho@1": [3.0, 2.0, math.inf],
        "map@r": [0.3, 0.2, 0.4],
    })  # fmt: skip
    axes = draw_correlations(runs, "title").axes[0]
    assert [text.get_text() for text in axes.texts] == [".50", "1.00", ".50"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MAP@R", "NMI"]
    assert draw_correlations(runs[:2], "title") is None
    found = matrix(runs, ["recall@1", "nmi", "rho@1"])
    assert found[0, 1] == pytest.approx(1)
    assert np.isnan(found[2]).all()


def test_runs_without_the_scores_are_listed_and_the_command_is_named(tmp_path, capsys):
    for number in range(3):
        write(tmp_path / f"run{number}", 0.5, normalised={}, as_output={})
    assert run(tmp_path, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "3 of these runs lack scores" in said.out
    assert "metrics=all" in said.out
    assert "No structure.png" in said.err
    assert "rho" not in table(found(tmp_path))[0]


@pytest.mark.parametrize("key", ["split_hash", "train_identity"])
def test_runs_on_different_images_are_refused(tmp_path, capsys, key):
    write(tmp_path / "a", 0.5, **{key: "one"})
    write(tmp_path / "b", 0.5, **{key: "two"})
    assert run(tmp_path) == 2
    assert "different images of toy" in capsys.readouterr().err
    assert not (tmp_path / "summary").exists()


def test_what_cannot_be_found_exits_with_two(tmp_path, capsys):
    assert run(tmp_path / "nowhere") == 2
    assert "there is no" in capsys.readouterr().err
    assert run(tmp_path) == 2
    assert f"vmf_embeddings.evaluate {tmp_path} metrics=all" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text("{")
    assert run(tmp_path) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_a_summary_that_cannot_be_written_exits_with_one_and_is_printed(tmp_path, capsys):
    write_two_recipes(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "runs", "--out", tmp_path / "file" / "out") == 1
    printed = capsys.readouterr()
    assert "not everything could be written" in printed.err
    assert "R@1" in printed.out


def closed(accuracy, few, **meta):
    """What an entry of a closed set with a long tail has: better accuracy, worse Recall@1."""
    return {
        "open_set": False, "classification": {"accuracy": accuracy, "nll": 0.5},
        "shots": {"many": 0.9, "few": few, "standard_error": {"many": 0.1}, "n_classes": {}},
        **meta,
    }  # fmt: skip


def test_closed_sets_are_shown_and_ranked_by_accuracy_with_their_shots(tmp_path, capsys):
    for name, accuracy, hits in (("good", 0.8, 0.3), ("bad", 0.6, 0.7)):
        for seed in (1, 2):
            write(tmp_path / "runs" / f"{name}_s{seed}", hits, **closed(accuracy, 0.2))
    assert run(tmp_path / "runs", "--out", tmp_path / "out", "--no-figures") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    head = lines.index(next(line for line in lines if line[:1] == ["recipe"]))
    assert lines[head][:6] == ["recipe", "runs", "accuracy", "many", "few", "R@1"]
    assert lines[head + 1][:3] == ["good", "2", "80.00±0.00"]
    assert lines[head + 1][4] == "20.00±0.00"
    with open(tmp_path / "out" / "runs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    first = ["classification.accuracy", "shots.many", "shots.few", "recall@1"]
    assert list(rows[0])[4:8] == first
    assert [float(row["classification.accuracy"]) for row in rows] == [0.6, 0.6, 0.8, 0.8]
    assert "shots.n_classes" not in rows[0]
    assert run(tmp_path / "runs", "--no-figures", "--rank-by", "recall@1", "--out", tmp_path) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[head][2] == "R@1" and lines[head + 1][0] == "bad"


@pytest.mark.parametrize(("rank_by", "best", "label"), [(None, "a", "accuracy %"),
                                                       ("recall@1", "b", "R@1 %")])  # fmt: skip
def test_the_ranking_is_by_the_score_of_the_task_or_the_one_asked_for(rank_by, best, label):
    names = ("classification.accuracy", "recall@1")
    runs = [
        Run(None, name, "toy", 0, dict(zip(names, pair, strict=True)), open_set=False)
        for name, pair in (("a", (0.8, 0.3)), ("b", (0.6, 0.7)))
    ]
    axes = draw_ranking(runs, "title", rank_by).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()][-1] == best
    assert axes.get_xlabel() == label


def test_open_sets_keep_retrieval_first(tmp_path):
    write(tmp_path / "a", 0.5, open_set=True, classification={"accuracy": 0.9})
    assert table(found(tmp_path))[0].split()[2:4] == ["R@1", "MAP@R"]


def test_a_score_that_no_run_has_is_no_ranking_and_those_there_are_named(tmp_path, capsys):
    write(tmp_path / "a", 0.5)
    assert run(tmp_path, "--rank-by", "accuracy") == 2
    said = capsys.readouterr().err
    assert "no run of toy has the score accuracy; rank by one of recall@1, map@r, nmi" in said


def test_data_sets_whose_names_differ_in_signs_alone_have_figures_of_their_own(tmp_path):
    for dataset in ("a-b", "a b", "A_b", "c"):
        for recipe in ("one", "two"):
            write(tmp_path / "runs" / f"{dataset}_{recipe}", 0.5, dataset=dataset)
    assert run(tmp_path / "runs", "--out", tmp_path / "out") == 0
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*ranking.png"))
    assert len({name.casefold() for name in drawn}) == 4
    assert drawn[-1] == "c_ranking.png"


def test_single_runs_have_no_standard_error(tmp_path, capsys):
    write(tmp_path / "a", 0.5, **closed(0.8, 0.2))
    assert run(tmp_path, "--out", tmp_path / "out", "--no-figures") == 0
    assert "±0" not in capsys.readouterr().out
    with open(tmp_path / "out" / "recipes.csv", newline="") as stream:
        assert {row["standard_error"] for row in csv.DictReader(stream)} == {""}


def test_the_standard_error_stands_after_the_mean_on_request(tmp_path, capsys):
    write_two_recipes(tmp_path / "runs")
    assert run(tmp_path / "runs", "--no-figures", "--error", "se", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    error = 100 * np.std([0.61, 0.62, 0.63], ddof=1) / math.sqrt(3)
    assert f"62.00±{error:.2f}" in out and "mean±standard error" in out


def heads(out):
    line = next(line for line in out.splitlines() if line.strip().startswith("recipe"))
    return [part.strip() for part in line.strip().split("  ") if part.strip()]


def test_named_scores_and_all_follow_that_of_the_task(tmp_path, capsys):
    scores = {"accuracy": 0.8, "nll": 1.5, "brier": 0.25}
    tables = {"uncertainty": {"norm/retrieval/auroc": 0.7, "x": "text"}}
    write(tmp_path / "runs" / "a", 0.5, open_set=False, classification=scores, **tables)
    base = (tmp_path / "runs", "--no-figures", "--out", tmp_path / "out")
    assert run(*base, "--scores", "nll,map@r", "shots.many") == 2
    assert "no run has the score shots.many; there are" in capsys.readouterr().err
    assert run(*base, "--scores", "nll,map@r", "uncertainty/norm/retrieval/auroc") == 0
    out = capsys.readouterr().out
    assert heads(out)[2:] == ["accuracy", "NLL, nats", "MAP@R", "uncertainty/norm/retrieval/auroc"]
    assert "1.5000" in out and "80.00" in out
    assert run(*base, "--all") == 0
    found = heads(capsys.readouterr().out)
    assert found[2] == "accuracy" and {"Brier", "NLL, nats", "R@1", "alignment"} - set(found) == {
        "alignment"
    }
    with open(tmp_path / "out" / "runs.csv", newline="") as stream:
        row = next(csv.DictReader(stream))
    assert float(row["uncertainty/norm/retrieval/auroc"]) == 0.7 and "uncertainty/x" not in row


def test_tables_are_written_as_csv_markdown_and_latex(tmp_path, capsys):
    write_two_recipes(tmp_path / "runs")
    words = ("--no-figures", "--format", "csv", "markdown", "latex", "--out", tmp_path / "out")
    assert run(tmp_path / "runs", *words) == 0
    assert "table.csv, table.md, table.tex" in capsys.readouterr().out
    with open(tmp_path / "out" / "table.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0][:3] == ["recipe", "runs", "R@1"] and rows[1][2].startswith("62.00±")
    markdown = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert markdown[0].startswith("toy (test): 6 runs of 2 recipes")
    assert markdown[4].startswith("| margin | 3 | 62.00±")
    latex = (tmp_path / "out" / "table.tex").read_text()
    assert r"62.00$\pm$" in latex and latex.count(r" \\") == 3 and "half of the 95 %" in latex


def test_runs_of_one_name_that_differ_in_settings_are_recipes_of_their_own(tmp_path, capsys):
    for seed, rate in ((1, 0.1), (2, 0.1), (3, 0.5)):
        folder = tmp_path / "runs" / f"m_s{seed}"
        write(folder, 0.5 + 0.01 * seed, seed=seed)
        config = {"mode": {"learning_rate": rate}, "random_seed": seed,
                  "method": {"teacher_run": f"/runs/t_s{seed}"}}  # fmt: skip
        (folder / ".hydra_train").mkdir()
        (folder / ".hydra_train" / "config.yaml").write_text(yaml.safe_dump(config))
    assert run(tmp_path / "runs", "--no-figures", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "3 runs of 2 recipes" in out
    labels = {one.label for one in found(tmp_path / "runs")}
    assert {label.partition(" (")[2] for label in labels} == {
        "mode.learning_rate=0.1)", "mode.learning_rate=0.5)",
    }  # fmt: skip


def test_a_single_run_has_the_interval_over_rows_that_it_was_scored_with(tmp_path):
    for name, hits in (("a", 0.5), ("b", 0.7)):
        stored = {"retrieval/recall@1": {"unit": "classes", "low": hits - 0.1, "high": hits + 0.05},
                  "retrieval/map@r": {"low": None, "high": "x"}, "x": 3}  # fmt: skip
        write(tmp_path / "runs" / name, hits, significance=stored)
    runs = found(tmp_path / "runs")
    assert runs[0].intervals == {"recall@1": pytest.approx((0.4, 0.55))}
    axes = draw_ranking(runs, "title").axes[0]
    whiskers = [container[2][0].get_segments()[0] for container in axes.containers]
    expected = [[[hits - 10, place], [hits + 5, place]] for place, hits in enumerate((50, 70))]
    assert [line.tolist() for line in whiskers] == [pytest.approx(np.array(e)) for e in expected]
