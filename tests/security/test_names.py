"""Names from files of others are text: in drawings, terminals, tables and paths."""

import csv
import io
import os
import sys

import pytest

from tests.evaluation.runs import LONG_TAIL, make_run
from tests.quick_cases import mostly_slow
from vmf_embeddings.cli.evaluate import evaluate
from vmf_embeddings.cli.evaluate_arguments import parse_evaluate
from vmf_embeddings.cli.summarize import summarize
from vmf_embeddings.cli.summarize_arguments import parse_summarize
from vmf_embeddings.evaluation.figures.curves import draw_curves, read_history
from vmf_embeddings.evaluation.figures.style import save, styled

# what breaks drawing, rich's markup, tables, terminals, encodings
CLASS_NAMES = {
    "math": [r"$\frac$", r"$\nope{$", "$$"],
    "markup": ["[/nope]", "[bold]", "[link=file:///x]a[/link]"],
    "terminal": ["\x1b[2J\x1b]0;x\x07", "a\nb", "\x9b2J\r"],
    "encoding": ["\ud800", "\u202egpj", "\x00"],
    "cells": ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1+1"],
    "latex": [r"\input{/etc/passwd}", r"\write18{touch marker}", "%&{}_^~#"],
}
METHODS = [r"$\frac$", "[/nope]", "[red]x", r"\input{x}", ":smile:"]


def run(*words):
    return evaluate(parse_evaluate([str(word) for word in words]))


class Terminal(io.StringIO):
    """Text output that looks like a terminal to who asks."""

    def isatty(self):
        return True


# markup and LaTeX also stand in names and titles of the tests below
@pytest.mark.parametrize(
    "kind", mostly_slow(CLASS_NAMES, ("math", "terminal", "encoding", "cells"))
)
def test_class_names_are_drawn_and_written_as_text(tmp_path, capsys, kind):
    names = {**LONG_TAIL, "class_names": CLASS_NAMES[kind]}
    folder = make_run(tmp_path, {"name": "cosine"}, dim=2, **names)
    assert run(folder) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    written = {path.name for path in folder.glob("*.png")}
    assert {"embedding_map.png", "per_class.png", "neighbours.png"} <= written
    text = (folder / "per_class.csv").read_text()
    with open(folder / "per_class.csv", newline="") as stream:
        cells = [row["name"] for row in csv.DictReader(stream)]
    assert len(cells) == 3
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert all(character == "\n" or character.isprintable() for character in text)


def test_latex_is_never_asked_for(tmp_path, monkeypatch):
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    folder = make_run(tmp_path, {"name": "cosine"}, class_names=CLASS_NAMES["latex"])
    assert run(folder) == 0
    assert (folder / "embedding_map.png").exists()


# figures are drawn where the key is `method`, which takes a second each
TITLES = [(key, name) for key in ("method", "dataset", "objective") for name in METHODS]


@pytest.mark.parametrize(
    ("key", "method"),
    mostly_slow(TITLES, lambda case: case[0] != "method" or case[1] in METHODS[:2]),
)
def test_names_in_titles_are_text_in_a_terminal_and_in_drawings(tmp_path, monkeypatch, key, method):
    value = {"criterion": method} if key == "objective" else method
    folder = make_run(tmp_path, {"name": "cosine"}, dim=2, **{key: value})
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    drawn = key == "method"  # all titles are one text
    assert run(folder, "--pictures" if drawn else "--no-pictures") == 0
    assert method in terminal.getvalue()
    assert (folder / "embedding_map.png").exists() == drawn


def test_values_of_options_send_nothing_to_a_terminal(tmp_path, capsys):
    folder = make_run(
        tmp_path, {"name": "cosine"}, objective={"criterion": "\x1b[2J\nMean softmax: acc = 100"}
    )
    assert run(folder, "--no-pictures") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert not any(line.startswith("Mean softmax: acc = 100 ") for line in out.splitlines())
    assert "\\x1b[2J\\nMean softmax" in out


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nWrote all", "a\u202eb"])
@pytest.mark.parametrize("place", ["folder", "file"])
def test_names_of_received_files_with_control_characters_are_refused(tmp_path, capsys, name, place):
    made = make_run(tmp_path / "made", {"name": "cosine"}) / "toy_test.npz"
    target = (
        tmp_path / "got" / (f"{name}/toy_test.npz" if place == "folder" else f"{name}_test.npz")
    )
    target.parent.mkdir(parents=True)
    made.rename(target)
    assert run(tmp_path / "got") == 2
    said = capsys.readouterr().err
    assert "has control characters" in said
    assert name not in said


