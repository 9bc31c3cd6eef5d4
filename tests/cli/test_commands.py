"""The commands of `vmf-embeddings COMMAND`: help at once, suggestions, where runs are written."""

import json
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tests.commands.run import ROOT
from tests.evaluation.runs import make_run
from vmf_embeddings.cli import assembly, commands, completion
from vmf_embeddings.cli.runs_root import runs_root, sweeps_root

HEAVY = {"torch", "numpy", "matplotlib", "hydra", "omegaconf", "sklearn", "faiss", "numba"}


def run(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "vmf_embeddings", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_help_of_the_whole_names_every_command(name, capsys):
    assert commands.run_command(["--help"]) == 0
    assert f"\n  {name} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], *([name] for name in commands.COMMANDS)], ids=" ".join)
def test_help_imports_nothing_slow(arguments, tmp_path):
    code = (
        "import json, runpy, sys, time\n"
        f"sys.argv = ['vmf-embeddings', *{[*arguments, '--help']!r}]\n"
        "try:\n    runpy.run_module('vmf_embeddings', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([sorted({HEAVY!r} & set(sys.modules)), time.process_time()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    imported, seconds = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    assert seconds < 0.6  # of processor time: half of it on an idle machine, far below torch's


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute", "RUN"], "unknown command 'evalute'; did you mean evaluate?"),
        (["trian", "experiment=demo"], "did you mean train?"),
        (["xyz"], "unknown command 'xyz'"),
        ([], "expected a command"),
    ],
)
def test_an_unknown_command_is_named_and_exits_with_2(arguments, message, capsys):
    assert commands.run_command(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


@pytest.mark.parametrize(
    "arguments", [["experiment=demo"], ["-m", "x=1"], ["+x=1"], ["~x"], ["--cfg", "job"]]
)
def test_overrides_without_a_command_are_those_of_train(arguments, monkeypatch):
    given = []
    train = commands.Command("", lambda words: given.append(words) or 0)
    monkeypatch.setitem(commands.COMMANDS, "train", train)
    assert commands.run_command(arguments) == 0
    assert commands.run_command(["train", *arguments]) == 0
    assert given == [arguments, arguments]


def test_evaluate_and_summarize_run_as_commands(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / f"run_s{seed}", {"name": "cosine"}, seed=seed, open_set=True)
    done = run("evaluate", tmp_path, "--no-figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "=== retrieval ===" in done.stdout
    done = run("summarize", tmp_path, "--no-figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary" / "recipes.csv").exists()


@pytest.mark.parametrize("name", ["evaluate", "compare", "summarize"])
def test_an_interrupted_command_ends_with_130_and_no_trace(name, monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"vmf_embeddings.cli.{name}.{name}", interrupt)
    assert commands.run_command([name, "runs"]) == 130
    assert capsys.readouterr().err == f"{name}: interrupted\n"


def test_mistakes_of_a_command_name_the_command(capsys):
    with pytest.raises(SystemExit) as end:
        commands.run_command(["evaluate", "RUN", "--serch=torch"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: vmf-embeddings evaluate")
    assert "evaluate: unknown argument --serch=torch; did you mean --search?" in error


@pytest.mark.parametrize(
    ("line", "printed", "is_answered"),
    [
        (
            "vmf-embeddings ",
            "train check embed evaluate compare search report summarize convert export",
            True,
        ),
        ("vmf-embeddings ev", "evaluate", True),
        ("vmf-embeddings check --js", "--json", True),
        ("vmf-embeddings evaluate --no-fi", "--no-figures", True),
        ("vmf-embeddings summarize --str", "--structure-split", True),
        ("vmf-embeddings train dataset=mn", "", False),
    ],
)
def test_shells_complete_commands_and_their_options(
    line, printed, is_answered, monkeypatch, capsys
):
    monkeypatch.setenv("COMP_LINE", line)
    assert completion.answered(["-sc", "query=bash"], list(commands.COMMANDS)) == is_answered
    assert capsys.readouterr().out.strip() == printed


def test_hydra_completes_what_follows_train(tmp_path):
    done = run("-sc", "query=bash", cwd=tmp_path, COMP_LINE="vmf-embeddings train dataset=mn")
    assert "dataset=mnist" in done.stdout.split()


@pytest.mark.parametrize(
    ("folders", "variable", "expected"),
    [
        (["vmf_embeddings"], None, ("vmf_embeddings/runs", "vmf_embeddings/sweeps")),
        ([], None, ("runs", "runs/sweeps")),
        ([], "elsewhere", ("elsewhere", "elsewhere/sweeps")),
        (["vmf_embeddings"], "elsewhere", ("elsewhere", "elsewhere/sweeps")),
        (["vmf_embeddings"], "", ("vmf_embeddings/runs", "vmf_embeddings/sweeps")),
    ],
)
def test_runs_lie_in_the_checkout_else_below_the_working_directory(
    folders, variable, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VMF_RUNS", raising=False)
    if variable is not None:
        monkeypatch.setenv("VMF_RUNS", variable)
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert (str(runs_root()), str(sweeps_root())) == expected


def test_the_folder_of_runs_may_have_commas_and_spaces_in_its_name(monkeypatch):
    assembly.register_resolvers()
    monkeypatch.setenv("VMF_RUNS", "/a, b")
    node = OmegaConf.create({"run": None, "folder": "${run_folder:${run},${runs_root:}/digits}"})
    assert node.folder == "/a, b/digits"


def test_a_command_whose_reader_leaves_prints_no_trace():
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m vmf_embeddings train --help | true"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
