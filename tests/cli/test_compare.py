"""The command `compare`: two recipes on the same rows, and a run beside its published figures."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.evaluation.runs import make_run
from tests.evaluation.test_significance import open_run
from vmf_embeddings.cli.commands import COMMANDS, run_command
from vmf_embeddings.cli.compare import compare
from vmf_embeddings.cli.compare_arguments import compare_parser, parse_compare
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.evaluation.published import PUBLISHED, published
from vmf_embeddings.metrics.t_tests import paired_t, welch

RECIPES = Path(__file__).parents[2] / "vmf_embeddings" / "conf" / "experiment"


def run(*words) -> int:
    return compare(parse_compare([str(word) for word in words]))


def seeds_of(folder, seeds, gain=1.0):
    for seed in seeds:
        open_run(folder / f"m_s{seed}", seed=seed, gain=gain)
    return folder


def record(folder, config, overrides=()):
    place = folder / ".hydra_train"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    return folder


def test_two_runs_are_compared_row_by_row_with_what_differs_and_the_classes(tmp_path, capsys):
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b", seed=1, gain=1.4)
    record(a, {"mode": {"learning_rate": 0.1}, "random_seed": 0})
    record(b, {"mode": {"learning_rate": 0.5}, "random_seed": 1})
    names = tmp_path / "c.json", tmp_path / "c.csv"
    assert run(a, b, "--resample", 300, "--json", names[0], "--csv", names[1]) == 0
    out = capsys.readouterr().out
    assert "B against A, row by row (300 draws)" in out and "other classes" in out
    assert "mode.learning_rate: 0.1 -> 0.5" in out and "random_seed" not in out
    assert "A and B are one run each: what other seeds would change is not known" in out
    found = json.loads(names[0].read_text())["comparisons"][0]
    one = found["scores"]["retrieval/recall@1"]
    assert one["verdict"] == "better" and one["over_seeds"]["p_holm"] is None
    assert one["difference"] == pytest.approx(one["b"] - one["a"])
    assert one["classes"]["low"] < one["difference"] < one["classes"]["high"]
    assert found["differs_in"] == {"mode.learning_rate": ["0.1", "0.5"]}
    # classes of equal size: the mean over classes is the difference
    differences = [c["difference"] for c in found["classes"]]
    assert np.mean(differences) == pytest.approx(one["difference"])
    assert differences == sorted(differences, reverse=True)
    first = found["classes"][0]
    assert f"gained most: {first['name']} {100 * first['difference']:+.1f} (10 rows)" in out
    with open(names[1], newline="") as stream:
        line = next(csv.DictReader(stream))
    assert float(line["difference"]) == pytest.approx(one["difference"])
    assert (line["unit"], line["verdict"]) == ("classes", "better")
    assert not (a / "metrics.json").exists() and not (b / "metrics.json").exists()


def test_swapping_the_runs_turns_every_sign(tmp_path, capsys):
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b", seed=1, gain=1.1)
    found = []
    for order in ((a, b), (b, a)):
        assert run(*order, "--resample", 100, "--json", tmp_path / "c.json") == 0
        found.append(json.loads((tmp_path / "c.json").read_text())["comparisons"][0]["scores"])
    for key, one in found[0].items():
        other = found[1][key]
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["p"] == other["p"]
        assert (one["rows_better"], one["rows_worse"]) == (
            other["rows_worse"],
            other["rows_better"],
        )
        assert one["classes"]["low"] == pytest.approx(-other["classes"]["high"])


def test_a_copy_of_a_run_differs_nowhere(tmp_path, capsys):
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b")
    assert run(a, b, "--resample", 50) == 0
    out = capsys.readouterr().out
    assert "not told apart in any score" in out
    assert "Nothing differs in what is recorded of both" in out
    assert "gained most" not in out


@pytest.mark.parametrize("seeds", [(0, 1, 2), (5, 6, 7)])
def test_seeds_are_compared_in_pairs_where_they_are_shared_else_by_welch(tmp_path, capsys, seeds):
    a, b = seeds_of(tmp_path / "a", (2, 0, 1)), seeds_of(tmp_path / "b", seeds, gain=1.3)
    assert run(a, b, "--resample", 100, "--json", tmp_path / "c.json") == 0
    found = json.loads((tmp_path / "c.json").read_text())["comparisons"][0]
    one = found["scores"]["retrieval/map@r"]
    shared = seeds == (0, 1, 2)
    test = paired_t if shared else welch
    # the runs are in the order of their names, so by seed
    expected = test(one["a_runs"], one["b_runs"])
    assert one["over_seeds"]["p"] == pytest.approx(expected.p)
    assert one["over_seeds"]["low"] == pytest.approx(expected.low)
    out = capsys.readouterr().out
    assert ("paired t" if shared else "Welch's t") + ", 3 and 3 runs" in out
    assert "The runs' recall@1: A " in out
    assert one["difference"] == pytest.approx(np.mean(one["b_runs"]) - np.mean(one["a_runs"]))


def test_what_rows_tell_apart_and_seeds_do_not_is_not_told_apart(tmp_path, capsys):
    a = seeds_of(tmp_path / "a", (0, 1))
    b = tmp_path / "b"
    open_run(b / "m_s0", seed=0, gain=1.3)
    open_run(b / "m_s1", seed=1, gain=1.05)
    assert run(a, b, "--resample", 100, "--json", tmp_path / "c.json") == 0
    one = json.loads((tmp_path / "c.json").read_text())["comparisons"][0]["scores"]
    one = one["retrieval/map@r"]
    assert one["p_holm"] < 0.05 < one["over_seeds"]["p_holm"]
    assert one["verdict"] == "not told apart"


def test_settings_of_one_folder_are_compared_with_one_another(tmp_path, capsys):
    for rate, gain in ((0.1, 1.0), (0.5, 1.3)):
        for seed in (0, 1):
            name = f"mode.learning_rate={rate},random_seed={seed}"
            open_run(tmp_path / "runs" / name, seed=seed, gain=gain)
    assert run(tmp_path / "runs", "--resample", 50) == 0
    out = capsys.readouterr().out
    assert "(mode.learning_rate=0.1): 2 runs" in out and "(mode.learning_rate=0.5): 2 runs" in out
    assert "B against A" in out and "mode.learning_rate: 0.1 -> 0.5" in out


def test_closed_sets_are_tested_over_rows_by_accuracy_and_sections_take_part(tmp_path, capsys):
    runs = [make_run(tmp_path / name, {"name": "cosine"}, seed=s) for s, name in enumerate("abc")]
    assert run(*runs, "--resample", 50, "--metrics", "uncertainty", "--classes", 1) == 0
    out = capsys.readouterr().out
    assert "B against A" in out and "C against A" in out and "other rows" in out
    assert "Classes by Accuracy, of 3" in out or "gained most" not in out
    assert "AUROC, norm, retrieval %" in out
    assert run(*runs[:2], "--resample", 50, "--unit", "classes") == 0
    out = capsys.readouterr().out
    assert "of 3 classes only" in out and "flips of signs give p >= 1; compare --unit rows" in out


def test_files_of_other_programs_are_compared_by_their_classes_and_that_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.repeat(["cat", "dog", "owl"], 10)
    for name in ("a", "b"):
        rows = np.repeat(np.eye(3), 10, axis=0) + rng.normal(size=(30, 3))
        np.savez(tmp_path / f"{name}.npz", embeddings=rows, labels=labels)
    files = tmp_path / "a.npz", tmp_path / "b.npz"
    assert run(*files, "--resample", 50) == 0
    out = capsys.readouterr().out
    assert "taken to be the same by their classes" in out and "B against A" in out
    words = ["--against", str(files[1]), "--resample", "50", "--no-figures"]
    assert evaluate(parse_evaluate([str(files[0]), *words])) == 0
    assert "taken to be the same by their classes" in capsys.readouterr().out
    np.savez(files[1], embeddings=np.eye(30), labels=labels[::-1])
    assert run(*files) == 2
    assert "20 rows have other classes, the first of them row 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split_hash": "other"}, "they hold other images (split hash abc… and other…)"),
        ({"dataset": "another"}, "name runs of one data set"),
    ],
)
def test_what_cannot_be_compared_exits_with_two(tmp_path, capsys, change, words):
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b", **change)
    assert run(a, b) == 2
    assert words in capsys.readouterr().err
    assert run(a, a) == 2
    assert "leads to nothing that a path before it does not" in capsys.readouterr().err
    assert run(tmp_path / "none") == 2


def test_an_epoch_chosen_here_is_named(tmp_path, capsys):
    a, b = open_run(tmp_path / "a", selected_on="test"), open_run(tmp_path / "b", seed=1)
    assert run(a, b, "--resample", 50) == 0
    assert f"Chosen here: the epoch of {a}" in capsys.readouterr().out


def test_results_that_cannot_be_written_exit_with_one_and_are_printed(tmp_path, capsys):
    a, b = open_run(tmp_path / "a"), open_run(tmp_path / "b", seed=1)
    (tmp_path / "file").write_text("")
    assert run(a, b, "--resample", 50, "--csv", tmp_path / "file" / "x.csv") == 1
    captured = capsys.readouterr()
    assert "B against A" in captured.out and "not everything could be written" in captured.err


def published_run(folder, imbalance, overrides, **meta):
    config = {"dataset": {"params": {"imbalance_factor": imbalance}}, "loss": {"name": "ldam"}}
    own = make_run(folder, {"name": "cosine"}, dataset="cifar100_lt", **meta)
    return record(own, config, ["experiment=cifar100_lt_ldam", *overrides])


def test_a_run_alone_is_shown_beside_the_figure_of_its_recipe(tmp_path, capsys):
    typed = ["dataset.params.dataset_path=/data", "mode.epochs=3", "random_seed=4"]
    folder = published_run(tmp_path / "a", 100, typed, selected_on="valid")
    assert run(folder, "--resample", 50, "--json", tmp_path / "c.json") == 0
    out = capsys.readouterr().out
    assert "experiment=cifar100_lt_ldam (BagofTricks-LT, https://github.com/zhangyongshun" in out
    line = next(line for line in out.splitlines() if line.strip().startswith("Accuracy %"))
    assert "42.47" in line and "theirs is below our interval" in line
    assert "Changed from the recipe: mode.epochs=3\n" in out
    assert "Their epoch was chosen on the test split" in out
    found = json.loads((tmp_path / "c.json").read_text())["beside_published"]
    assert found["recipe"] == "cifar100_lt_ldam" and found["changed"] == ["mode.epochs=3"]
    assert found["published"]["scores"]["accuracy"]["published"] == pytest.approx(0.4247)


def test_a_setting_without_a_figure_names_those_that_have_one(tmp_path, capsys):
    assert run(published_run(tmp_path / "a", 20, []), "--resample", 50) == 0
    out = capsys.readouterr().out
    assert "No figure of experiment=cifar100_lt_ldam is published for these settings" in out
    assert "imbalance_factor=100; dataset.params.imbalance_factor=50" in out


def test_a_run_of_no_recipe_or_of_one_without_figures_says_so(tmp_path, capsys):
    assert run(open_run(tmp_path / "a"), "--resample", 50) == 0
    assert "the run records no recipe" in capsys.readouterr().out
    demo = record(open_run(tmp_path / "b"), {"mode": {"epochs": 5}}, ["experiment=demo"])
    assert run(demo, "--resample", 50) == 0
    assert "No published figure of experiment=demo is known" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_published_figures_are_those_at_the_head_of_the_recipe(recipe):
    text = (RECIPES / f"{recipe}.yaml").read_text()
    head = " ".join(line for line in text.splitlines() if line.startswith("#"))
    numbers = {float(word) for word in re.findall(r"\d+\.\d+|\d+", head)}
    for one in PUBLISHED[recipe]:
        for value in one.scores.values():
            # some recipes state errors
            assert {value, round(100 - value, 2)} & numbers, (recipe, value)
        assert set(one.spread.values()) <= numbers
        assert set(one.spread) <= set(one.scores)


def test_every_recipe_that_states_figures_has_them_in_the_table():
    for path in sorted(RECIPES.glob("*.yaml")):
        stated = re.search(r"^# Published.*$", path.read_text(), re.MULTILINE)
        words = "" if stated is None else stated[0]
        own = re.match(r"# Published( \(Roth.*in %|: (accuracy|top-1 error|README of Bal))", words)
        assert (path.stem in PUBLISHED) == (own is not None), (path.stem, words)


def test_figures_are_those_of_the_settings():
    settings = {"dataset.params.imbalance_factor": "50"}
    assert published("cifar10_lt_glmc", settings).scores["accuracy"] == 91.04
    assert published("cifar10_lt_glmc", {"dataset.params.imbalance_factor": "10"}) is None
    assert published("unknown", {}) is None


def test_compare_is_a_command_with_help(capsys):
    assert "compare" in COMMANDS
    with pytest.raises(SystemExit) as stop:
        run_command(["compare", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Compare two or more runs on the same rows" in text
    assert "draws of intervals and tests (2000)" in text
    assert {"unit", "resample", "json", "csv"} <= set(compare_parser("compare").options())
