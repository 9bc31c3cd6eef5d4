"""Scores of others, as `metrics.json` and records of runs, are data to `summarize`."""

import csv
import json
import os

import pytest

from vmf_embeddings.cli.summarize import summarize
from vmf_embeddings.cli.summarize_arguments import parse_summarize

ENTRY = {
    "dataset": "toy", "split": "test", "split_hash": "a", "train_identity": "b", "method": "m",
    "seed": 1, "retrieval": {"recall@1": 0.5, "map@r": None}, "normalised": {"nmi": 0.5},
    "classification": {"accuracy": 0.5},
}  # fmt: skip


def make_scores(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "toy_test.npz": {**ENTRY, **values}}
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def run(tmp_path, *options, path="runs"):
    out = ["--out", str(tmp_path / "out"), *options]
    return summarize(parse_summarize([str(tmp_path / path), *out]))


def is_refused(tmp_path, capsys, *words):
    assert run(tmp_path, "--no-pictures") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "\x1b" not in said.err
    for word in words:
        assert word in said.err
    assert not (tmp_path / "out").exists()


def cells(tmp_path):
    for name in ("runs.csv", "recipes.csv"):
        with open(tmp_path / "out" / name, newline="") as stream:
            yield from (cell for row in csv.reader(stream) for cell in row)


WRONG = {
    "dataset": [None, 3, ["a"], "a\nb", "\x1b[2J", "x" * 1000],
    "split": [["test"], 3, {}],
    "split_hash": [3, ["a"]],
    "train_identity": [{"a": 1}, "\x1b"],
    "method": [3, ["a"], "a\nb"],
    "seed": ["1", 1.5, [1]],
    "retrieval": [3, "x", [1], {"recall@1": "x"}, {"recall@1": [1]}, {"recall@1": 10**400},
                  {"recall@1": True}, {"\x1b[2J": 1}, {"a" * 1000: 1}],
    "normalised": [3, {"nmi": {}}],
    "classification": ["x", {"accuracy": "1"}],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_scores_of_a_wrong_type_are_refused_by_name(tmp_path, capsys, key, value):
    make_scores(tmp_path / "runs", **{key: value})
    is_refused(tmp_path, capsys, "metrics.json", "toy_test.npz", key)


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "{", "[" * 5000, '{"a":' * 5000, '{"toy_test.npz": 3}', '{"toy_test.npz": []}',
     '{"toy_test.npz": {"split": "test"}}', "1" * 5000, "\ufeff{", ""],
)  # fmt: skip
def test_what_evaluation_never_writes_is_refused_by_name(tmp_path, capsys, text):
    make_scores(tmp_path / "runs")
    (tmp_path / "runs" / "metrics.json").write_text(text)
    is_refused(tmp_path, capsys, "metrics.json")


def test_pipes_are_refused_without_waiting(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "runs" / "metrics.json")
    is_refused(tmp_path, capsys, "metrics.json is not a regular file")


def test_names_in_tables_are_no_formulas(tmp_path):
    for name in ("=cmd|' C'!A0", "@x", "+a", "-b"):
        retrieval = {"recall@1": 0.5, "=1+1": 0.5}
        make_scores(tmp_path / "runs" / name, dataset="=A1", retrieval=retrieval, method="@m")
    assert run(tmp_path, "--no-pictures") == 0
    found = list(cells(tmp_path))
    assert "'=A1" in found
    assert "'=1+1" in found
    assert not any(cell.startswith(("=", "@", "+", "-")) for cell in found)


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "\u202eb"])
def test_folders_whose_names_have_control_characters_are_refused(tmp_path, capsys, name):
    make_scores(tmp_path / "runs" / name)
    is_refused(tmp_path, capsys, "has control characters")


def test_names_are_drawn_as_text(tmp_path):
    for number, name in enumerate([r"$\frac$", "[nope]", r"\input{x}", "$$"]):
        scores = {"recall@1": 0.1 * number, "map@r": 0.2 * number}
        spaces = {"normalised": {"nmi": 0.1 * number, "intra": 0.3 + number, "rho@1": 1.0}}
        make_scores(tmp_path / "runs" / name, dataset=r"$\nope$", retrieval=scores, **spaces)
    make_scores(tmp_path / "runs" / "other", dataset="../../x")
    assert run(tmp_path) == 0
    drawn = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {"_nope__ranking.png", "_nope__structure.png", "_nope__correlations.png"} <= drawn
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}


@pytest.mark.parametrize("value", [1e99, -1e99, 1e-320, None, float("inf"), float("nan")])
def test_extreme_scores_leave_no_trace(tmp_path, value):
    for number in range(4):
        spaces = {"normalised": {"nmi": value, "intra": number}}
        make_scores(tmp_path / "runs" / f"m{number}", retrieval={"recall@1": value}, **spaces)
    assert run(tmp_path) == 0


@pytest.mark.parametrize("name", ["runs.csv", "recipes.csv", "ranking.png"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    for number in range(2):
        make_scores(tmp_path / "runs" / f"m{number}")
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("old")
    (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    assert run(tmp_path) == 0
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "out" / name).is_symlink()


CUT = "a=1,b=2~0123abcd"  # a job of a sweep whose name was too long: its record names it


@pytest.mark.parametrize(
    "record",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        "&a [*a]",
        "!!python/object/apply:os.system ['touch marker']",
        "!!timestamp x",
        "3",
        "{a: 1}",
        "[[[[x]]]]",
        "[" * 5000,
        "- a: b: c",
        "#" * (2**21),
    ],
)
def test_records_of_sweeps_that_are_no_list_of_words_are_refused(
    tmp_path, monkeypatch, capsys, record
):
    monkeypatch.chdir(tmp_path)
    folder = make_scores(tmp_path / "runs" / CUT)
    (folder / ".hydra_train").mkdir()
    (folder / ".hydra_train" / "overrides.yaml").write_text(record)
    is_refused(tmp_path, capsys, "overrides.yaml")
    assert not (tmp_path / "marker").exists()


def test_words_of_a_record_send_nothing_to_a_terminal(tmp_path, capsys):
    for number, word in enumerate(["=x\x1b[2J", "a=\nWrote"]):
        folder = make_scores(tmp_path / "runs" / f"a={number}~0123abc{number}")
        (folder / ".hydra_train").mkdir()
        (folder / ".hydra_train" / "overrides.yaml").write_text(json.dumps([word]))
    assert run(tmp_path, "--no-pictures") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert all("\x1b" not in cell and "\n" not in cell for cell in cells(tmp_path))
    assert not any(cell.startswith("=") for cell in cells(tmp_path))