WRITTEN = ["metrics.json", "per_class.csv", "per_class.png", "training_curves.png",
           "embedding_map.png", "reliability.png", "neighbours.png"]  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("kind", ["link", "dangling", "link to a folder", "folder"])
def test_nothing_is_written_or_read_through_what_has_the_name_of_a_result(
    tmp_path, capsys, name, kind
):
    folder = make_run(tmp_path / "run", {"name": "cosine"}, **LONG_TAIL)
    precious = tmp_path / "precious"
    if kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(precious)
    if kind == "link":
        precious.write_text('{"token": 1}')
    if kind == "link to a folder":
        precious.mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run(folder) == 2
    assert name in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert kind != "link" or precious.read_text() == '{"token": 1}'


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, capsys):
    make_run(tmp_path / "elsewhere", {"name": "cosine"})
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "run").symlink_to(tmp_path / "elsewhere")
    assert run(tmp_path / "got") == 2
    assert "is a symbolic link to a folder elsewhere" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["toy_test.npz"]


def test_folders_linked_to_themselves_are_searched_once(tmp_path):
    folder = tmp_path / "got"
    make_run(folder / "z", {"name": "cosine"})
    for name in "abc":
        (folder / name).symlink_to(folder)
    assert run(folder, "--no-pictures") == 0


@pytest.mark.parametrize("content", [
    '{"token": 1', '["x"]', "[" * 5000, "\x00", '{"other_test.npz": {"dataset": "\\u001b"}}',
])  # fmt: skip
def test_an_unusable_metrics_json_is_replaced_or_kept_as_data(tmp_path, content):
    folder = make_run(tmp_path, {"name": "cosine"})
    (folder / "metrics.json").write_text(content)
    assert run(folder, "--no-pictures") == 0
    text = (folder / "metrics.json").read_text()
    assert '"toy_test.npz"' in text
    assert "\x1b" not in text


@pytest.mark.parametrize("pattern", ["'c':" + " " * 200_000, "\n" * 500_000, "c: " * 100_000])
def test_a_log_of_2021_cannot_keep_evaluation_busy(tmp_path, capsys, pattern):
    folder = make_run(tmp_path, None)
    (folder / "main.train.log").write_text(pattern)
    assert run(folder, "--geometry", "poincare", "--no-pictures") == 2
    assert "--curvature" in capsys.readouterr().err


def test_a_pipe_for_a_log_or_a_history_is_refused_without_waiting(tmp_path, capsys):
    folder = make_run(tmp_path / "log", None)
    os.mkfifo(folder / "main.train.log")
    assert run(folder, "--geometry", "poincare") == 2
    assert "main.train.log is not a regular file" in capsys.readouterr().err
    folder = make_run(tmp_path / "history", {"name": "cosine"})
    os.mkfifo(folder / "metrics.csv")
    assert run(folder) == 2
    assert "metrics.csv is not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "epoch,train_loss\n" + "x" * 200_000,
        ",".join(map(str, range(20_000))) + "\n" + "1\n" * 1000,
        b"epoch\xff\n",
    ],
)
def test_a_history_that_is_no_table_of_numbers_is_refused_by_name(tmp_path, capsys, content):
    folder = make_run(tmp_path, {"name": "cosine"})
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "metrics.csv").write_bytes(data)
    assert run(folder) == 2
    assert "metrics.csv" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1e308", "-1e308", "inf", "nan", "1e-320", "=1", "\x1b"])
def test_numbers_that_cannot_be_drawn_are_left_out_of_curves(tmp_path, value):
    names = "epoch,train_loss,valid_metric,learning_rate,temperature,kappa"
    lines = "".join(f"{epoch},{','.join([value] * 5)}\n" for epoch in (0, 1, value))
    (tmp_path / "metrics.csv").write_text(f"{names}\n{lines}")
    with styled():
        path = save(draw_curves(read_history(tmp_path / "metrics.csv"), "$"), tmp_path / "x.png")
    assert path.read_bytes()[1:4] == b"PNG"


def test_a_planted_folder_of_summaries_is_no_way_out(tmp_path, monkeypatch, capsys):
    run(make_run(tmp_path / "got" / "run", {"name": "cosine"}), "--no-pictures")
    (tmp_path / "precious").mkdir()
    (tmp_path / "got" / "summary").symlink_to(tmp_path / "precious")
    monkeypatch.chdir(tmp_path / "got")
    assert summarize(parse_summarize(["run"])) == 2
    assert "summary is a symbolic link" in capsys.readouterr().err
    assert not list((tmp_path / "precious").iterdir())
