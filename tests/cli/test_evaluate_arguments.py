"""Command lines are read, mistakes end with code 2 and a hint, and nothing heavy is loaded."""

import subprocess
import sys

import pytest

from vmf_embeddings.cli.evaluate_arguments import (
    parse_deterministic_script,
    parse_evaluate,
    parse_vmf_script,
)
from vmf_embeddings.cli.summarize_arguments import parse_summarize
from vmf_embeddings.evaluation.options import METRICS
from vmf_embeddings.metrics import embedding_scores


def test_defaults_and_both_spellings_of_an_option():
    assert parse_evaluate(["RUN"]).search == "auto"
    assert parse_evaluate(["RUN"]).recall is None
    for words in (["--search", "torch"], ["search=torch"], ["--search=torch"]):
        assert parse_evaluate(["RUN", *words]).search == "torch"
    options = parse_evaluate(["A", "B", "--recall", "8", "1,2", "--no-pictures", "seed=7"])
    assert [str(path) for path in options.paths] == ["A", "B"]
    assert options.recall == (1, 2, 8)
    assert not options.figures
    assert options.seed == 7
    assert parse_evaluate(["A", "few_below=9", "many_above=50"]).thresholds.most_of_few == 8
    assert parse_evaluate(["A", "--few-max-inclusive"]).thresholds.ranges()["few"] == "<= 20"


def test_metrics_are_named_in_any_spelling_and_order():
    assert parse_evaluate(["RUN"]).metrics == ()
    for words in (
        ["metrics=[map,nmi]"], ["metrics=nmi,map"], ["--metrics", "map", "nmi"],
        ["--metrics=[nmi,map]"], ["--metrics", "[nmi,map]", "map"],
    ):  # fmt: skip
        assert parse_evaluate(["RUN", *words]).metrics == ("nmi", "map")
    assert parse_evaluate(["RUN", "metrics=all"]).metrics == METRICS
    assert parse_evaluate(["RUN", "metrics=[]"]).metrics == ()
    assert parse_vmf_script(["RUN", "metrics=[spread]"]).metrics == ("spread",)
    assert METRICS == embedding_scores.METRICS
    assert parse_evaluate(["RUN", "--pictures"]).figures


def test_summaries_read_their_words():
    options = parse_summarize(["A", "B", "structure_split=train", "--out", "X", "--no-pictures"])
    assert [str(path) for path in options.paths] == ["A", "B"]
    assert (options.split, options.structure_split, str(options.out)) == ("test", "train", "X")
    assert not options.figures


def test_an_existing_path_with_an_equals_sign_is_a_path(tmp_path, monkeypatch):
    (tmp_path / "seed=3").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in parse_evaluate(["seed=3"]).paths] == ["seed=3"]


def test_the_scripts_of_2021_translate_their_arguments():
    assert parse_vmf_script(["RUN"]).geometry == "vmf"
    for word, geometry in {"l2": "cosine", "hyperbolic": "poincare", "none": "euclidean"}.items():
        assert parse_deterministic_script(["RUN", word]).geometry == geometry
    assert parse_deterministic_script(["RUN"]).geometry is None


@pytest.mark.parametrize(
    ("parse", "words", "message"),
    [
        (parse_evaluate, [], "PATH"),
        (parse_evaluate, ["RUN", "--serch", "torch"], "did you mean --search"),
        (parse_evaluate, ["RUN", "serch=torch"], "did you mean --search"),
        (parse_evaluate, ["RUN", "--search", "fais"], "did you mean faiss"),
        (parse_evaluate, ["RUN", "--geometry", "cosin"], "did you mean cosine"),
        (parse_evaluate, ["RUN", "--recall", "0"], "1 or more"),
        (parse_evaluate, ["RUN", "--samples", "many"], "whole number"),
        (parse_evaluate, ["RUN", "--pca-from", "no.npz"], "--pca-from: there is no file 'no.npz'"),
        (parse_evaluate, ["RUN", "--curvature", "-1"], "above 0"),
        (
            parse_evaluate,
            ["RUN", "metrics=[nmj]"],
            "known: recall nmi map spectrum spread uncertainty",
        ),
        (parse_evaluate, ["RUN", "metrics=[nmj]"], "did you mean nmi"),
        (parse_evaluate, ["RUN", "metrics=[nmi,rho]"], "'rho' comes with spectrum"),
        (parse_evaluate, ["RUN", "metrics="], "needs some of recall nmi map spectrum spread"),
        (parse_summarize, [], "PATH"),
        (parse_summarize, ["RUN", "--space", "cosine"], "known: normalised as_output"),
        (parse_evaluate, ["RUN", "few_below=102"], "few-shot and many-shot at once"),
        (parse_vmf_script, ["RUN", "few_belo=9"], "did you mean --few-below"),
        (parse_deterministic_script, ["RUN", "hyperbolik"], "did you mean hyperbolic"),
        (parse_deterministic_script, ["RUN", "l2", "extra"], "extra"),
        (parse_vmf_script, [], "RUN"),
    ],
)
def test_mistakes_exit_with_two_usage_and_a_hint(parse, words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "usage:" in error
    assert message in error


@pytest.mark.parametrize(
    "module",
    [
        "evaluate",
        "summarize",
        "third_party.pytorch_metric_learning.compute_vmf_performance_metrics",
        "third_party.pytorch_metric_learning.compute_deterministic_performance_metrics",
    ],
)
def test_help_answers_without_loading_anything_heavy(module):
    code = (
        "import sys, runpy\n"
        "sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('vmf_embeddings.{module}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'faiss', 'sklearn', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "RUN" in done.stdout or "PATH" in done.stdout


def test_a_folder_whose_name_begins_with_a_dash_is_taken_as_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x", "--runs", "-1", "--json"):
        (tmp_path / name).mkdir()
    options = parse_evaluate(["-x", "--runs", "--ignore-label", "-1", "--json", "a"])
    assert [str(path) for path in options.paths] == ["-x", "--runs"]
    assert (options.ignore_labels, str(options.json)) == (("-1",), "a")
    assert [str(path) for path in parse_summarize(["-x"]).paths] == ["-x"]
    with pytest.raises(SystemExit):
        parse_evaluate(["-y"])
